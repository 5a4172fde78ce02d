"""The life of an alert: what the data and people make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catcher.alerting import handling, lifecycle
from catcher.alerting.transitions import Transition
from catcher.model.alert import Alert, LevelChange, Severity
from catcher.model.problem import CatcherError
from catcher.model.rule import AlertSpec, Expr, UnknownSpec
from catcher.model.time import HOUR, MINUTE
from tests.alerting.making import CRITICAL, NONE, SERIOUS, WARNING, change, later

LATCHING = AlertSpec(levels={})
LOOSE = AlertSpec(levels={}, latch=CRITICAL)


def after(*changes: LevelChange, spec: AlertSpec = LOOSE) -> tuple[Alert, Transition]:
    """The alert after some changes, and the last transition."""
    alert: Alert | None = None
    for one in changes:
        alert, transition = lifecycle.judge(alert, one, spec, one.time)
    assert alert is not None
    return alert, transition


def taken(alert: Alert, severity: Severity, at: float = 60) -> Alert:
    return handling.acknowledge(alert, severity, "ana", "on it", later(at))[0]


def shelved(alert: Alert, at: float = 60, minutes: int = 30) -> Alert:
    until = later(at) + minutes * MINUTE
    return handling.shelve(alert, until, "ana", "known, fix on Monday", later(at))[0]


# -- opening and closing -----------------------------------------------------------------------


def test_a_level_opens_an_alert_raises_lowers_and_resolves_it() -> None:
    told = []
    alert: Alert | None = None
    for at, severity in enumerate((WARNING, SERIOUS, WARNING, NONE)):
        alert, transition = lifecycle.judge(alert, change(severity, at), LOOSE, later(at))
        assert alert is not None
        told.append((transition.kind, alert.state, alert.severity))
    assert told == [
        ("opened", "firing", WARNING),
        ("raised", "firing", SERIOUS),
        ("lowered", "firing", WARNING),
        ("resolved", "resolved", NONE),
    ]
    assert alert is not None and alert.max_severity == SERIOUS
    assert (alert.opened, alert.worst_since, alert.resolved) == (later(0), later(1), later(3))


def test_no_level_and_no_alert_stays_nothing() -> None:
    alert, transition = lifecycle.judge(None, change(NONE), LOOSE, later(0))
    assert alert is None and transition.kind == "nothing"


def test_each_opening_is_a_new_episode() -> None:
    alert, _ = after(change(WARNING, 0), change(NONE, 1), change(WARNING, 2))
    assert (alert.episode, alert.opened, alert.sequence) == (2, later(2), 1)


def test_the_same_severity_for_the_same_reason_is_no_change() -> None:
    alert, transition = after(change(WARNING, 0, "12 > 10"), change(WARNING, 5, "12 > 10"))
    assert transition.kind == "nothing"
    assert alert.sequence == 1
    assert alert.data_time == later(5), "its data are fresh all the same"


def test_another_reason_at_the_same_severity_is_an_update() -> None:
    alert, transition = after(change(WARNING, 0, "12 > 10"), change(WARNING, 5, "the job failed"))
    assert (transition.kind, alert.reason) == ("updated", "the job failed")


def test_a_late_result_changes_no_alert() -> None:
    alert, transition = after(change(SERIOUS, 10), change(NONE, 5))
    assert (transition.kind, alert.severity) == ("nothing", SERIOUS)


def test_a_late_result_opens_no_alert_that_is_over() -> None:
    alert, transition = after(change(WARNING, 10), change(NONE, 20), change(CRITICAL, 15))
    assert (transition.kind, alert.state) == ("nothing", "resolved")


# -- latching ----------------------------------------------------------------------------------


def test_a_latched_alert_that_cleared_awaits_acknowledgement() -> None:
    alert, transition = after(change(SERIOUS, 0), change(NONE, 60), spec=LATCHING)
    assert transition.kind == "lowered"
    assert (alert.state, alert.severity, alert.shown_severity) == ("firing", NONE, SERIOUS)
    assert "condition cleared, awaiting acknowledgement" in alert.reason


def test_acknowledging_what_has_cleared_resolves_it() -> None:
    alert, _ = after(change(SERIOUS, 0), change(NONE, 60), spec=LATCHING)
    new, transition = handling.acknowledge(alert, SERIOUS, "ana", "a gust", later(70))
    assert (new.state, transition.kind) == ("resolved", "resolved")
    assert "ana" in new.reason and "a gust" in new.reason


def test_a_latch_keeps_the_worst_severity_in_front() -> None:
    alert, _ = after(change(CRITICAL, 0), change(WARNING, 60), spec=LATCHING)
    assert (alert.severity, alert.shown_severity) == (WARNING, CRITICAL)


def test_an_acknowledged_alert_resolves_as_soon_as_it_clears() -> None:
    alert, _ = after(change(SERIOUS, 0), spec=LATCHING)
    new, transition = lifecycle.judge(taken(alert, SERIOUS), change(NONE, 90), LATCHING, later(90))
    assert new is not None and (new.state, transition.kind) == ("resolved", "resolved")


def test_below_the_latch_an_alert_resolves_by_itself() -> None:
    alert, _ = after(change(WARNING, 0), change(NONE, 60), spec=LATCHING)
    assert alert.state == "resolved"


def test_one_instance_with_a_stated_life_closes_by_itself() -> None:
    spec = AlertSpec(levels={}, per=Expr("imageName"), lasts=10 * MINUTE)
    opening, end = change(CRITICAL, 0, per="MC_O_1"), change(NONE, 600, per="MC_O_1")
    alert, _ = after(opening, end, spec=spec)
    assert alert.state == "resolved"


# -- acknowledging -----------------------------------------------------------------------------


def test_acknowledging_is_refused_if_it_got_worse_than_the_person_saw() -> None:
    alert, _ = after(change(WARNING, 0), change(CRITICAL, 5))
    with pytest.raises(CatcherError, match="CRITICAL by now, not WARNING"):
        handling.acknowledge(alert, WARNING, "ana", "", later(6))


def test_acknowledging_more_than_there_is_gives_no_licence_for_worse() -> None:
    alert, _ = after(change(WARNING, 0))
    alert = taken(alert, CRITICAL)
    worse, _ = lifecycle.judge(alert, change(SERIOUS, 90), LOOSE, later(90))
    assert worse is not None and worse.state == "firing"


def test_worse_than_acknowledged_takes_the_acknowledgement_away() -> None:
    alert, _ = after(change(SERIOUS, 0), change(WARNING, 10))
    alert = taken(alert, WARNING)
    worse, transition = lifecycle.judge(alert, change(SERIOUS, 90), LOOSE, later(90))
    assert worse is not None
    assert (worse.state, worse.acknowledgement, transition.kind) == ("firing", None, "raised")


def test_not_worse_than_acknowledged_stays_acknowledged() -> None:
    alert, _ = after(change(SERIOUS, 0))
    alert = taken(alert, SERIOUS)
    for at, severity in ((90, WARNING), (95, SERIOUS)):
        found, _ = lifecycle.judge(alert, change(severity, at), LOOSE, later(at))
        assert found is not None
        alert = found
    assert alert.state == "acknowledged"


@pytest.mark.parametrize("deed", ["acknowledge", "shelve"])
def test_what_is_over_is_neither_acknowledged_nor_shelved(deed: str) -> None:
    alert, _ = after(change(WARNING, 0), change(NONE, 5))
    with pytest.raises(CatcherError, match=f"resolved: there is nothing to {deed}"):
        taken(alert, WARNING) if deed == "acknowledge" else shelved(alert)


# -- shelving ----------------------------------------------------------------------------------


def test_a_shelf_needs_an_end_an_owner_and_a_reason() -> None:
    alert, _ = after(change(WARNING, 0))
    now = later(60)
    for until, who, reason in (
        (now + HOUR, "", "known"),
        (now + HOUR, "ana", "  "),
        (now, "ana", "known"),
        (now + 31 * 24 * HOUR, "ana", "known"),
    ):
        with pytest.raises(CatcherError, match="shelf"):
            handling.shelve(alert, until, who, reason, now)


def test_worse_than_shelved_comes_off_the_shelf() -> None:
    alert = shelved(after(change(WARNING, 0))[0])
    worse, transition = lifecycle.judge(alert, change(CRITICAL, 90), LOOSE, later(90))
    assert worse is not None
    assert (worse.state, worse.shelf, transition.kind) == ("firing", None, "raised")


def test_a_shelf_outlasts_the_episodes_of_a_chattering_alert() -> None:
    alert: Alert | None = shelved(after(change(WARNING, 0))[0])
    for at, severity in ((90, NONE), (120, WARNING)):
        alert, _ = lifecycle.judge(alert, change(severity, at), LOOSE, later(at))
    assert alert is not None and (alert.state, alert.episode) == ("shelved", 2)


def test_a_shelf_does_not_hide_a_worse_opening() -> None:
    alert: Alert | None = shelved(after(change(WARNING, 0))[0])
    for at, severity in ((90, NONE), (120, SERIOUS)):
        alert, _ = lifecycle.judge(alert, change(severity, at), LOOSE, later(at))
    assert alert is not None and (alert.state, alert.shelf) == ("firing", None)


def test_a_shelf_ends_at_its_end_and_says_whose_it_was() -> None:
    alert = shelved(after(change(WARNING, 0))[0], minutes=30)
    soon, warning = handling.expire(alert, later(60) + 23 * MINUTE)
    assert (soon.state, warning.kind) == ("shelved", "ending")
    assert "ana" in warning.reason and "fix on Monday" in warning.reason
    early, nothing = handling.expire(soon, later(60) + 30 * MINUTE - 1)
    assert (early.state, nothing.kind) == ("shelved", "nothing"), "once"
    back, transition = handling.expire(soon, later(60) + 30 * MINUTE)
    assert (back.state, back.shelf) == ("firing", None)
    assert "ana" in transition.reason and "fix on Monday" in transition.reason


def test_off_the_shelf_an_acknowledged_alert_is_acknowledged_still() -> None:
    alert = shelved(taken(after(change(WARNING, 0))[0], WARNING))
    assert handling.unshelve(alert, "by hand")[0].state == "acknowledged"


# -- unknown -----------------------------------------------------------------------------------


def blind(at: float, reason: str = "no data for 1m") -> LevelChange:
    return change(NONE, at, reason, unknown=True)


def test_unknown_neither_resolves_nor_opens() -> None:
    alert, transition = after(change(SERIOUS, 0), blind(60))
    assert (alert.state, alert.severity, alert.unknown) == ("firing", SERIOUS, True)
    assert (transition.kind, alert.reason) == ("updated", "unknown: no data for 1m")
    assert lifecycle.judge(None, blind(60), LOOSE, later(60))[0] is None


def test_seen_again_the_flag_goes() -> None:
    alert, transition = after(change(SERIOUS, 0, "bad"), blind(60), change(SERIOUS, 90, "bad"))
    assert (alert.unknown, alert.reason, transition.kind) == (False, "bad", "updated")


def test_long_unknown_input_opens_an_alert_where_the_rule_asks_for_it() -> None:
    spec = AlertSpec(levels={}, unknown=UnknownSpec(WARNING, 5 * MINUTE))
    alert, transition = after(blind(0), spec=spec)
    assert (alert.state, transition.kind) == ("pending", "pending")
    assert not lifecycle.miss(alert, spec, later(299))[1].real
    opened, transition = lifecycle.miss(alert, spec, later(300))
    assert (opened.state, opened.severity, transition.kind) == ("firing", WARNING, "opened")
    assert opened.episode == 1
    assert opened.reason == "unknown for 5m: no data for 1m"
    cleared, _ = lifecycle.judge(opened, change(NONE, 400), spec, later(400))
    assert cleared is not None and cleared.state == "resolved"


def test_pending_is_withdrawn_when_the_data_come_back_in_time() -> None:
    spec = AlertSpec(levels={}, unknown=UnknownSpec(WARNING, 5 * MINUTE))
    alert, transition = after(blind(0), change(NONE, 60), spec=spec)
    assert (alert.state, transition.kind) == ("resolved", "withdrawn")


def test_unknown_can_make_an_open_alert_worse() -> None:
    spec = AlertSpec(levels={}, latch=CRITICAL, unknown=UnknownSpec(SERIOUS, MINUTE))
    alert, _ = after(change(WARNING, 0), blind(60), spec=spec)
    worse, transition = lifecycle.miss(alert, spec, later(120))
    assert (worse.severity, transition.kind) == (SERIOUS, "raised")
    better, _ = lifecycle.judge(worse, change(WARNING, 130), spec, later(130))
    assert better is not None and (better.severity, better.unknown) == (WARNING, False)


def test_an_alert_whose_rule_is_gone_is_resolved_though_latched() -> None:
    alert, _ = after(change(SERIOUS, 0), spec=LATCHING)
    gone, transition = lifecycle.retire(replace(alert, latched=True), "its rule is gone", later(9))
    assert (gone.state, transition.reason) == ("resolved", "its rule is gone")
