"""The life of an alert: what the data and people make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catcher.alerting import lifecycle, manual_transitions
from catcher.alerting.transitions import Transition
from catcher.model.alert import Alert, LevelChange, Severity
from catcher.model.errors import CatcherError
from catcher.model.rule import AlertSpec, Expression, UnknownSpec
from catcher.model.time import HOUR, MINUTE
from tests.alerting.builders import CRITICAL, NONE, SERIOUS, WARNING, create_change, instant_at

LATCHING = AlertSpec(levels={})
CRITICAL_LATCH = AlertSpec(levels={}, latch=CRITICAL)


def apply_changes(
    *changes: LevelChange, spec: AlertSpec = CRITICAL_LATCH
) -> tuple[Alert, Transition]:
    """The alert after some changes, and the last transition."""
    alert: Alert | None = None
    for change in changes:
        alert, transition = lifecycle.apply_level_change(alert, change, spec, change.time)
    assert alert is not None
    return alert, transition


def acknowledge_at(alert: Alert, severity: Severity, at: float = 60) -> Alert:
    return manual_transitions.acknowledge_alert(alert, severity, "ana", "on it", instant_at(at))[0]


def shelve_at(alert: Alert, at: float = 60, minutes: int = 30) -> Alert:
    until = instant_at(at) + minutes * MINUTE
    return manual_transitions.shelve_alert(
        alert, until, "ana", "known, fix on Monday", instant_at(at)
    )[0]


# -- opening and closing -----------------------------------------------------------------------


def test_a_level_opens_an_alert_raises_lowers_and_resolves_it() -> None:
    transitions = []
    alert: Alert | None = None
    for at, severity in enumerate((WARNING, SERIOUS, WARNING, NONE)):
        alert, transition = lifecycle.apply_level_change(
            alert, create_change(severity, at), CRITICAL_LATCH, instant_at(at)
        )
        assert alert is not None
        transitions.append((transition.kind, alert.state, alert.severity))
    assert transitions == [
        ("opened", "firing", WARNING),
        ("raised", "firing", SERIOUS),
        ("lowered", "firing", WARNING),
        ("resolved", "resolved", NONE),
    ]
    assert alert is not None and alert.max_severity == SERIOUS
    assert (alert.opened, alert.worst_since, alert.resolved) == (
        instant_at(0),
        instant_at(1),
        instant_at(3),
    )


def test_no_level_and_no_alert_stays_nothing() -> None:
    alert, transition = lifecycle.apply_level_change(
        None, create_change(NONE), CRITICAL_LATCH, instant_at(0)
    )
    assert alert is None and transition.kind == "nothing"


def test_each_opening_is_a_new_episode() -> None:
    alert, _ = apply_changes(
        create_change(WARNING, 0), create_change(NONE, 1), create_change(WARNING, 2)
    )
    assert (alert.episode, alert.opened, alert.sequence) == (2, instant_at(2), 1)


def test_the_same_severity_for_the_same_reason_is_no_change() -> None:
    alert, transition = apply_changes(
        create_change(WARNING, 0, "12 > 10"), create_change(WARNING, 5, "12 > 10")
    )
    assert transition.kind == "nothing"
    assert alert.sequence == 1
    assert alert.data_time == instant_at(5), "its data are fresh all the same"


def test_another_reason_at_the_same_severity_is_an_update() -> None:
    alert, transition = apply_changes(
        create_change(WARNING, 0, "12 > 10"), create_change(WARNING, 5, "the job failed")
    )
    assert (transition.kind, alert.reason) == ("updated", "the job failed")


def test_a_late_result_changes_no_alert() -> None:
    alert, transition = apply_changes(create_change(SERIOUS, 10), create_change(NONE, 5))
    assert (transition.kind, alert.severity) == ("nothing", SERIOUS)


def test_late_result_reopens_no_resolved_alert() -> None:
    alert, transition = apply_changes(
        create_change(WARNING, 10), create_change(NONE, 20), create_change(CRITICAL, 15)
    )
    assert (transition.kind, alert.state) == ("nothing", "resolved")


# -- latching ----------------------------------------------------------------------------------


def test_a_latched_alert_that_cleared_awaits_acknowledgement() -> None:
    alert, transition = apply_changes(
        create_change(SERIOUS, 0), create_change(NONE, 60), spec=LATCHING
    )
    assert transition.kind == "lowered"
    assert (alert.state, alert.severity, alert.display_severity) == ("firing", NONE, SERIOUS)
    assert "condition cleared, awaiting acknowledgement" in alert.reason


def test_acknowledging_what_has_cleared_resolves_it() -> None:
    alert, _ = apply_changes(create_change(SERIOUS, 0), create_change(NONE, 60), spec=LATCHING)
    updated, transition = manual_transitions.acknowledge_alert(
        alert, SERIOUS, "ana", "a gust", instant_at(70)
    )
    assert (updated.state, transition.kind) == ("resolved", "resolved")
    assert "ana" in updated.reason and "a gust" in updated.reason


def test_latch_keeps_showing_the_worst_severity() -> None:
    alert, _ = apply_changes(create_change(CRITICAL, 0), create_change(WARNING, 60), spec=LATCHING)
    assert (alert.severity, alert.display_severity) == (WARNING, CRITICAL)


def test_an_acknowledged_alert_resolves_as_soon_as_it_clears() -> None:
    alert, _ = apply_changes(create_change(SERIOUS, 0), spec=LATCHING)
    updated, transition = lifecycle.apply_level_change(
        acknowledge_at(alert, SERIOUS), create_change(NONE, 90), LATCHING, instant_at(90)
    )
    assert updated is not None and (updated.state, transition.kind) == ("resolved", "resolved")


def test_below_the_latch_an_alert_resolves_by_itself() -> None:
    alert, _ = apply_changes(create_change(WARNING, 0), create_change(NONE, 60), spec=LATCHING)
    assert alert.state == "resolved"


def test_alert_with_a_lifetime_closes_by_itself() -> None:
    spec = AlertSpec(levels={}, per=Expression("imageName"), lasts=10 * MINUTE)
    opening, end = create_change(CRITICAL, 0, per="MC_O_1"), create_change(NONE, 600, per="MC_O_1")
    alert, _ = apply_changes(opening, end, spec=spec)
    assert alert.state == "resolved"


# -- acknowledging -----------------------------------------------------------------------------


def test_acknowledging_is_refused_if_it_got_worse_than_the_person_saw() -> None:
    alert, _ = apply_changes(create_change(WARNING, 0), create_change(CRITICAL, 5))
    with pytest.raises(CatcherError, match="CRITICAL by now, not WARNING"):
        manual_transitions.acknowledge_alert(alert, WARNING, "ana", "", instant_at(6))


def test_acknowledging_a_higher_severity_does_not_cover_worse() -> None:
    alert, _ = apply_changes(create_change(WARNING, 0))
    alert = acknowledge_at(alert, CRITICAL)
    worse, _ = lifecycle.apply_level_change(
        alert, create_change(SERIOUS, 90), CRITICAL_LATCH, instant_at(90)
    )
    assert worse is not None and worse.state == "firing"


def test_worse_than_acknowledged_removes_the_acknowledgement() -> None:
    alert, _ = apply_changes(create_change(SERIOUS, 0), create_change(WARNING, 10))
    alert = acknowledge_at(alert, WARNING)
    worse, transition = lifecycle.apply_level_change(
        alert, create_change(SERIOUS, 90), CRITICAL_LATCH, instant_at(90)
    )
    assert worse is not None
    assert (worse.state, worse.acknowledgement, transition.kind) == ("firing", None, "raised")


def test_not_worse_than_acknowledged_stays_acknowledged() -> None:
    alert, _ = apply_changes(create_change(SERIOUS, 0))
    alert = acknowledge_at(alert, SERIOUS)
    for at, severity in ((90, WARNING), (95, SERIOUS)):
        updated, _ = lifecycle.apply_level_change(
            alert, create_change(severity, at), CRITICAL_LATCH, instant_at(at)
        )
        assert updated is not None
        alert = updated
    assert alert.state == "acknowledged"


@pytest.mark.parametrize("action", ["acknowledge", "shelve"])
def test_resolved_alert_cannot_be_acknowledged_or_shelved(action: str) -> None:
    alert, _ = apply_changes(create_change(WARNING, 0), create_change(NONE, 5))
    with pytest.raises(CatcherError, match=f"resolved: there is nothing to {action}"):
        acknowledge_at(alert, WARNING) if action == "acknowledge" else shelve_at(alert)


# -- shelving ----------------------------------------------------------------------------------


def test_shelving_needs_an_end_an_owner_and_a_reason() -> None:
    alert, _ = apply_changes(create_change(WARNING, 0))
    now = instant_at(60)
    for until, who, reason in (
        (now + HOUR, "", "known"),
        (now + HOUR, "ana", "  "),
        (now, "ana", "known"),
        (now + 31 * 24 * HOUR, "ana", "known"),
    ):
        with pytest.raises(CatcherError, match="shelf"):
            manual_transitions.shelve_alert(alert, until, who, reason, now)


def test_worse_than_shelved_is_unshelved() -> None:
    alert = shelve_at(apply_changes(create_change(WARNING, 0))[0])
    worse, transition = lifecycle.apply_level_change(
        alert, create_change(CRITICAL, 90), CRITICAL_LATCH, instant_at(90)
    )
    assert worse is not None
    assert (worse.state, worse.shelf, transition.kind) == ("firing", None, "raised")


def test_shelving_outlasts_the_episodes_of_a_chattering_alert() -> None:
    alert: Alert | None = shelve_at(apply_changes(create_change(WARNING, 0))[0])
    for at, severity in ((90, NONE), (120, WARNING)):
        alert, _ = lifecycle.apply_level_change(
            alert, create_change(severity, at), CRITICAL_LATCH, instant_at(at)
        )
    assert alert is not None and (alert.state, alert.episode) == ("shelved", 2)


def test_shelving_does_not_hide_a_worse_opening() -> None:
    alert: Alert | None = shelve_at(apply_changes(create_change(WARNING, 0))[0])
    for at, severity in ((90, NONE), (120, SERIOUS)):
        alert, _ = lifecycle.apply_level_change(
            alert, create_change(severity, at), CRITICAL_LATCH, instant_at(at)
        )
    assert alert is not None and (alert.state, alert.shelf) == ("firing", None)


def test_shelving_expires_and_names_its_owner() -> None:
    alert = shelve_at(apply_changes(create_change(WARNING, 0))[0], minutes=30)
    soon, warning = manual_transitions.end_or_warn_shelving(alert, instant_at(60) + 23 * MINUTE)
    assert (soon.state, warning.kind) == ("shelved", "ending")
    assert "ana" in warning.reason and "fix on Monday" in warning.reason
    early, no_change = manual_transitions.end_or_warn_shelving(
        soon, instant_at(60) + 30 * MINUTE - 1
    )
    assert (early.state, no_change.kind) == ("shelved", "nothing"), "once"
    expired, transition = manual_transitions.end_or_warn_shelving(
        soon, instant_at(60) + 30 * MINUTE
    )
    assert (expired.state, expired.shelf) == ("firing", None)
    assert "ana" in transition.reason and "fix on Monday" in transition.reason


def test_unshelved_alert_stays_acknowledged() -> None:
    alert = shelve_at(acknowledge_at(apply_changes(create_change(WARNING, 0))[0], WARNING))
    assert manual_transitions.unshelve_alert(alert, "by hand")[0].state == "acknowledged"


# -- unknown -----------------------------------------------------------------------------------


def create_unknown_change(at: float, reason: str = "no data for 1m") -> LevelChange:
    return create_change(NONE, at, reason, unknown=True)


def test_unknown_neither_resolves_nor_opens() -> None:
    alert, transition = apply_changes(create_change(SERIOUS, 0), create_unknown_change(60))
    assert (alert.state, alert.severity, alert.unknown) == ("firing", SERIOUS, True)
    assert (transition.kind, alert.reason) == ("updated", "unknown: no data for 1m")
    assert (
        lifecycle.apply_level_change(
            None, create_unknown_change(60), CRITICAL_LATCH, instant_at(60)
        )[0]
        is None
    )


def test_new_data_clears_the_unknown_flag() -> None:
    alert, transition = apply_changes(
        create_change(SERIOUS, 0, "bad"),
        create_unknown_change(60),
        create_change(SERIOUS, 90, "bad"),
    )
    assert (alert.unknown, alert.reason, transition.kind) == (False, "bad", "updated")


def test_long_unknown_input_opens_an_alert_where_the_rule_asks_for_it() -> None:
    spec = AlertSpec(levels={}, unknown=UnknownSpec(WARNING, 5 * MINUTE))
    alert, transition = apply_changes(create_unknown_change(0), spec=spec)
    assert (alert.state, transition.kind) == ("pending", "pending")
    assert not lifecycle.apply_unknown_timeout(alert, spec, instant_at(299))[1].is_change
    opened_alert, transition = lifecycle.apply_unknown_timeout(alert, spec, instant_at(300))
    assert (opened_alert.state, opened_alert.severity, transition.kind) == (
        "firing",
        WARNING,
        "opened",
    )
    assert opened_alert.episode == 1
    assert opened_alert.reason == "unknown for 5m: no data for 1m"
    cleared, _ = lifecycle.apply_level_change(
        opened_alert, create_change(NONE, 400), spec, instant_at(400)
    )
    assert cleared is not None and cleared.state == "resolved"


def test_pending_is_withdrawn_when_the_data_come_back_in_time() -> None:
    spec = AlertSpec(levels={}, unknown=UnknownSpec(WARNING, 5 * MINUTE))
    alert, transition = apply_changes(create_unknown_change(0), create_change(NONE, 60), spec=spec)
    assert (alert.state, transition.kind) == ("resolved", "withdrawn")


def test_unknown_can_raise_an_open_alert() -> None:
    spec = AlertSpec(levels={}, latch=CRITICAL, unknown=UnknownSpec(SERIOUS, MINUTE))
    alert, _ = apply_changes(create_change(WARNING, 0), create_unknown_change(60), spec=spec)
    worse, transition = lifecycle.apply_unknown_timeout(alert, spec, instant_at(120))
    assert (worse.severity, transition.kind) == (SERIOUS, "raised")
    better, _ = lifecycle.apply_level_change(
        worse, create_change(WARNING, 130), spec, instant_at(130)
    )
    assert better is not None and (better.severity, better.unknown) == (WARNING, False)


def test_an_alert_whose_rule_is_gone_is_resolved_though_latched() -> None:
    alert, _ = apply_changes(create_change(SERIOUS, 0), spec=LATCHING)
    resolved, transition = lifecycle.resolve_alert_without_rule(
        replace(alert, latched=True), "its rule is gone", instant_at(9)
    )
    assert (resolved.state, transition.reason) == ("resolved", "its rule is gone")
