"""Time-driven changes: shelving and silences expire, reminders, escalations, held-back alerts."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from catcher.alerting import flapping, lifecycle, manual_transitions
from catcher.alerting.changes import NO_CHANGES, AlertChanges, merge_changes
from catcher.alerting.manual_transitions import SYSTEM_ACTOR
from catcher.alerting.pipeline import ENGINE_CHANNEL, AlertPipeline
from catcher.alerting.route_tree import Escalation
from catcher.alerting.router import RoutingDecision
from catcher.alerting.silences import describe_expiry
from catcher.alerting.transitions import TransitionResult
from catcher.model.alert import Alert, AuditEntry, Notification
from catcher.model.alert_operations import Silence
from catcher.model.time import MINUTE, Instant, Span, humanize_instant

MAX_PENDING_FALLBACKS = 2_000
"""How many undelivered notifications are queued for their fallback sinks between two ticks."""


class AlertMaintenance:
    """Processes alerts, silences, groups and floods whose time has come."""

    def __init__(self, pipeline: AlertPipeline) -> None:
        self._pipeline = pipeline
        self._pending_fallbacks: deque[tuple[Notification, tuple[str, ...]]] = deque()

    def queue_fallback(self, notification: Notification, fallback: Escalation | None) -> bool:
        """Queues a notification that did not reach its sink; False if the queue is full."""
        if fallback is None:
            return True
        if len(self._pending_fallbacks) >= MAX_PENDING_FALLBACKS:
            return False
        self._pending_fallbacks.append((notification, fallback.to))
        return True

    def tick(self, now: Instant) -> AlertChanges:
        """Processes all that is due, at most one change each; the next follows at the next tick."""
        pipeline = self._pipeline
        changes = [
            self._end_or_warn_silence(silence, now) for silence in pipeline.silences.list_due(now)
        ]
        changes += [self._end_flood_if_over(now)]
        changes += [
            self.process_due_alert(alert, now)
            for alert_id in pipeline.timers.pop_due_ids(now)
            if (alert := pipeline.alert_table.find_by_id(alert_id)) is not None
        ]
        changes += [
            pipeline.notify_group(alert_id, now) for alert_id in pipeline.groups.pop_due_ids(now)
        ]
        while self._pending_fallbacks:
            changes.append(pipeline.notify_fallback_sinks(*self._pending_fallbacks.popleft(), now))
        return merge_changes(change for change in changes if change != NO_CHANGES)

    # -- alerts --------------------------------------------------------------------------------

    def process_due_alert(self, alert: Alert, now: Instant) -> AlertChanges:
        """Processes one alert that is due."""
        pipeline = self._pipeline
        if alert.rule in pipeline.router.broken_rules:
            return NO_CHANGES
        rule = pipeline.router.rules.get(alert.rule)
        if rule is None or rule.alert is None:
            return self._resolve_alert_without_rule(alert, now)
        if alert.state == "resolved":
            return self._end_flapping_or_shelving(alert, now)
        new, transition = lifecycle.apply_unknown_timeout(alert, rule.alert, now)
        if transition.is_change:
            return pipeline.process_transition(pipeline.annotate_alert(new, rule), transition, now)
        for apply_timeout in (
            manual_transitions.end_or_warn_shelving,
            manual_transitions.auto_acknowledge,
            manual_transitions.auto_unacknowledge,
            self._end_flapping_if_calm,
        ):
            new, transition = apply_timeout(alert, now)
            if transition.is_change:
                return pipeline.process_transition(new, transition, now)
        return self._notify_or_escalate_if_due(alert, pipeline.router.route_alert(alert, now), now)

    def _end_flapping_if_calm(self, alert: Alert, now: Instant) -> TransitionResult:
        return flapping.end_flapping_if_calm(alert, self._pipeline.noise_limits.flapping, now)

    def _resolve_alert_without_rule(self, alert: Alert, now: Instant) -> AlertChanges:
        resolved, transition = lifecycle.resolve_alert_without_rule(alert, "its rule is gone", now)
        if transition.is_change:
            resolved = replace(resolved, flapping=False)
            return self._pipeline.process_transition(
                resolved, replace(transition, muted=False), now
            )
        if alert.shelf is not None or alert.flapping:
            self._pipeline.alert_table.upsert_alert(replace(alert, shelf=None, flapping=False))
        return NO_CHANGES

    def _end_flapping_or_shelving(self, alert: Alert, now: Instant) -> AlertChanges:
        """Ends the flapping or shelving of a resolved alert; it is kept open until then."""
        new, transition = self._end_flapping_if_calm(alert, now)
        if transition.is_change:
            return self._pipeline.process_transition(new, transition, now)
        shelving = alert.shelf
        if shelving is None or now < shelving.ends_at:
            self._pipeline.store_and_schedule_alert(
                alert, self._pipeline.router.route_alert(alert, now), now
            )
            return NO_CHANGES
        reason = f"the shelf of {shelving.who} ended while it was resolved: {shelving.reason}"
        new = replace(alert, shelf=None, aside=reason)
        self._pipeline.alert_table.upsert_alert(new)
        detail = {"name": alert.name, "rule": alert.rule, "reason": reason}
        entry = AuditEntry(now, SYSTEM_ACTOR, ENGINE_CHANNEL, "unshelved", alert.id, detail)
        return AlertChanges((new,), (), (entry,))

    def _notify_or_escalate_if_due(
        self, alert: Alert, decision: RoutingDecision, now: Instant
    ) -> AlertChanges:
        pipeline = self._pipeline
        if alert.state == "firing":
            new_sinks = [
                sink for sink in decision.sinks
                if sink not in alert.sinks and sink not in alert.bundles
            ]  # fmt: skip
            if new_sinks:
                return pipeline.renotify_alert(alert, "opened", new_sinks, decision, now)
            if alert.escalates is not None and now >= alert.escalates:
                if not decision.silence_reason:
                    return pipeline.escalate_alert(alert, decision, now)
                alert = replace(alert, escalates=now + _get_escalation_delay(decision))
            repeat_interval, notified_sinks = (
                decision.repeat_interval,
                [sink for sink in decision.sinks if sink in alert.sinks],
            )
            is_due = (
                repeat_interval and alert.told is not None and now >= alert.told + repeat_interval
            )
            if is_due and notified_sinks and not alert.flapping:
                return pipeline.renotify_alert(alert, "reminder", notified_sinks, decision, now)
        if alert.held_back != decision.silence_reason and not alert.sinks:
            alert = replace(alert, held_back=decision.silence_reason)
        pipeline.store_and_schedule_alert(alert, decision, now)
        return NO_CHANGES

    # -- silences ------------------------------------------------------------------------------

    def _end_or_warn_silence(self, silence: Silence, now: Instant) -> AlertChanges:
        if now >= silence.ends_at:
            return self.end_silence(
                silence, describe_expiry(silence), now, SYSTEM_ACTOR, ENGINE_CHANNEL
            )
        suppressed = self._list_silenced_alerts(silence)
        reason = (
            f"the silence {silence.id} of {silence.who} over {silence.matchers_text} ends at "
            f"{humanize_instant(silence.ends_at)}: {silence.reason}"
        )
        updated = self._pipeline.silences.update(replace(silence, warned=True))
        changes = [self._warn_of_expiry(alert, reason, now) for alert in suppressed]
        detail = {"reason": reason, "holds_back": len(suppressed)}
        entry = AuditEntry(now, SYSTEM_ACTOR, ENGINE_CHANNEL, "silence ending", silence.id, detail)
        return merge_changes([*changes, AlertChanges(audit=(entry,), silences=(updated,))])

    def _warn_of_expiry(self, alert: Alert, warning: str, now: Instant) -> AlertChanges:
        """Notifies the sinks that know of an alert that its silence ends soon."""
        new = replace(alert, aside=warning)
        decision = self._pipeline.router.route_alert(alert, now)
        if not new.sinks:
            self._pipeline.store_and_schedule_alert(new, decision, now)
            return AlertChanges((new,))
        return self._pipeline.renotify_alert(new, "reminder", new.sinks, decision, now)

    def end_silence(
        self, silence: Silence, reason: str, now: Instant, actor: str, channel: str
    ) -> AlertChanges:
        """Ends a silence; the alerts that it held back are notified at the next tick."""
        suppressed = self._list_silenced_alerts(silence)
        ended = self._pipeline.silences.end_silence(silence.id, reason, now)
        for alert in suppressed:
            self._pipeline.timers.schedule(alert.id, 0)
        detail = {
            "reason": reason,
            "silence": silence.matchers_text,
            "hits": silence.hits,
            "holds_back": len(suppressed),
        }
        entry = AuditEntry(now, actor, channel, "silence ended", silence.id, detail)
        return AlertChanges(audit=(entry,), silences=(ended,))

    def _list_silenced_alerts(self, silence: Silence) -> list[Alert]:
        return [
            alert for alert in self._pipeline.alert_table
            if alert.state == "firing" and self._pipeline.silences.find_for_alert(alert) == silence
        ]  # fmt: skip

    # -- floods --------------------------------------------------------------------------------

    def _end_flood_if_over(self, now: Instant) -> AlertChanges:
        """Ends a flood; if few alerts are still open, each is notified individually."""
        pipeline = self._pipeline
        if (
            not pipeline.flood_detector.is_active
            or pipeline.flood_detector.detect_begin_or_end(now) != "ended"
        ):
            return NO_CHANGES
        changes = [AlertChanges(audit=(pipeline.create_flood_entry("flood ended", now),))]
        limit = pipeline.noise_limits.flood
        for group in pipeline.groups:
            if group.kind != "flood":
                continue
            alerts = (
                pipeline.alert_table.find_by_id(alert_id)
                for alert_id in pipeline.groups.list_member_ids(group.id)
            )
            active_alerts = [member for member in alerts if member is not None and member.is_active]
            if limit is not None and len(active_alerts) > limit.start_above:
                changes.append(pipeline.notify_group(group.id, now))
                continue
            changes.append(pipeline.notify_group(group.id, now, finished=True))
            for alert in active_alerts:
                remaining = {
                    sink: group_id
                    for sink, group_id in alert.bundles.items()
                    if group_id != group.id
                }
                pipeline.alert_table.upsert_alert(replace(alert, bundles=remaining))
                pipeline.timers.schedule(alert.id, 0)
        return merge_changes(change for change in changes if change != NO_CHANGES)


def _get_escalation_delay(decision: RoutingDecision) -> Span:
    """Returns how long an escalation is postponed while the alert is held back from everybody."""
    return decision.escalation.after if decision.escalation else MINUTE
