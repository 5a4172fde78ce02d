"""Level changes in, alerts and notices out."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from catcher.alerting import (
    ActionRefused,
    AlertChanges,
    AlertService,
    Route,
    RouteTree,
    TemplateRenderer,
)
from catcher.alerting.route_tree import AlertMatcher, Escalation, SeverityMatcher, TimeInterval
from catcher.model.alert import Alert, Notification
from catcher.model.rule import UnknownSpec
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import HOUR, MINUTE
from tests.alerting.builders import (
    CRITICAL,
    NIGHT,
    NONE,
    SERIOUS,
    UNFILTERED,
    WARNING,
    create_change,
    create_route_tree,
    create_rule,
    create_service,
    instant_at,
)


def list_notifications(changes: AlertChanges) -> list[tuple[str, str]]:
    return [(notification.sink, notification.kind) for notification in changes.notifications]


def apply_severities(service: AlertService, *severities: object) -> list[AlertChanges]:
    """Applies severities a minute apart."""
    return [
        service.apply_level_change(create_change(severity, 60 * step), instant_at(60 * step))  # type: ignore[arg-type]
        for step, severity in enumerate(severities)
    ]


def acknowledge_first(service: AlertService, at: float, who: str = "ana") -> AlertChanges:
    alert_id = service.list_active()[0].id
    return service.acknowledge_alert(
        alert_id, service.list_active()[0].display_severity, who, "on it", instant_at(at), "cli"
    )


# -- notices -----------------------------------------------------------------------------------


def test_each_change_sends_one_notification() -> None:
    steps = apply_severities(
        create_service(create_rule(latch=CRITICAL)), WARNING, SERIOUS, SERIOUS, WARNING, NONE
    )
    assert [list_notifications(changes) for changes in steps] == [
        [("console", "opened")],
        [("console", "raised")],
        [],
        [("console", "lowered")],
        [("console", "resolved")],
    ]
    assert [changes.notifications[0].previous for changes in steps if changes.notifications] == [
        NONE, WARNING, SERIOUS, WARNING,
    ]  # fmt: skip


def test_same_changes_give_same_notifications() -> None:
    first = [
        changes.notifications
        for changes in apply_severities(create_service(), WARNING, SERIOUS, NONE)
    ]
    second = [
        changes.notifications
        for changes in apply_severities(create_service(), WARNING, SERIOUS, NONE)
    ]
    ids = [notification.id for notifications in first for notification in notifications]
    assert first == second and len(set(ids)) == len(ids) == 3


def test_each_episode_has_its_own_notifications() -> None:
    service = create_service(create_rule(latch=CRITICAL))
    steps = apply_severities(service, WARNING, NONE, WARNING)
    assert steps[0].notifications[0].id != steps[2].notifications[0].id
    assert steps[2].alerts[0].episode == 2


def test_change_of_an_unknown_rule_is_ignored() -> None:
    assert (
        create_service().apply_level_change(create_change(WARNING, rule="other"), NIGHT)
        == AlertChanges()
    )


def test_shadow_rule_has_alerts_but_no_notifications() -> None:
    steps = apply_severities(create_service(create_rule(shadow=True)), WARNING, CRITICAL)
    assert [len(changes.alerts) for changes in steps] == [1, 1]
    assert not any(changes.notifications for changes in steps)


def test_alert_has_attributes_of_its_rule() -> None:
    service = create_service(
        create_rule(
            message="Wind {{ speed | round(1) }} m/s, {{ severity }} {{ alert.key }}",
            owner="weather", runbook="https://run.book", tags=("wind",), labels={"place": "summit"},
        ),
        links=lambda alert: {"board": f"http://board/{alert.id}"},
    )  # fmt: skip
    alert = service.apply_level_change(
        create_change(WARNING, values={"speed": 12.34}), NIGHT
    ).alerts[0]
    assert alert.message == "Wind 12.3 m/s, WARNING 301"
    assert (alert.owner, alert.runbook, alert.tags) == ("weather", "https://run.book", ("wind",))
    assert alert.labels == {"place": "summit"}
    assert alert.links == {"board": f"http://board/{alert.id}"}
    resolved = service.apply_level_change(
        create_change(NONE, 60, values={"speed": 3}), instant_at(60)
    ).alerts[0]
    assert resolved.message == "Wind 12.3 m/s, WARNING 301", "it keeps what it was about"


def test_failed_message_shows_the_reason_and_is_counted() -> None:
    service = create_service(create_rule(message="Wind {{ sped }}"))
    alert = service.apply_level_change(
        create_change(WARNING, reason="12 > 10", values={"speed": 12}), NIGHT
    ).alerts[0]
    assert alert.message == "12 > 10 (its message failed: 'sped' is undefined)"
    assert service.collect_counts()["message_failures"] == 1


def test_the_plot_of_the_run_goes_with_the_alert() -> None:
    service = create_service(create_rule(attach="wind.png"))
    firing = Firing("wind-high", "301", NIGHT, "c", "r")
    plots = tuple(
        ArtifactRecord(f"k/{name}", name, firing.id, "wind-high", NIGHT, 9, "image/png", "",
                       url=f"file:///k/{name}")
        for name in ("other.png", "wind.png")
    )  # fmt: skip
    run = Run(firing.id, firing, "wind", artifacts=plots)
    alert = service.apply_level_change(create_change(WARNING, run=run.id), NIGHT, run).alerts[0]
    assert (alert.attachment, alert.run) == ("k/wind.png", run.id)
    assert alert.links == {"wind.png": "file:///k/wind.png"}


def test_huge_values_are_truncated() -> None:
    values = {"text": "x" * 10**6, "list": list(range(10**6)), "deep": [[[[[[1]]]]]]}
    alert = (
        create_service().apply_level_change(create_change(WARNING, values=values), NIGHT).alerts[0]
    )
    assert len(str(alert.values)) < 5_000


# -- ways --------------------------------------------------------------------------------------

SERIOUS_TO_SLACK = Route(
    to=("console",),
    routes=(Route(AlertMatcher(severity=SeverityMatcher.parse(">= serious")), to=("slack",)),),
)


def test_notified_sinks_receive_the_resolution() -> None:
    steps = apply_severities(
        create_service(create_rule(latch=CRITICAL), route=SERIOUS_TO_SLACK),
        WARNING,
        SERIOUS,
        WARNING,
        NONE,
    )
    assert [list_notifications(changes) for changes in steps] == [
        [("console", "opened")],
        [("console", "raised"), ("slack", "raised")],
        [("console", "lowered"), ("slack", "lowered")],
        [("console", "resolved"), ("slack", "resolved")],
    ]


def test_muted_alert_is_sent_after_the_mute_interval() -> None:
    route = Route(to=("console",), mute=(TimeInterval.parse("00:00-00:10"),))
    service = create_service(route=route)
    assert list_notifications(service.apply_level_change(create_change(WARNING), NIGHT)) == []
    assert list_notifications(service.tick(instant_at(300))) == []
    assert service.collect_counts()["held_back"] == 1
    assert list_notifications(service.tick(instant_at(601))) == [("console", "opened")]
    assert list_notifications(service.tick(instant_at(700))) == [], "once"


def test_alert_resolved_while_muted_is_not_sent() -> None:
    route = Route(to=("console",), mute=(TimeInterval.parse("00:00-00:10"),))
    assert not any(
        changes.notifications
        for changes in apply_severities(create_service(route=route), WARNING, NONE)
    )


def test_inhibited_alert_is_sent_when_the_inhibitor_resolves() -> None:
    dome, wind = create_rule("dome-closed"), create_rule("wind-high")
    route = Route(
        to=("console",),
        routes=(Route(AlertMatcher(rule=("wind-*",)), inhibit_if=AlertMatcher(rule=("dome-*",))),),
    )
    service = create_service(dome, wind, route=route)
    service.apply_level_change(create_change(WARNING, rule="dome-closed"), NIGHT)
    assert (
        list_notifications(service.apply_level_change(create_change(WARNING, 10), instant_at(10)))
        == []
    )
    service.apply_level_change(create_change(NONE, 20, rule="dome-closed"), instant_at(20))
    assert list_notifications(service.tick(instant_at(60))) == [("console", "opened")]


def test_reminders_repeat_until_acknowledged() -> None:
    service = create_service(route=Route(to=("console",), repeat=HOUR))
    service.apply_level_change(create_change(WARNING), NIGHT)
    first, early = service.tick(instant_at(3600)), service.tick(instant_at(3700))
    assert (list_notifications(first), list_notifications(early)) == ([("console", "reminder")], [])
    assert list_notifications(service.tick(instant_at(7200))) == [("console", "reminder")]
    acknowledge_first(service, 7300)
    assert list_notifications(service.tick(instant_at(20_000))) == []


def test_unacknowledged_alert_is_escalated() -> None:
    route = Route(to=("console",), escalate=Escalation(5 * MINUTE, ("on-shift",)))
    service = create_service(create_rule(latch=CRITICAL), route=route)
    opened = service.apply_level_change(create_change(WARNING), NIGHT).alerts[0]
    assert (opened.escalates, opened.escalate_to) == (instant_at(300), ("on-shift",))
    assert list_notifications(service.tick(instant_at(299))) == []
    changes = service.tick(instant_at(300))
    assert list_notifications(changes) == [("console", "updated"), ("on-shift", "opened")]
    assert changes.alerts[-1].escalated
    assert list_notifications(service.tick(instant_at(9_000))) == [], "once"
    assert list_notifications(
        service.apply_level_change(create_change(NONE, 9_100), instant_at(9_100))
    ) == [
        ("console", "resolved"),
        ("on-shift", "resolved"),
    ]


def test_acknowledged_alert_is_not_escalated() -> None:
    service = create_service(
        route=Route(to=("console",), escalate=Escalation(5 * MINUTE, ("on-shift",)))
    )
    service.apply_level_change(create_change(WARNING), NIGHT)
    acknowledge_first(service, 100)
    assert list_notifications(service.tick(instant_at(400))) == []


def test_worse_than_acknowledged_escalates_again() -> None:
    service = create_service(
        route=Route(to=("console",), escalate=Escalation(5 * MINUTE, ("on-shift",)))
    )
    service.apply_level_change(create_change(WARNING), NIGHT)
    acknowledge_first(service, 100)
    service.apply_level_change(create_change(CRITICAL, 200), instant_at(200))
    assert ("on-shift", "opened") in list_notifications(service.tick(instant_at(500)))


def test_fallback_for_a_failed_sink() -> None:
    service = create_service(route=Route(to=("slack",), undelivered=Escalation(MINUTE, ("love",))))
    notification = service.apply_level_change(create_change(WARNING), NIGHT).notifications[0]
    assert service.find_fallback(notification) == Escalation(MINUTE, ("love",))


# -- people ------------------------------------------------------------------------------------


def test_acknowledging_is_sent_and_audited() -> None:
    service = create_service()
    service.apply_level_change(create_change(SERIOUS), NIGHT)
    changes = acknowledge_first(service, 60)
    assert list_notifications(changes) == [("console", "updated")]
    assert changes.alerts[0].state == "acknowledged"
    entry = changes.audit[0]
    assert (entry.who, entry.channel, entry.what) == ("ana", "cli", "acknowledged")
    assert entry.detail["note"] == "on it"


def test_a_refusal_is_audited_too() -> None:
    service = create_service()
    service.apply_level_change(create_change(CRITICAL), NIGHT)
    alert_id = service.list_active()[0].id
    with pytest.raises(ActionRefused, match="CRITICAL by now") as refusal:
        service.acknowledge_alert(alert_id, WARNING, "ana", "", instant_at(9), "slack")
    assert refusal.value.audit_entry.detail["refused"]
    with pytest.raises(ActionRefused, match="no alert is called 'beef'") as refusal:
        service.acknowledge_alert("beef", WARNING, "ana", "", instant_at(9), "slack")
    assert (refusal.value.audit_entry.who, refusal.value.audit_entry.subject) == ("ana", "beef")
    with pytest.raises(ActionRefused, match="who wants to acknowledge"):
        service.acknowledge_alert(alert_id, CRITICAL, " ", "", instant_at(9), "slack")


def test_shelved_alert_is_not_sent_until_shelving_ends() -> None:
    service = create_service(create_rule(latch=CRITICAL))
    service.apply_level_change(create_change(WARNING), NIGHT)
    alert_id = service.list_active()[0].id
    shelve_changes = service.shelve_alert(
        alert_id, instant_at(60) + 30 * MINUTE, "ana", "known", instant_at(60), "cli"
    )
    assert list_notifications(shelve_changes) == [("console", "updated")]
    service.apply_level_change(create_change(NONE, 120), instant_at(120))
    assert (
        list_notifications(service.apply_level_change(create_change(WARNING, 180), instant_at(180)))
        == []
    )
    expiry_changes = service.tick(instant_at(60) + 30 * MINUTE)
    assert expiry_changes.alerts[0].state == "firing"
    assert list_notifications(expiry_changes) == [("console", "opened")], (
        "of this episode nobody had heard"
    )


def test_unshelve_manually() -> None:
    service = create_service()
    service.apply_level_change(create_change(WARNING), NIGHT)
    alert_id = service.list_active()[0].id
    service.shelve_alert(alert_id, instant_at(3600), "ana", "known", instant_at(60), "cli")
    changes = service.unshelve_alert(alert_id, "bo", instant_at(90), "cli")
    assert changes.alerts[0].state == "firing" and changes.audit[0].who == "bo"
    assert list_notifications(changes) == [("console", "reminder")]
    with pytest.raises(ActionRefused, match="is not shelved"):
        service.unshelve_alert(alert_id, "bo", instant_at(91), "cli")


def test_comment_is_stored_with_author_and_link() -> None:
    service = create_service()
    before = service.apply_level_change(create_change(WARNING), NIGHT).alerts[0]
    link = "elog=https://elog.example/17"
    changes = service.add_comment(
        before.id, "the anemometer ices", "ana", instant_at(60), "cli", link
    )
    after = changes.alerts[0]
    assert (after.state, after.severity, after.reason) == ("firing", WARNING, before.reason)
    assert [(comment.who, comment.time, comment.text) for comment in after.notes] == [
        ("ana", instant_at(60), "the anemometer ices")
    ]
    assert after.links["elog"] == "https://elog.example/17"
    assert changes.audit[0].detail["text"] == "the anemometer ices"
    with pytest.raises(ActionRefused, match="is no address"):
        service.add_comment(
            before.id, "look", "ana", instant_at(60), "cli", "elog=javascript:alert(1)"
        )


def test_alerts_are_found_by_id_prefix_and_name() -> None:
    service = create_service()
    service.apply_level_change(create_change(WARNING), NIGHT)
    alert = service.list_active()[0]
    assert (
        service.get_alert(alert.id)
        == service.get_alert(alert.id[:5])
        == service.get_alert("wind-high 301")
        == alert
    )


# -- time and change ---------------------------------------------------------------------------


def test_input_unknown_for_too_long_is_sent() -> None:
    service = create_service(create_rule(unknown=UnknownSpec(WARNING, 5 * MINUTE)))
    changes = service.apply_level_change(create_change(NONE, reason="no data", unknown=True), NIGHT)
    assert (list_notifications(changes), changes.alerts[0].state, service.list_active()) == (
        [],
        "pending",
        [],
    )
    assert list_notifications(service.tick(instant_at(299))) == []
    assert list_notifications(service.tick(instant_at(300))) == [("console", "opened")]


def test_restart_resumes_state() -> None:
    route = Route(to=("console",), repeat=HOUR, escalate=Escalation(2 * HOUR, ("on-shift",)))
    service_before = create_service(route=route)
    alert = service_before.apply_level_change(create_change(SERIOUS), NIGHT).alerts[0]
    service = create_service(route=route, alerts=[alert])
    assert service.list_active() == [alert]
    assert list_notifications(service.tick(instant_at(1800))) == [], "nothing is told twice"
    assert list_notifications(service.tick(instant_at(3600))) == [("console", "reminder")]
    assert ("on-shift", "opened") in list_notifications(service.tick(instant_at(7200)))
    cleared = service.apply_level_change(create_change(NONE, 8000), instant_at(8000)).alerts[0]
    assert (cleared.episode, cleared.severity, cleared.latched) == (1, NONE, True)


def test_episodes_count_on_after_a_restart() -> None:
    service = create_service(create_rule(latch=CRITICAL))
    resolved = apply_severities(service, WARNING, NONE)[-1].alerts[0]
    service = create_service(create_rule(latch=CRITICAL), alerts=[resolved])
    assert (
        service.apply_level_change(create_change(WARNING, 300), instant_at(300)).alerts[0].episode
        == 2
    )


def test_the_alerts_of_a_deleted_rule_are_resolved() -> None:
    service = create_service()
    service.apply_level_change(create_change(SERIOUS), NIGHT)
    service.replace_rules_and_routes({}, RouteTree())
    changes = service.tick(instant_at(60))
    assert list_notifications(changes) == [("console", "resolved")]
    assert changes.alerts[0].reason == "its rule is gone"


def test_the_alerts_of_a_broken_rule_stay() -> None:
    service = create_service()
    service.apply_level_change(create_change(SERIOUS), NIGHT)
    service.replace_rules_and_routes({}, RouteTree(), broken_rules=["wind-high"])
    assert service.tick(instant_at(60)) == AlertChanges()
    assert len(service.list_active()) == 1


def test_other_routes_take_effect_at_once() -> None:
    service = create_service()
    service.apply_level_change(create_change(SERIOUS), NIGHT)
    service.replace_rules_and_routes(
        {"wind-high": create_rule()},
        create_route_tree(Route(to=("console", "love")), "console", "love"),
    )
    assert list_notifications(service.tick(instant_at(60))) == [("love", "opened")]


def test_every_change_is_in_the_audit_trail() -> None:
    steps = apply_severities(create_service(create_rule(latch=CRITICAL)), WARNING, SERIOUS, NONE)
    entries = [entry for changes in steps for entry in changes.audit]
    assert [entry.what for entry in entries] == ["opened", "raised", "resolved"]
    assert {entry.subject for entry in entries} == {steps[0].alerts[0].id}


def test_worst_alert_is_listed_first() -> None:
    service = create_service()
    for key, severity in (("a", WARNING), ("b", CRITICAL), ("c", SERIOUS)):
        service.apply_level_change(create_change(severity, key=key), NIGHT)
    assert [alert.key for alert in service.list_active()] == ["b", "c", "a"]


def test_many_alerts_are_sent_and_cleared() -> None:
    service = create_service(
        create_rule(latch=CRITICAL),
        route=Route(to=("console",), repeat=HOUR),
        noise_limits=UNFILTERED,
    )
    started = time.process_time()
    notifications: list[Notification] = []
    for severity, at in ((WARNING, 0), (NONE, 60)):
        for key in range(5_200):
            change = create_change(severity, at, key=str(key))
            notifications += service.apply_level_change(change, instant_at(at)).notifications
            service.tick(instant_at(at))
    print(f"10,400 level changes: {time.process_time() - started:.2f} s")
    assert len(notifications) == 10_400
    assert service.list_active() == [] and service.collect_counts()["forgotten"] == 200


def test_a_renderer_serves_many_rules() -> None:
    renderer = TemplateRenderer()
    rules = {f"r{n}": create_rule(f"r{n}", message=f"{n} {{{{ x }}}}") for n in range(3)}
    service = AlertService(rules, RouteTree(), renderer)
    messages = [
        service.apply_level_change(
            replace(create_change(WARNING, rule=name), values={"x": 1}), NIGHT
        )
        .alerts[0]
        .message
        for name in rules
    ]
    assert messages == ["0 1", "1 1", "2 1"]
    assert isinstance(service.list_active()[0], Alert)
