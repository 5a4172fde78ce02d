"""Which sinks are notified of an alert's change, as what kind, individually or in a group."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from catcher.alerting import flapping
from catcher.alerting.flood import FloodDetector
from catcher.alerting.groups import NotificationGroups
from catcher.alerting.route_tree import RouteTree
from catcher.alerting.router import RoutingDecision
from catcher.alerting.transitions import Transition, TransitionKind
from catcher.model.alert import Alert, Notification, NotificationKind, Severity
from catcher.model.alert_operations import NotificationGroup
from catcher.model.time import SECOND, Instant

NOTIFICATION_KINDS: dict[TransitionKind, NotificationKind] = {
    "opened": "opened",
    "raised": "raised",
    "lowered": "lowered",
    "resolved": "resolved",
    "updated": "updated",
    "acknowledged": "updated",
    "unacknowledged": "reminder",
    "shelved": "updated",
    "ending": "reminder",
    "unconfirmed": "updated",
    "confirmed": "updated",
    "unshelved": "reminder",
    "escalated": "updated",
    "assigned": "updated",
    "note": "updated",
    "calm": "updated",
}
"""The notification kind of each transition; one that is missing here notifies nobody."""
INITIAL_KINDS: frozenset[NotificationKind] = frozenset({"opened", "raised", "test"})
"""The kinds that may be a sink's first notification of an alert; others become `opened`."""
SHELVED_TRANSITIONS: frozenset[TransitionKind] = frozenset(
    {"shelved", "ending", "unconfirmed", "confirmed", "resolved"}
)
"""The transitions of a shelved alert that are notified."""
NotifyResult = tuple[Alert, tuple[Notification, ...]]


def get_notification_kind(alert: Alert, transition: Transition) -> NotificationKind | None:
    """Returns the notification kind of a transition; None if nobody is notified."""
    if transition.kind == "calm" and alert.state == "resolved":
        return "resolved"
    return NOTIFICATION_KINDS.get(transition.kind)


def list_recipient_sinks(
    alert: Alert, transition: Transition, decision: RoutingDecision
) -> tuple[str, ...]:
    """Returns the sinks to notify of a transition, each once.

    News goes to the routed sinks; all else to those already notified of the alert, so that each of
    them learns its end. For a shelved alert only the shelving itself and the end are notified.
    """
    kind = transition.kind
    notified_sinks = tuple(dict.fromkeys((*alert.sinks, *alert.bundles)))
    if kind not in NOTIFICATION_KINDS or (
        alert.state == "shelved" and kind not in SHELVED_TRANSITIONS
    ):
        return ()
    if kind == "calm" and alert.state != "resolved":
        kind = "unshelved"
    is_news = kind in ("opened", "raised", "unshelved", "unacknowledged")
    if not is_news and not (kind == "updated" and alert.unknown):
        return notified_sinks if not decision.silence_reason or kind != "updated" else ()
    if decision.silence_reason:
        return ()
    return tuple(dict.fromkeys((*notified_sinks, *decision.sinks)))


def create_notifications(
    alert: Alert, kind: NotificationKind, sinks: Iterable[str], now: Instant, previous: Severity
) -> NotifyResult:
    """Creates the notifications of one change; returns them with the updated alert."""
    sinks = tuple(sinks)
    if not sinks:
        return alert, ()
    notified_sinks = tuple(dict.fromkeys((*alert.sinks, *sinks)))
    initial_kind: NotificationKind = kind if kind in INITIAL_KINDS else "opened"
    kinds_by_sink = {sink: kind if sink in alert.sinks else initial_kind for sink in sinks}
    alert = replace(alert, told=now, sinks=notified_sinks)
    notifications = tuple(
        Notification(
            id=compute_notification_id(alert, sink, kind),
            sink=sink,
            kind=kinds_by_sink[sink],
            alert=alert,
            sequence=alert.sequence,
            time=now,
            previous=previous,
        )
        for sink in sinks
    )
    return alert, notifications


def compute_notification_id(alert: Alert, sink: str, kind: NotificationKind) -> str:
    """Returns 16 hex digits: the same change sent to the same sink always has the same id."""
    text = f"{alert.id}\0{alert.episode}\0{alert.sequence}\0{sink}\0{kind}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


class AlertNotifier:
    """Notifies of changes: individually, in a group, in a flood summary, or not while flapping."""

    def __init__(self, groups: NotificationGroups, flood_detector: FloodDetector) -> None:
        self._groups, self._flood_detector = groups, flood_detector

    def build_transition_notifications(
        self, alert: Alert, transition: Transition, decision: RoutingDecision, tree: RouteTree,
        now: Instant,
    ) -> NotifyResult:  # fmt: skip
        """Returns the notifications of a transition, and the alert with the notified sinks."""
        if alert.held_back != decision.silence_reason:
            alert = replace(alert, held_back=decision.silence_reason)
        kind = get_notification_kind(alert, transition)
        sinks = list_recipient_sinks(alert, transition, decision)
        if kind is None or not sinks:
            return alert, ()
        if transition.muted:
            self._groups.schedule_updates_for_alert(alert, now)
            return flapping.count_suppressed_change(alert), ()
        return self.build_sink_notifications(
            alert, kind, sinks, decision, tree, now, transition.previous
        )

    def build_sink_notifications(
        self, alert: Alert, kind: NotificationKind, sinks: Iterable[str], decision: RoutingDecision,
        tree: RouteTree, now: Instant, previous: Severity,
    ) -> NotifyResult:  # fmt: skip
        """Notifies each sink of one change, either individually or through a group."""
        ungrouped = []
        for sink in sinks:
            if not self._should_notify_individually(alert, kind, sink, decision, tree):
                alert = self._add_to_group(alert, sink, decision, now)
                continue
            ungrouped.append(sink)
            if sink in alert.bundles:
                self._groups.remove_alert(alert.bundles[sink], alert.id, now)
                remaining = {
                    name: group_id for name, group_id in alert.bundles.items() if name != sink
                }
                alert = replace(alert, bundles=remaining)
        alert, notifications = create_notifications(alert, kind, ungrouped, now, previous)
        return flapping.record_notified_severity(alert), notifications

    def _should_notify_individually(
        self,
        alert: Alert,
        kind: NotificationKind,
        sink: str,
        decision: RoutingDecision,
        tree: RouteTree,
    ) -> bool:
        """True for critical news, a worsening outside a flood, and what no group applies to."""
        is_urgent = kind in INITIAL_KINDS and alert.display_severity >= Severity.CRITICAL
        if is_urgent or tree.is_ungrouped(sink):
            return True
        if sink in alert.bundles:
            return kind == "raised" and not self._flood_detector.is_active
        if sink in alert.sinks:
            return True
        return not self._flood_detector.is_active and decision.find_group_key(alert, sink) is None

    def _add_to_group(
        self, alert: Alert, sink: str, decision: RoutingDecision, now: Instant
    ) -> Alert:
        if sink in alert.bundles and self._groups.find_by_id(alert.bundles[sink]):
            self._groups.schedule_updates_for_alert(alert, now)
            return alert
        group_key, escalation = decision.find_group_key(alert, sink), decision.find_fallback(sink)
        fallback = (escalation.after, escalation.to) if escalation else None
        if self._flood_detector.is_active:
            group_id = self._groups.add_alert(
                "flood",
                sink,
                [sink],
                alert,
                now,
                FLOOD_GROUP_WAIT,
                decision.repeat_interval,
                fallback,
            )
        elif group_key is not None:
            group_id = self._groups.add_alert(
                "group",
                group_key.key,
                [sink],
                alert,
                now,
                group_key.wait,
                decision.repeat_interval,
                fallback,
            )
        else:
            return alert
        return replace(alert, bundles={**alert.bundles, sink: group_id})

    def build_fallback_notifications(
        self, alert: Alert, sinks: Iterable[str], now: Instant
    ) -> NotifyResult:
        """Notifies fallback sinks of an alert's state: individually, and as `opened`."""
        alert, notifications = create_notifications(alert, "opened", sinks, now, Severity.NONE)
        return flapping.record_notified_severity(alert), notifications

    def build_single_member_notifications(self, alert: Alert, now: Instant) -> NotifyResult:
        """Notifies individually of the only member of a group that was never sent."""
        sinks, alert = tuple(alert.bundles), replace(alert, bundles={})
        alert, notifications = create_notifications(alert, "opened", sinks, now, Severity.NONE)
        return flapping.record_notified_severity(alert), notifications

    def build_group_notifications(
        self, group: NotificationGroup, previous: Alert
    ) -> tuple[NotificationGroup, tuple[Notification, ...]]:
        """Returns the notifications of a due group, and the group with the notified sinks."""
        now = group.told if group.told is not None else group.alert.changed
        kind = _get_group_notification_kind(group.alert, previous)
        alert, notifications = create_notifications(
            group.alert, kind, group.sinks, now, previous.severity
        )
        return replace(group, alert=alert), notifications


FLOOD_GROUP_WAIT = 2 * SECOND
"""How long the first summary of a flood collects alerts."""


def _get_group_notification_kind(alert: Alert, previous: Alert) -> NotificationKind:
    if previous.sequence == 0:
        return "opened"
    if alert.state == "resolved":
        return "resolved"
    if alert.severity != previous.severity:
        return "raised" if alert.severity > previous.severity else "lowered"
    return "reminder" if alert.reason == previous.reason else "updated"
