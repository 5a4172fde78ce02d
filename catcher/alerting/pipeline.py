"""The alert pipeline: processes each change of an alert, with the state all alerts share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from catcher.alerting import flapping, lifecycle, manual_transitions
from catcher.alerting.alert_table import AlertTable
from catcher.alerting.annotations import annotate_alert
from catcher.alerting.changes import AlertChanges
from catcher.alerting.flood import FloodDetector
from catcher.alerting.groups import NotificationGroups
from catcher.alerting.limits import NoiseLimits
from catcher.alerting.manual_transitions import SYSTEM_ACTOR
from catcher.alerting.messages import LinkBuilder
from catcher.alerting.notifications import AlertNotifier
from catcher.alerting.on_call import OnCallRota
from catcher.alerting.route_tree import Escalation
from catcher.alerting.router import Router, RoutingDecision
from catcher.alerting.silences import SilenceTable
from catcher.alerting.templates import TemplateRenderer
from catcher.alerting.timers import DelayQueue
from catcher.alerting.transitions import Transition, apply_transition
from catcher.model.alert import Alert, AuditEntry, Notification, NotificationKind
from catcher.model.alert_operations import Shift, Silence
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.text import sanitize_single_line
from catcher.model.time import SECOND, Instant

REROUTE_INTERVAL = 10 * SECOND
"""How often an alert is re-routed if its routes depend on the time of day or on other alerts."""
ENGINE_CHANNEL = "engine"
"""The audit channel of changes that nobody requested."""


class AlertPipeline:
    """The alerts of a site, and the state that decisions about them share."""

    def __init__(
        self,
        renderer: TemplateRenderer,
        links: LinkBuilder,
        alerts: Iterable[Alert],
        last_episode: int,
        silences: Iterable[Silence],
        shift: Shift | None,
    ) -> None:
        self._renderer, self._links = renderer, links
        alerts = list(alerts)
        self.alert_table = AlertTable(alerts, last_episode)
        self.timers = DelayQueue()
        self.silences = SilenceTable(silences)
        self.rota = OnCallRota({}, shift)
        self.groups = NotificationGroups()
        self.router = Router(self.alert_table, self.silences, self.rota)
        appeared_times = [alert.appeared for alert in alerts if alert.appeared is not None]
        self.flood_detector = FloodDetector(None, appeared_times)
        self._notifier = AlertNotifier(self.groups, self.flood_detector)
        self.short_lived_count = 0

    @property
    def noise_limits(self) -> NoiseLimits:
        """The noise limits of the site."""
        return self.router.route_tree.noise_limits

    @property
    def template_failure_count(self) -> int:
        """The number of templates that failed."""
        return self._renderer.failure_count

    # -- transitions ---------------------------------------------------------------------------

    def annotate_alert(self, alert: Alert, rule: Rule, run: Run | None = None) -> Alert:
        """Returns the alert with its rule's message and its links."""
        annotated = annotate_alert(alert, rule, run, self._renderer)
        return replace(annotated, links={**self._links(annotated), **annotated.links})

    def process_transition(
        self,
        alert: Alert,
        transition: Transition,
        now: Instant,
        actor: str = SYSTEM_ACTOR,
        channel: str = ENGINE_CHANNEL,
        detail: Mapping[str, Any] | None = None,
    ) -> AlertChanges:
        """Stores a transition, creates its notifications, and audits it."""
        decision = self.router.route_alert(alert, now)
        alert = self._set_due_times(alert, decision, now)
        flood_entries = self._record_annunciated_alert(alert, transition, decision, now)
        alert, notifications = self._notifier.build_transition_notifications(
            alert, transition, decision, self.router.route_tree, now
        )
        self.store_and_schedule_alert(alert, decision, now)
        entry = AuditEntry(
            now,
            actor,
            channel,
            transition.kind,
            alert.id,
            {
                "name": sanitize_single_line(alert.name),
                "rule": alert.rule,
                "severity": str(alert.severity),
                "reason": transition.reason,
                **(detail or {}),
            },
        )
        silences = self._record_silence_hit(decision, transition, now)
        return AlertChanges((alert,), notifications, (entry, *flood_entries), silences)

    def _record_annunciated_alert(
        self, alert: Alert, transition: Transition, decision: RoutingDecision, now: Instant
    ) -> tuple[AuditEntry, ...]:
        """Counts an alert that people are notified of; returns an audit entry if a flood begins."""
        is_annunciated = decision.sinks and alert.state == "firing" and not transition.muted
        if transition.kind != "opened" or not is_annunciated:
            return ()
        if self.flood_detector.record_alert(now) != "began":
            return ()
        return (self.create_flood_entry("flood began", now),)

    def create_flood_entry(self, action: str, now: Instant) -> AuditEntry:
        """Creates the audit entry of a flood."""
        detail = {"new_alerts": self.flood_detector.count_recent(now)}
        return AuditEntry(now, SYSTEM_ACTOR, ENGINE_CHANNEL, action, "", detail)

    def _record_silence_hit(
        self, decision: RoutingDecision, transition: Transition, now: Instant
    ) -> tuple[Silence, ...]:
        if transition.kind not in ("opened", "raised") or not decision.silence_id:
            return ()
        silence = self.silences.record_hit(decision.silence_id, now)
        return (silence,) if silence else ()

    # -- renotification ------------------------------------------------------------------------

    def renotify_alert(
        self,
        alert: Alert,
        kind: NotificationKind,
        sinks: Iterable[str],
        decision: RoutingDecision,
        now: Instant,
    ) -> AlertChanges:
        """Notifies again, or further sinks, of an unchanged alert, under a new sequence number."""
        updated, _ = apply_transition(alert, alert, "updated", alert.reason)
        if kind == "opened":
            # A held-back alert is news only now: nobody could have acknowledged it before.
            updated = self._set_due_times(updated, decision, now)
        updated, notifications = self._notifier.build_sink_notifications(
            replace(updated, held_back=""), kind, sinks, decision, self.router.route_tree, now,
            alert.display_severity,
        )  # fmt: skip
        self.store_and_schedule_alert(updated, decision, now)
        return AlertChanges((updated,), notifications)

    def escalate_alert(self, alert: Alert, decision: RoutingDecision, now: Instant) -> AlertChanges:
        """Escalates an alert: sinks that know it are updated, the new ones notified."""
        sinks = self.router.expand_on_shift_sinks(alert.escalate_to)
        escalated, transition = manual_transitions.mark_escalated(alert, sinks)
        changes = self.process_transition(
            self._schedule_next_escalation(escalated, decision), transition, now
        )
        escalated = changes.alerts[0]
        new_sinks = [
            sink for sink in sinks if sink not in escalated.sinks and sink not in escalated.bundles
        ]
        if not new_sinks:
            return changes
        escalated, notifications = self._notifier.build_sink_notifications(
            escalated,
            "opened",
            new_sinks,
            decision,
            self.router.route_tree,
            now,
            alert.display_severity,
        )
        self.store_and_schedule_alert(escalated, decision, now)
        return replace(
            changes, alerts=(escalated,), notifications=changes.notifications + notifications
        )

    def notify_fallback_sinks(
        self, notification: Notification, fallback_sinks: Iterable[str], now: Instant
    ) -> AlertChanges:
        """Notifies fallback sinks of an alert that its own sink did not receive in time.

        They count as notified from then on, so they also get later changes.
        """
        group = self.groups.find_by_id(notification.alert.id)
        alert = group.alert if group is not None else self._get_current_alert(notification)
        notified_sinks = (notification.sink, *alert.sinks, *alert.bundles)
        new_sinks = [sink for sink in fallback_sinks if sink not in notified_sinks]
        decision = self.router.route_alert(alert, now)
        if not new_sinks or alert.state in ("pending", "shelved"):
            return AlertChanges()
        if group is None and decision.silence_reason:
            return AlertChanges()
        entry = AuditEntry(
            now,
            SYSTEM_ACTOR,
            ENGINE_CHANNEL,
            "stand-in",
            alert.id,
            {
                "name": sanitize_single_line(alert.name),
                "rule": alert.rule,
                "sink": notification.sink,
                "to": new_sinks,
                "reason": f"{notification.sink} was not reached in time",
            },
        )
        if group is not None:
            alert, notifications = self._notifier.build_fallback_notifications(
                alert, new_sinks, now
            )
            sinks = tuple(dict.fromkeys((*group.sinks, *new_sinks)))
            group = replace(group, alert=alert, sinks=sinks)
            self.groups.update_group(group)
            return AlertChanges((), notifications, (entry,), groups=(group,))
        updated, _ = apply_transition(alert, alert, "updated", alert.reason)
        updated, notifications = self._notifier.build_fallback_notifications(
            updated, new_sinks, now
        )
        if self.alert_table.find_by_id(updated.id) is None:
            return AlertChanges((), notifications, (entry,))
        self.store_and_schedule_alert(updated, decision, now)
        return AlertChanges((updated,), notifications, (entry,))

    def _get_current_alert(self, notification: Notification) -> Alert:
        """Returns the current state of a notification's alert; a resolved one with its values."""
        alert = self.alert_table.find_by_id(notification.alert.id)
        if alert is None or alert.episode < notification.alert.episode:
            return notification.alert
        return alert if alert.values else replace(alert, values=notification.alert.values)

    def _schedule_next_escalation(self, alert: Alert, decision: RoutingDecision) -> Alert:
        """Schedules the next escalation step; its delay counts from the same start."""
        steps = list(decision.escalation.iter_steps()) if decision.escalation else []
        completed = alert.handed
        if completed >= len(steps) or alert.escalates is None:
            return replace(alert, escalates=None)
        due_at = alert.escalates + steps[completed].after - steps[completed - 1].after
        return replace(alert, escalates=due_at, escalate_to=steps[completed].to)

    def _set_due_times(self, alert: Alert, decision: RoutingDecision, now: Instant) -> Alert:
        """Sets when it is escalated, acknowledged automatically, or reminded of."""
        alert = manual_transitions.set_auto_action_times(
            alert, decision.auto_acknowledge_after, decision.reminder_after, now
        )
        escalation: Escalation | None = decision.escalation
        should_schedule = alert.state == "firing" and not alert.handed and alert.escalates is None
        if (
            not should_schedule
            or escalation is None
            or decision.silence_reason
            or self.router.is_shadow(alert)
        ):
            return alert
        return replace(alert, escalates=now + escalation.after, escalate_to=escalation.to)

    # -- notification groups -------------------------------------------------------------------

    def notify_group(self, id: str, now: Instant, finished: bool = False) -> AlertChanges:
        """Notifies of a due group; a single member is notified individually."""
        group = self.groups.find_by_id(id)
        if group is None:
            return AlertChanges()
        if group.told is None:
            alerts = (
                self.alert_table.find_by_id(alert_id)
                for alert_id in self.groups.list_member_ids(id)
            )
            members = [alert for alert in alerts if alert is not None]
            active_alerts = [alert for alert in members if alert.is_active]
            if not active_alerts or len(members) == 1:
                self.groups.remove_group(id)
                self.short_lived_count += len(members) - len(active_alerts)
                return self._notify_members_individually(active_alerts, now)
        previous = group.alert
        updated = self.groups.refresh_summary_if_changed(
            id, self.alert_table.find_by_id, now, finished
        )
        if updated is None:
            return AlertChanges()
        updated, notifications = self._notifier.build_group_notifications(updated, previous)
        self.groups.update_group(updated)
        return AlertChanges(notifications=notifications, groups=(updated,))

    def _notify_members_individually(
        self, active_alerts: list[Alert], now: Instant
    ) -> AlertChanges:
        alerts: list[Alert] = []
        notifications: list[Notification] = []
        for alert in active_alerts:
            updated, new_notifications = self._notifier.build_single_member_notifications(
                alert, now
            )
            self.store_and_schedule_alert(updated, self.router.route_alert(updated, now), now)
            alerts.append(updated)
            notifications += new_notifications
        return AlertChanges(tuple(alerts), tuple(notifications))

    # -- storing and timers --------------------------------------------------------------------

    def store_and_schedule_alert(
        self, alert: Alert, decision: RoutingDecision, now: Instant
    ) -> None:
        """Stores the state of an alert and schedules its next timer."""
        self.alert_table.upsert_alert(alert)
        due_at = self._compute_next_due_time(alert, decision, now)
        self.timers.schedule(alert.id, None if due_at is None else max(due_at, now + 1))

    def _compute_next_due_time(
        self, alert: Alert, decision: RoutingDecision, now: Instant
    ) -> Instant | None:
        due_times = [
            flapping.compute_calm_due(alert, self.noise_limits.flapping),
            manual_transitions.get_next_shelving_due(alert),
        ]
        rule = self.router.rules.get(alert.rule)
        if rule is not None and rule.alert is not None and alert.state != "resolved":
            due_times.append(lifecycle.compute_unknown_deadline(alert, rule.alert))
        if alert.is_active:
            due_times += [alert.acknowledges, alert.reminds]
        if alert.state == "firing" and not self.router.is_shadow(alert):
            due_times.append(alert.escalates)
            if decision.repeat_interval and alert.told is not None and alert.sinks:
                due_times.append(alert.told + decision.repeat_interval)
            if self.router.needs_periodic_reroute:
                due_times.append(now + REROUTE_INTERVAL)
        return min((due_at for due_at in due_times if due_at is not None), default=None)
