"""Counting what is told, and how long a backlog takes."""

from __future__ import annotations

from dataclasses import replace

from catcher.model.alert import Alert, Severity
from catcher.model.run import Firing, Run
from catcher.monitoring import Backlog, EngineCounters
from tests.monitoring.test_liveness import ManualMonotonicClock

RUN = Run("r", Firing("images", "", 0, "x", "because"), "job")
ALERT = Alert("a", "wind", "", "", 1, "firing", Severity.WARNING, Severity.WARNING, 0, 0, "because")
BACKLOG = Backlog("images", "queue", running=1, waiting=120, spilled=20, dropped=0)


def test_a_backlog_drains_at_the_rate_of_the_last_minutes() -> None:
    clock = ManualMonotonicClock()
    counters = EngineCounters(clock)
    for _ in range(180):
        counters.record_run(RUN)
    clock.now += 60
    for _ in range(60):
        counters.record_run(replace(RUN, state="done"))
    backlog = counters.add_rates(BACKLOG)
    assert (backlog.per_minute, backlog.arriving, backlog.drain) == (60.0, 180.0, 120.0)
    assert backlog.is_growing


def test_drain_time_is_unknown_before_anything_finished() -> None:
    counters = EngineCounters(ManualMonotonicClock())
    counters.record_run(RUN)
    assert counters.add_rates(BACKLOG).drain is None
    assert counters.add_rates(replace(BACKLOG, waiting=0)).drain == 0.0


def test_runs_are_counted_by_rule_and_state_and_what_was_dropped_drains_nothing() -> None:
    counters = EngineCounters(ManualMonotonicClock())
    for state in ("pending", "running", "done", "done", "failed", "dropped"):
        counters.record_run(replace(RUN, state=state))
    counters.record_run(replace(RUN, state="done", parent="p", part="R22"))
    counters.record_run(replace(RUN, state="timeout", missed_deadline=True))
    assert counters.run_counts == {
        ("images", "done"): 2, ("images", "failed"): 1, ("images", "dropped"): 1,
        ("images", "timeout"): 1,
    }  # fmt: skip
    assert counters.shard_counts == {("images", "done"): 1}
    assert counters.missed_deadlines["images"] == 1
    assert counters.add_rates(BACKLOG).drain == 30.0


def test_alert_is_counted_when_it_opens_and_reopens() -> None:
    clock = ManualMonotonicClock()
    counters = EngineCounters(clock, open_alerts=[replace(ALERT, id="old")])
    for alert in (
        replace(ALERT, id="old"),
        replace(ALERT, state="pending"),
        ALERT,
        replace(ALERT, state="acknowledged"),
        replace(ALERT, state="resolved"),
        replace(ALERT, episode=2),
    ):
        counters.record_alert(alert)
    assert (counters.alerts_opened, counters.count_recent_alerts()) == (2, 2)
    clock.now += 601
    counters.record_alert(replace(ALERT, id="new"))
    assert (counters.alerts_opened, counters.count_recent_alerts()) == (3, 1)
