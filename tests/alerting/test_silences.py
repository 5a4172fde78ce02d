"""Silences and shelves: who holds back what, until when, why, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from catcher.alerting import ActionRefused, AlertChanges, AlertMatcher, AlertService, Route
from catcher.alerting.route_tree import Escalation
from catcher.model.alert import Severity
from catcher.model.alert_operations import Silence
from catcher.model.time import DAY, HOUR, MINUTE
from tests.alerting.builders import (
    CRITICAL,
    NIGHT,
    NONE,
    SERIOUS,
    UNFILTERED,
    WARNING,
    create_change,
    create_rule,
    create_service,
    instant_at,
)

CRITICAL_LATCH_RULE = create_rule(latch=CRITICAL, labels={"place": "summit"})


def list_notifications(changes: AlertChanges) -> list[tuple[str, str]]:
    return [(notification.alert.name, notification.kind) for notification in changes.notifications]


def add_silence(
    service: AlertService,
    name: str = "wind-*",
    span: int = HOUR,
    at: float = 0,
    labels: Mapping[str, str] | None = None,
    severity: Severity = SERIOUS,
) -> Silence:
    ends_at = instant_at(at) + span
    changes = service.add_silence(
        name, labels or {}, severity, ends_at, "ana", "iced", instant_at(at), "cli"
    )
    return changes.silences[0]


def is_suppressed(service: AlertService, key: str = "301", at: float = 1) -> bool:
    return not service.apply_level_change(
        create_change(WARNING, at, key=key), instant_at(at)
    ).notifications


@pytest.mark.parametrize(
    ("name", "labels", "is_silenced"),
    [
        ("wind-high 301", {}, True),
        ("wind-high", {}, True),
        ("wind-*", {}, True),
        ("*", {"place": "summ*"}, True),
        ("*", {"place": "base"}, False),
        ("wind-high 302", {}, False),
        ("dome", {}, False),
        (create_change(NONE).alert_id, {}, True),
    ],
)
def test_silence_suppresses_matching_alerts(
    name: str, labels: dict[str, str], is_silenced: bool
) -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    add_silence(service, name, labels=labels)
    assert is_suppressed(service) is is_silenced


def test_silenced_alert_exists_and_says_why() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    silence = add_silence(service)
    assert is_suppressed(service)
    (alert,) = service.list_active()
    assert alert.held_back == f"silence {silence.id} of ana: iced"
    assert service.collect_counts()["held_back"] == 1


def test_a_silence_of_warnings_never_hides_what_is_worse() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    add_silence(service, severity=WARNING)
    assert is_suppressed(service)
    changes = service.apply_level_change(create_change(CRITICAL, 2), instant_at(2))
    assert list_notifications(changes) == [("wind-high 301", "raised")]


def test_alert_sent_before_a_silence_is_resolved() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    assert not is_suppressed(service)
    add_silence(service, at=2)
    changes = service.apply_level_change(create_change(NONE, 3), instant_at(3))
    assert list_notifications(changes) == [("wind-high 301", "resolved")]


def test_end_of_a_silence_sends_suppressed_alerts() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    silence = add_silence(service)
    assert is_suppressed(service)
    steps = [service.tick(instant_at(3600) + part) for part in (0, 1, 2)]
    assert [list_notifications(changes) for changes in steps if changes.notifications] == [
        [("wind-high 301", "opened")]
    ]
    (ended_silence,) = (silence for changes in steps for silence in changes.silences)
    assert (ended_silence.id, ended_silence.ended, ended_silence.hits) == (
        silence.id,
        instant_at(3600),
        1,
    )
    assert ended_silence.why == "its time was over at 2025-04-24 01:00:00Z"
    end_entry = next(
        entry for changes in steps for entry in changes.audit if entry.what == "silence ended"
    )
    assert end_entry.detail["holds_back"] == 1 and end_entry.detail["hits"] == 1
    assert service.list_silences() == []


def test_before_it_ends_a_silence_says_so() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    assert not is_suppressed(service)
    silence = add_silence(service, at=2)
    assert service.tick(instant_at(2 + 3600 - 601)).silences == ()
    changes = service.tick(instant_at(2 + 3600 - 600))
    assert list_notifications(changes) == [("wind-high 301", "reminder")]
    assert (
        f"the silence {silence.id} of ana over wind-* ends at"
        in changes.notifications[0].alert.aside
    )
    assert service.tick(instant_at(2 + 3600 - 500)).notifications == (), "once"


def test_an_idle_silence_is_known_as_idle() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    add_silence(service, "dome-*")
    add_silence(service, "wind-*", 2 * HOUR)
    assert is_suppressed(service)
    assert [(silence.name, silence.hits) for silence in service.list_silences()] == [
        ("dome-*", 0),
        ("wind-*", 1),
    ]


def test_silence_is_ended_manually() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    silence = add_silence(service)
    is_suppressed(service)
    changes = service.end_silence(silence.id[:5], "bo", instant_at(10), "slack")
    assert changes.silences[0].why == "ended by bo"
    assert (changes.audit[0].who, changes.audit[0].channel) == ("bo", "slack")
    assert list_notifications(service.tick(instant_at(11))) == [("wind-high 301", "opened")]


@pytest.mark.parametrize(
    ("who", "reason", "span", "message"),
    [
        ("", "iced", HOUR, "who wants to silence"),
        ("ana", " ", HOUR, "needs an owner and a reason"),
        ("ana", "iced", 31 * DAY, "cannot end at"),
        ("ana", "iced", 0, "cannot end at"),
    ],
)
def test_a_silence_needs_an_owner_a_reason_and_an_end(
    who: str, reason: str, span: int, message: str
) -> None:
    service = create_service(CRITICAL_LATCH_RULE)
    with pytest.raises(ActionRefused, match=message) as refusal:
        service.add_silence("*", {}, SERIOUS, NIGHT + span, who, reason, NIGHT, "cli")
    assert refusal.value.audit_entry.detail["refused"]
    with pytest.raises(ActionRefused, match="no silence in force is called 's99'"):
        service.end_silence("s99", "ana", NIGHT, "cli")


def test_silences_outlast_a_restart() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    silence = add_silence(service)
    restarted = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED, silences=[silence])
    assert is_suppressed(restarted) and restarted.list_silences()[0].hits == 1


def test_ten_thousand_silenced_alerts_write_their_silence_once_a_minute() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    add_silence(service)
    steps = [
        service.apply_level_change(create_change(WARNING, 1, key=str(n)), instant_at(1))
        for n in range(1000)
    ]
    assert sum(len(changes.silences) for changes in steps) == 1
    assert service.list_silences()[0].hits == 1000


# -- shelves -----------------------------------------------------------------------------------


def shelve_alert(service: AlertService, span: int = HOUR) -> str:
    service.apply_level_change(create_change(WARNING), NIGHT)
    alert_id = service.list_active()[0].id
    service.shelve_alert(
        alert_id, instant_at(10) + span, "ana", "known, fix on Monday", instant_at(10), "cli"
    )
    return alert_id


def test_shelving_warns_before_it_ends_and_says_why() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    shelve_alert(service)
    changes = service.tick(instant_at(10 + 3000))
    assert list_notifications(changes) == [("wind-high 301", "reminder")]
    assert "the shelf of ana ends at" in changes.notifications[0].alert.aside
    expiry = service.tick(instant_at(10 + 3600))
    assert list_notifications(expiry) == [("wind-high 301", "reminder")]
    assert expiry.alerts[0].aside == (
        "the shelf of ana ended, its time is over: known, fix on Monday"
    )


def test_worse_alert_is_unshelved_and_says_why() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    shelve_alert(service)
    changes = service.apply_level_change(create_change(SERIOUS, 60), instant_at(60))
    assert list_notifications(changes) == [("wind-high 301", "raised")]
    assert changes.alerts[0].aside == "off the shelf of ana: worse than WARNING"


def test_shelving_ends_while_its_alert_is_resolved() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    alert_id = shelve_alert(service)
    service.apply_level_change(create_change(NONE, 60), instant_at(60))
    assert service.tick(instant_at(3000)).notifications == ()
    changes = service.tick(instant_at(10 + 3600))
    assert (changes.notifications, changes.alerts[0].shelf) == ((), None)
    assert (
        changes.audit[0].what == "unshelved" and "while it was resolved" in changes.alerts[0].aside
    )
    assert service.get_alert(alert_id).state == "resolved"


# -- shifts ------------------------------------------------------------------------------------

SINKS_BY_PERSON = {"ana": ("ana-phone",), "bo": ("bo-phone", "console")}


def create_service_with_people(route: Route | None = None) -> AlertService:
    service = create_service(CRITICAL_LATCH_RULE, route=route, noise_limits=UNFILTERED)
    tree = replace(service._pipeline.router.route_tree, sinks_by_person=SINKS_BY_PERSON)
    service.replace_rules_and_routes({"wind-high": CRITICAL_LATCH_RULE}, tree)
    return service


def test_on_shift_is_who_took_the_last_handover() -> None:
    service = create_service_with_people(Route(to=("on-shift",)))
    assert list_notified_sinks(service, "a") == {"ana-phone", "bo-phone", "console"}, (
        "nobody known: everybody"
    )
    service.hand_over_shift("ana", "bo", "quiet night", NIGHT, "cli")
    assert list_notified_sinks(service, "b") == {"ana-phone"}
    service.hand_over_shift("bo", "ana", "", instant_at(5), "cli")
    assert list_notified_sinks(service, "c") == {"bo-phone", "console"}
    assert service.shift is not None and service.shift.who == "bo"


def list_notified_sinks(service: AlertService, key: str) -> set[str]:
    return {
        notification.sink
        for notification in service.apply_level_change(
            create_change(WARNING, key=key), NIGHT
        ).notifications
    }


def test_handover_assigns_alerts_and_asks_to_confirm_suppressions() -> None:
    service = create_service_with_people()
    alert_id = shelve_alert(service, 5 * HOUR)
    silence = add_silence(service, "dome-*", 5 * HOUR, 20)
    service.apply_level_change(create_change(WARNING, 20, key="302"), instant_at(20))
    changes = service.hand_over_shift("bo", "ana", "all quiet", instant_at(30), "cli")
    assert {alert.assignee for alert in service.list_active()} == {"bo"}
    assert changes.shifts[0].note == "all quiet"
    deadline = instant_at(30) + 30 * MINUTE
    assert (
        service.get_alert(alert_id).shelf is not None
        and service.get_alert(alert_id).shelf.confirm_by == deadline
    )  # type: ignore[union-attr]
    assert service.list_silences()[0].confirm_by == deadline
    entry = changes.audit[-1]
    assert (entry.what, entry.detail["to"], entry.detail["shelves"]) == ("hand over", "bo", 1)
    service.confirm_suppression(alert_id, "bo", instant_at(60), "cli")
    service.confirm_suppression(silence.id, "bo", instant_at(60), "cli")
    assert service.tick(deadline + MINUTE).silences == ()
    shelving = service.get_alert(alert_id).shelf
    assert shelving is not None and (shelving.who, shelving.confirm_by) == ("bo", None)


def test_unconfirmed_suppression_ends() -> None:
    service = create_service_with_people()
    alert_id = shelve_alert(service, 5 * HOUR)
    add_silence(service, "dome-*", 5 * HOUR, 20)
    service.hand_over_shift("bo", "ana", "", instant_at(30), "cli")
    deadline = instant_at(30) + 30 * MINUTE
    steps = [service.tick(deadline), service.tick(deadline + 1)]
    assert service.get_alert(alert_id).state == "firing"
    assert "nobody of the new shift confirmed it" in service.get_alert(alert_id).aside
    ended_silences = [silence for changes in steps for silence in changes.silences]
    assert [silence.why for silence in ended_silences] == ["nobody of the new shift confirmed it"]


def test_only_configured_people_take_a_handover() -> None:
    with pytest.raises(ActionRefused, match="'eve' is not among the people"):
        create_service_with_people().hand_over_shift("eve", "ana", "", NIGHT, "cli")
    assert (
        create_service(CRITICAL_LATCH_RULE)
        .hand_over_shift("eve", "ana", "", NIGHT, "cli")
        .shifts[0]
        .who
        == "eve"
    )


def test_an_alert_is_assigned() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=UNFILTERED)
    service.apply_level_change(create_change(WARNING), NIGHT)
    changes = service.assign_alert(service.list_active()[0].id, "bo", "ana", instant_at(5), "slack")
    assert changes.alerts[0].assignee == "bo"
    assert (
        changes.audit[0].what == "assigned" and "assigned to bo by ana" in changes.alerts[0].aside
    )
    assert list_notifications(changes) == [("wind-high 301", "updated")]


# -- what happens by itself --------------------------------------------------------------------


def test_a_cleared_alert_is_acknowledged_by_itself() -> None:
    route = Route(to=("console",), acknowledge=30 * MINUTE)
    service = create_service(create_rule(), route=route, noise_limits=UNFILTERED)
    service.apply_level_change(create_change(SERIOUS), NIGHT)
    cleared = service.apply_level_change(create_change(NONE, 60), instant_at(60)).alerts[0]
    assert (cleared.latched, cleared.acknowledges) == (True, instant_at(60) + 30 * MINUTE)
    assert service.tick(instant_at(60 + 1799)).alerts == ()
    changes = service.tick(instant_at(60 + 1800))
    assert list_notifications(changes) == [("wind-high 301", "resolved")]
    assert changes.audit[0].who == "catcher" and "nobody took it" in changes.alerts[0].reason


def test_one_that_is_bad_again_is_not_acknowledged_by_itself() -> None:
    route = Route(to=("console",), acknowledge=30 * MINUTE)
    service = create_service(create_rule(), route=route, noise_limits=UNFILTERED)
    service.apply_level_change(create_change(SERIOUS), NIGHT)
    service.apply_level_change(create_change(NONE, 60), instant_at(60))
    alert = service.apply_level_change(create_change(SERIOUS, 120), instant_at(120)).alerts[0]
    assert alert.acknowledges is None
    assert service.tick(instant_at(5000)).alerts == ()


def test_long_acknowledged_alert_is_reopened() -> None:
    route = Route(to=("console",), remind=2 * HOUR)
    service = create_service(CRITICAL_LATCH_RULE, route=route, noise_limits=UNFILTERED)
    service.apply_level_change(create_change(WARNING), NIGHT)
    alert = service.acknowledge_alert(
        service.list_active()[0].id, WARNING, "ana", "", instant_at(60), "cli"
    ).alerts[0]
    assert alert.reminds == instant_at(60) + 2 * HOUR
    changes = service.tick(instant_at(60) + 2 * HOUR)
    assert list_notifications(changes) == [("wind-high 301", "reminder")]
    assert (changes.alerts[0].state, changes.alerts[0].acknowledgement) == ("firing", None)
    assert changes.alerts[0].aside == "ana took it 2h ago and it goes on"


def test_event_alert_is_closed_by_acknowledging() -> None:
    rule = create_rule("bad-exposure")
    rule = replace(rule, trigger=replace(rule.trigger, kind="event"))
    service = create_service(rule, noise_limits=UNFILTERED)
    service.apply_level_change(
        create_change(SERIOUS, rule="bad-exposure", key="", per="MC_1"), NIGHT
    )
    alert_id = service.list_active()[0].id
    changes = service.acknowledge_alert(alert_id, SERIOUS, "ana", "seen", instant_at(60), "cli")
    assert list_notifications(changes) == [("bad-exposure MC_1", "resolved")]
    assert changes.alerts[0].acknowledgement is not None
    assert service.apply_level_change(
        create_change(NONE, 600, rule="bad-exposure", key="", per="MC_1"), instant_at(600)
    ) == (AlertChanges())


def test_unknown_has_its_own_route() -> None:
    unknown_route = Route(AlertMatcher(unknown=True), to=("weather",))
    service = create_service(
        CRITICAL_LATCH_RULE,
        route=Route(to=("console",), routes=(unknown_route,)),
        noise_limits=UNFILTERED,
    )
    service.apply_level_change(create_change(WARNING), NIGHT)
    changes = service.apply_level_change(
        create_change(WARNING, 60, "no data", unknown=True), instant_at(60)
    )
    assert [(notification.sink, notification.kind) for notification in changes.notifications] == [
        ("console", "updated"), ("weather", "opened"),
    ]  # fmt: skip
    assert changes.alerts[0].severity == Severity.WARNING


def test_unacknowledged_alert_is_escalated_step_by_step() -> None:
    escalation = Escalation(5 * MINUTE, ("bo",), Escalation(15 * MINUTE, ("chief",)))
    service = create_service(
        CRITICAL_LATCH_RULE,
        route=Route(to=("console",), escalate=escalation),
        noise_limits=UNFILTERED,
    )
    service.apply_level_change(create_change(WARNING), NIGHT)
    first, early, second = (service.tick(instant_at(60 * at)) for at in (5, 14, 15))
    assert ("bo", "opened") in [
        (notification.sink, notification.kind) for notification in first.notifications
    ]
    assert early.notifications == ()
    assert ("chief", "opened") in [
        (notification.sink, notification.kind) for notification in second.notifications
    ]
    assert service.tick(instant_at(9000)).notifications == ()
    assert service.list_active()[0].handed == 2


# -- escalation of what is held back -------------------------------------------------------------

ESCALATION_ROUTE = Route(to=("console",), escalate=Escalation(5 * MINUTE, ("phone",)))


def list_escalation_times(service: AlertService, start: int, end: int) -> list[int]:
    """The seconds at which the wind's alert was handed on."""
    ticks = ((at, service.tick(instant_at(at))) for at in range(start, end))
    escalated = [
        (at, entry) for at, changes in ticks for entry in changes.audit if entry.what == "escalated"
    ]
    return [at for at, entry in escalated if entry.detail["name"] == "wind-high 301"]


def test_silenced_alert_escalates_after_the_silence() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=ESCALATION_ROUTE, noise_limits=UNFILTERED)
    add_silence(service, span=20 * MINUTE)
    assert is_suppressed(service)
    (at,) = list_escalation_times(service, 2, 1600)
    assert at >= 20 * 60 + 5 * 60


def test_silence_postpones_escalation() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=ESCALATION_ROUTE, noise_limits=UNFILTERED)
    assert not is_suppressed(service)
    add_silence(service, at=2, span=20 * MINUTE)
    (at,) = list_escalation_times(service, 3, 1600)
    assert 20 * 60 < at <= 20 * 60 + 5 * 60 + 2


def test_muted_alert_escalates_after_it_was_sent() -> None:
    route = replace(ESCALATION_ROUTE, inhibit_if=AlertMatcher(rule=("dome-closed",)))
    service = create_service(
        CRITICAL_LATCH_RULE, create_rule("dome-closed"), route=route, noise_limits=UNFILTERED
    )
    service.apply_level_change(create_change(WARNING, 0, rule="dome-closed", key=""), instant_at(0))
    assert is_suppressed(service)
    assert list_escalation_times(service, 2, 700) == []
    service.apply_level_change(
        create_change(NONE, 700, rule="dome-closed", key=""), instant_at(700)
    )
    notified_at = next(
        at for at in range(701, 720) if list_notifications(service.tick(instant_at(at)))
    )
    (at,) = list_escalation_times(service, notified_at + 1, 1200)
    assert at == notified_at + 5 * 60
