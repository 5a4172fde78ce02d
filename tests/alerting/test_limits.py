"""What keeps the alerts bearable: flapping, groups, floods. Nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catcher.alerting import AlertChanges, AlertService, Route
from catcher.alerting.limits import FlappingLimit, FloodLimit, NoiseLimits, RateLimit
from catcher.alerting.route_tree import SinkSpec
from catcher.model.alert import Notification
from catcher.model.time import HOUR, MINUTE, SECOND
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

CRITICAL_LATCH_RULE = create_rule(latch=CRITICAL)
GROUPED_ROUTE = Route(to=("console",), group_by=("rule",))
FLAPPING_ONLY = replace(UNFILTERED, flapping=FlappingLimit())
FLOODS_ONLY = replace(UNFILTERED, flood=FloodLimit())


def list_notifications(changes: AlertChanges) -> list[tuple[str, str]]:
    return [(notification.alert.name, notification.kind) for notification in changes.notifications]


def open_alerts(
    service: AlertService, count: int, at: float = 0, severity: object = WARNING
) -> list[Notification]:
    """So many new alerts within a second."""
    steps = [
        service.apply_level_change(
            create_change(severity, at, key=str(key)), instant_at(at + key / count)
        )  # type: ignore[arg-type]
        for key in range(count)
    ]
    return [notification for changes in steps for notification in changes.notifications]


def tick_between(
    service: AlertService, start: float, end: float, step: float = 1
) -> list[Notification]:
    """What time alone tells, second by second."""
    notifications: list[Notification] = []
    at = start
    while at <= end:
        notifications += service.tick(instant_at(at)).notifications
        at += step
    return notifications


# -- flapping ----------------------------------------------------------------------------------


def flap_alert(service: AlertService, times: int, severity: object = WARNING) -> list[list[str]]:
    """Opens and clears an alert so many times, a minute each."""
    kinds: list[list[str]] = []
    for cycle in range(times):
        for half, level in enumerate((severity, NONE)):
            at = 60 * cycle + 30 * half
            kinds.append(
                [
                    notification.kind
                    for notification in service.apply_level_change(
                        create_change(level, at), instant_at(at)
                    ).notifications
                ]
            )  # type: ignore[arg-type]
    return kinds


def test_flapping_is_reported_once() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLAPPING_ONLY)
    kinds = flap_alert(service, 8)
    assert kinds[:9] == [["opened"], ["resolved"]] * 4 + [["opened"]]
    assert kinds[9:] == [[]] * 7
    alert = service.get_alert(create_change(NONE).alert_id)
    assert alert.flapping and alert.untold == 7
    assert alert.aside.startswith("flapping: came back 4 times in 10m")
    assert service.collect_counts()["untold"] == 7


def test_alert_state_is_updated_while_flapping() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLAPPING_ONLY)
    flap_alert(service, 7)
    alert = service.apply_level_change(create_change(WARNING, 500), instant_at(500)).alerts[0]
    assert (alert.episode, alert.state, alert.flapping) == (8, "firing", True)
    assert alert.thread == 5, "the message about it began when it began to flap"


def test_end_of_flapping_sends_the_current_state() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLAPPING_ONLY)
    flap_alert(service, 8)
    assert service.tick(instant_at(420 + 599)).notifications == ()
    changes = service.tick(instant_at(420 + 600))
    assert [notification.kind for notification in changes.notifications] == ["resolved"]
    assert changes.alerts[0].aside == "calm again: 7 changes were not told one by one"
    assert not changes.alerts[0].flapping
    assert service.tick(instant_at(5000)) == AlertChanges()


def test_worse_than_sent_is_sent_at_once() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLAPPING_ONLY)
    flap_alert(service, 6)
    worse = service.apply_level_change(create_change(CRITICAL, 400), instant_at(400))
    assert [notification.kind for notification in worse.notifications] == ["opened"]
    assert service.apply_level_change(create_change(NONE, 401), instant_at(401)).notifications == ()
    assert (
        service.apply_level_change(create_change(CRITICAL, 402), instant_at(402)).notifications
        == ()
    ), "that it is so was told"


def test_acknowledgement_of_a_flapping_alert_stays() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLAPPING_ONLY)
    flap_alert(service, 6)
    service.apply_level_change(create_change(WARNING, 400), instant_at(400))
    service.acknowledge_alert(
        service.list_active()[0].id, WARNING, "ana", "", instant_at(401), "cli"
    )
    service.apply_level_change(create_change(NONE, 402), instant_at(402))
    alert = service.apply_level_change(create_change(WARNING, 403), instant_at(403)).alerts[0]
    assert (alert.state, alert.acknowledgement is not None) == ("acknowledged", True)
    worse = service.apply_level_change(create_change(SERIOUS, 404), instant_at(404)).alerts[0]
    assert (worse.state, worse.acknowledgement) == ("firing", None)


def test_a_severity_that_goes_up_and_down_flaps_too() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLAPPING_ONLY)
    batches = []
    for step in range(20):
        severity = (WARNING, SERIOUS)[step % 2]
        batches.append(
            service.apply_level_change(
                create_change(severity, step), instant_at(step)
            ).notifications
        )
    assert sum(map(len, batches)) == 10 and batches[-1] == ()
    assert service.list_active()[0].flapping


def test_one_that_rises_and_falls_once_does_not_flap() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLAPPING_ONLY)
    for at, severity in enumerate((WARNING, SERIOUS, CRITICAL, SERIOUS, WARNING, NONE)):
        assert service.apply_level_change(create_change(severity, at), instant_at(at)).notifications


def test_flapping_alert_of_a_removed_rule_is_dropped() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLAPPING_ONLY)
    flap_alert(service, 8)
    service.replace_rules_and_routes({}, create_route_tree(Route(to=("console",))))
    service.tick(instant_at(500))
    assert service.collect_counts()["flapping"] == 0


# -- groups ------------------------------------------------------------------------------------


def test_a_burst_is_one_message_with_a_count() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    assert open_alerts(service, 30) == []
    (notification,) = tick_between(service, 1, 60)
    assert (notification.kind, notification.alert.name) == ("opened", "group wind-high")
    assert notification.alert.message.startswith("30 alerts: 30 wind-high; 30 open (30 WARNING)")
    assert "and 20 more" in notification.alert.message
    assert notification.alert.severity == WARNING


def test_single_alert_is_sent_without_a_group() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    service.apply_level_change(create_change(WARNING), NIGHT)
    assert tick_between(service, 1, 4) == []
    (notification,) = tick_between(service, 5, 60)
    assert (notification.kind, notification.alert.name) == ("opened", "wind-high 301")
    changes = service.apply_level_change(create_change(NONE, 70), instant_at(70))
    assert list_notifications(changes) == [("wind-high 301", "resolved")]


def test_alert_resolved_before_its_group_is_sent_is_counted() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    service.apply_level_change(create_change(WARNING), NIGHT)
    service.apply_level_change(create_change(NONE, 1), instant_at(1))
    assert tick_between(service, 1, 60) == []
    assert service.collect_counts()["fleeting"] == 1


def test_group_is_updated_and_resolves_with_its_last_alert() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    open_alerts(service, 3)
    (first,) = tick_between(service, 5, 6)
    assert (
        service.apply_level_change(create_change(NONE, 10, key="0"), instant_at(10)).notifications
        == ()
    )
    (second,) = tick_between(service, 11, 40)
    assert (second.kind, second.alert.id) == ("updated", first.alert.id)
    assert "2 open" in second.alert.message
    for key in "12":
        assert (
            service.apply_level_change(
                create_change(NONE, 50, key=key), instant_at(50)
            ).notifications
            == ()
        )
    (last,) = tick_between(service, 51, 100)
    assert (last.kind, last.alert.state) == ("resolved", "resolved")
    assert tick_between(service, 101, 200) == []
    assert [first.sequence, second.sequence, last.sequence] == [1, 2, 3]


def test_worse_alert_leaves_its_group() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    open_alerts(service, 3)
    tick_between(service, 5, 6)
    worse = service.apply_level_change(create_change(SERIOUS, 10, key="0"), instant_at(10))
    assert list_notifications(worse) == [("wind-high 0", "raised")]
    better = service.apply_level_change(create_change(WARNING, 11, key="0"), instant_at(11))
    assert list_notifications(better) == [("wind-high 0", "lowered")]
    assert "2 open" in tick_between(service, 12, 60)[0].alert.message


def test_critical_is_sent_alone_and_at_once() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    open_alerts(service, 3)
    changes = service.apply_level_change(create_change(CRITICAL, 1, key="fire"), instant_at(1))
    assert list_notifications(changes) == [("wind-high fire", "opened")]


def test_acknowledging_a_group_acknowledges_its_alerts() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    open_alerts(service, 3)
    (opening,) = tick_between(service, 5, 6)
    changes = service.acknowledge_alert(
        opening.alert.id, WARNING, "ana", "", instant_at(10), "slack"
    )
    assert {alert.state for alert in changes.alerts} == {"acknowledged"} and len(
        changes.alerts
    ) == 3
    (update,) = tick_between(service, 11, 60)
    assert update.alert.state == "acknowledged" and "3 taken" in update.alert.message


def test_groups_are_split_by_the_keys_of_the_route() -> None:
    route = Route(to=("console",), group_by=("rule", "place"), group_wait=2 * SECOND)
    first_rule, second_rule = (
        create_rule("a", labels={"place": "here"}),
        create_rule("b", labels={"place": "there"}),
    )
    service = create_service(first_rule, second_rule, route=route, noise_limits=UNFILTERED)
    for name in ("a", "b"):
        for key in "12":
            service.apply_level_change(create_change(WARNING, rule=name, key=key), NIGHT)
    assert sorted(notification.alert.name for notification in tick_between(service, 1, 3)) == [
        "group a, here",
        "group b, there",
    ]


def test_ungrouped_sink_gets_each_alert() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    tree = create_route_tree(
        Route(to=("console", "love"), group_by=("rule",)), "console", noise_limits=FLOODS_ONLY
    )
    tree = replace(tree, sinks={**tree.sinks, "love": SinkSpec("love", "love")})
    service.replace_rules_and_routes({"wind-high": CRITICAL_LATCH_RULE}, tree)
    notifications = open_alerts(service, 30)
    assert {notification.sink for notification in notifications} == {"love"} and len(
        notifications
    ) == 30


def test_a_group_outlasts_a_restart() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    open_alerts(service, 3)
    changes = service.tick(instant_at(6))
    restarted = create_service(
        CRITICAL_LATCH_RULE,
        route=GROUPED_ROUTE,
        noise_limits=UNFILTERED,
        alerts=service.list_active(),
        groups=changes.groups,
    )
    for key in "012":
        restarted.apply_level_change(create_change(NONE, 50, key=key), instant_at(50))
    (last,) = tick_between(restarted, 51, 100)
    assert (last.alert.id, last.kind) == (changes.groups[0].id, "resolved")


def test_group_that_was_not_stored_is_sent_after_a_restart() -> None:
    service = create_service(CRITICAL_LATCH_RULE, route=GROUPED_ROUTE, noise_limits=UNFILTERED)
    open_alerts(service, 3)
    restarted = create_service(
        CRITICAL_LATCH_RULE,
        route=GROUPED_ROUTE,
        noise_limits=UNFILTERED,
        alerts=service.list_active(),
    )
    (notification,) = tick_between(restarted, 1, 10)
    assert notification.alert.message.startswith("3 alerts")


# -- floods ------------------------------------------------------------------------------------


def test_flood_is_one_summary_but_critical_is_sent_alone() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    notifications = open_alerts(service, 10_000)
    assert len(notifications) == 10, "what came before it was one"
    changes = service.apply_level_change(create_change(CRITICAL, 2, key="fire"), instant_at(2))
    assert list_notifications(changes) == [("wind-high fire", "opened")]
    summaries = tick_between(service, 3, 59)
    assert [notification.kind for notification in summaries] == ["opened"]
    assert summaries[0].alert.message.startswith(
        "9990 alerts in a flood, told together: 9990 wind-high; 9990 open"
    )
    assert service.get_flood_status(instant_at(60)) == {
        "new_alerts": 10_001,
        "since": instant_at(10 / 10_000),
    }


def test_end_of_flood_sends_the_open_alerts() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    open_alerts(service, 30)
    tick_between(service, 2, 3)
    for key in range(28):
        service.apply_level_change(create_change(NONE, 60, key=str(key)), instant_at(60))
    tick_between(service, 61, 599)
    steps = [service.tick(instant_at(at)) for at in (600, 601, 602, 603)]
    entries = [entry.what for changes in steps for entry in changes.audit]
    assert "flood ended" in entries
    kinds = [
        (notification.alert.name, notification.kind)
        for changes in steps
        for notification in changes.notifications
    ]
    assert ("flood", "resolved") in kinds
    assert {name for name, kind in kinds if kind == "opened"} == {"wind-high 28", "wind-high 29"}


def test_when_many_are_open_at_the_end_of_a_flood_they_stay_in_its_summary() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    open_alerts(service, 300)
    tick_between(service, 2, 3)
    late_notifications = tick_between(service, 590, 700)
    assert late_notifications == [] and not service.collect_counts()["flood"]
    for key in range(300):
        service.apply_level_change(create_change(NONE, 800, key=str(key)), instant_at(800))
    assert [
        notification.kind
        for notification in tick_between(service, 801, 900)
        if notification.alert.rule == "flood"
    ] == ["resolved"]


def test_the_flood_is_in_the_audit_trail() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    steps = [
        service.apply_level_change(create_change(WARNING, key=str(key)), NIGHT) for key in range(12)
    ]
    actions = [entry.what for changes in steps for entry in changes.audit]
    assert actions.count("flood began") == 1 and actions.count("opened") == 12


def test_a_flood_is_known_after_a_restart() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    open_alerts(service, 30)
    restarted = create_service(
        CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY, alerts=service.list_active()
    )
    assert (
        restarted.apply_level_change(
            create_change(WARNING, 5, key="new"), instant_at(5)
        ).notifications
        == ()
    )


def test_restart_in_a_flood_repeats_no_summary() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    latest_alerts = {}
    for key in range(30):
        changes = service.apply_level_change(
            create_change(WARNING, key / 100, key=str(key)), instant_at(key / 100)
        )
        latest_alerts |= {alert.id: alert for alert in changes.alerts}
    for key in range(20, 25):
        changes = service.apply_level_change(create_change(NONE, 1, key=str(key)), instant_at(1))
        latest_alerts |= {alert.id: alert for alert in changes.alerts}
    summary_changes = service.tick(instant_at(3))
    (summary,) = summary_changes.notifications
    assert summary.alert.message.startswith("20 alerts in a flood, told together: 20 wind-high")
    for alert in service.list_active():
        latest_alerts[alert.id] = alert
    restarted = create_service(
        CRITICAL_LATCH_RULE,
        noise_limits=FLOODS_ONLY,
        alerts=latest_alerts.values(),
        groups=summary_changes.groups,
    )
    assert restarted.collect_counts()["flood"] == 1
    assert tick_between(restarted, 4, 300) == []
    restarted.apply_level_change(create_change(WARNING, 301, key="new"), instant_at(301))
    (update,) = tick_between(restarted, 302, 400)
    assert (update.kind, update.alert.id) == ("updated", summary.alert.id)
    assert update.alert.message.startswith("21 alerts in a flood, told together: 21 wind-high")


def test_restart_before_the_flood_summary_sends_one_summary() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    open_alerts(service, 30)
    restarted = create_service(
        CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY, alerts=service.list_active()
    )
    (summary,) = tick_between(restarted, 1, 60)
    assert summary.alert.message.startswith("20 alerts in a flood, told together")


def test_flood_that_ended_during_downtime_is_closed() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    open_alerts(service, 30)
    service.tick(instant_at(3))
    restarted = create_service(
        CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY, alerts=service.list_active()
    )
    assert "flood ended" in [entry.what for entry in restarted.tick(instant_at(3000)).audit]
    assert restarted.collect_counts()["flood"] == 0


def test_ten_alerts_in_ten_minutes_are_no_flood() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=FLOODS_ONLY)
    notifications = [
        notification
        for key in range(40)
        for notification in service.apply_level_change(
            create_change(WARNING, 61 * key, key=str(key)), instant_at(61 * key)
        ).notifications
    ]
    assert len(notifications) == 40


def test_a_reminder_of_a_group_is_one_message() -> None:
    route = replace(GROUPED_ROUTE, repeat=HOUR)
    service = create_service(CRITICAL_LATCH_RULE, route=route, noise_limits=UNFILTERED)
    open_alerts(service, 3)
    tick_between(service, 5, 6)
    reminders = tick_between(service, 3600, 3700)
    assert [(notification.alert.name, notification.kind) for notification in reminders] == [
        ("group wind-high", "reminder")
    ]


# -- rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"), [("30 per 1m", RateLimit(30, MINUTE)), ("5/10s", RateLimit(5, 10 * SECOND))]
)
def test_rate_limit_is_parsed(text: str, rate: RateLimit) -> None:
    assert RateLimit.parse(text) == rate


@pytest.mark.parametrize("text", ["", "30", "0 per 1m", "30 per", "30 per long", "5 per 1ms"])
def test_invalid_rate_limit_shows_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like '30 per 1m'"):
        RateLimit.parse(text)


def test_the_bounds_can_be_switched_off() -> None:
    service = create_service(CRITICAL_LATCH_RULE, noise_limits=NoiseLimits(None, None))
    assert len(open_alerts(service, 100)) == 100
