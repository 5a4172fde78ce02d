"""Counting what is told, and how long a backlog takes."""

from __future__ import annotations

from dataclasses import replace

from catcher.model.alert import Alert, Severity
from catcher.model.run import Firing, Run
from catcher.vitals import Backlog, Census
from tests.vitals.test_pulse import Clock

RUN = Run("r", Firing("images", "", 0, "x", "because"), "job")
ALERT = Alert("a", "wind", "", "", 1, "firing", Severity.WARNING, Severity.WARNING, 0, 0, "because")
WAITING = Backlog("images", "queue", running=1, waiting=120, spilled=20, dropped=0)


def test_a_backlog_drains_at_the_rate_of_the_last_minutes() -> None:
    clock = Clock()
    census = Census(clock)
    for _ in range(180):
        census.run(RUN)
    clock.now += 60
    for _ in range(60):
        census.run(replace(RUN, state="done"))
    weighed = census.weighed(WAITING)
    assert (weighed.per_minute, weighed.arriving, weighed.drain) == (60.0, 180.0, 120.0)
    assert weighed.grows


def test_nobody_knows_how_long_a_backlog_takes_before_anything_was_done() -> None:
    census = Census(Clock())
    census.run(RUN)
    assert census.weighed(WAITING).drain is None
    assert census.weighed(replace(WAITING, waiting=0)).drain == 0.0


def test_runs_are_counted_by_rule_and_state_and_what_was_dropped_drains_nothing() -> None:
    census = Census(Clock())
    for state in ("pending", "running", "done", "done", "failed", "dropped"):
        census.run(replace(RUN, state=state))
    census.run(replace(RUN, state="done", parent="p", part="R22"))
    census.run(replace(RUN, state="timeout", missed_deadline=True))
    assert census.runs == {
        ("images", "done"): 2, ("images", "failed"): 1, ("images", "dropped"): 1,
        ("images", "timeout"): 1,
    }  # fmt: skip
    assert census.parts == {("images", "done"): 1}
    assert census.missed_deadlines["images"] == 1
    assert census.weighed(WAITING).drain == 30.0


def test_an_alert_is_counted_when_it_opens_and_again_when_it_comes_back() -> None:
    clock = Clock()
    census = Census(clock, known=[replace(ALERT, id="old")])
    for alert in (
        replace(ALERT, id="old"),
        replace(ALERT, state="pending"),
        ALERT,
        replace(ALERT, state="acknowledged"),
        replace(ALERT, state="resolved"),
        replace(ALERT, episode=2),
    ):
        census.alert(alert)
    assert (census.opened, census.opened_lately()) == (2, 2)
    clock.now += 601
    census.alert(replace(ALERT, id="new"))
    assert (census.opened, census.opened_lately()) == (3, 1)
