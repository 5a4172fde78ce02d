"""Turns level changes into alerts and notifications. Pure: no I/O; `now` is an argument."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from catcher.alerting import flapping, lifecycle
from catcher.alerting.changes import NO_CHANGES, AlertChanges
from catcher.alerting.maintenance import AlertMaintenance
from catcher.alerting.messages import LinkBuilder
from catcher.alerting.operator_actions import ActionContext, OperatorActions
from catcher.alerting.pipeline import AlertPipeline
from catcher.alerting.route_tree import Escalation, RouteTree
from catcher.alerting.templates import TemplateRenderer
from catcher.model.alert import Alert, LevelChange, Notification, Severity
from catcher.model.alert_operations import NotificationGroup, Shift, Silence
from catcher.model.health import Health
from catcher.model.rule import Rule
from catcher.model.run import Run
from catcher.model.text import sanitize_single_line
from catcher.model.time import Instant


class AlertService:
    """All alerts of a site.

    `alerts` are those of the ledger: all open ones, and the latest resolved ones, so that their
    episode numbers continue. `last_episode` is the highest episode number of alerts that are not
    among them. `broken_rules` are rules that failed to load: their alerts stay as they are, while
    those of removed rules are resolved at the next `tick`. `silences`, `shift` and `groups` are
    those stored in the ledger.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        routes: RouteTree,
        renderer: TemplateRenderer,
        links: LinkBuilder = lambda alert: {},
        alerts: Iterable[Alert] = (),
        broken_rules: Collection[str] = (),
        last_episode: int = 0,
        silences: Iterable[Silence] = (),
        shift: Shift | None = None,
        groups: Iterable[NotificationGroup] = (),
    ) -> None:
        self._pipeline = AlertPipeline(renderer, links, alerts, last_episode, silences, shift)
        self._pipeline.groups.restore(groups, self._pipeline.alert_table.iter_all())
        self._detach_missing_groups()
        self._maintenance = AlertMaintenance(self._pipeline)
        self._operator_actions = OperatorActions(self._pipeline, self._maintenance)
        self.replace_rules_and_routes(rules, routes, broken_rules)

    def replace_rules_and_routes(
        self, rules: Mapping[str, Rule], routes: RouteTree, broken_rules: Collection[str] = ()
    ) -> None:
        """Replaces the rules and routes; each open alert is re-evaluated at the next `tick`."""
        self._pipeline.router.replace_rules_and_routes(rules, routes, broken_rules)
        self._pipeline.flood_detector.replace_limit(routes.noise_limits.flood)
        for alert in self._pipeline.alert_table:
            self._pipeline.timers.schedule(alert.id, 0)

    def _detach_missing_groups(self) -> None:
        """Detaches alerts from groups that were never stored, so that they are notified again."""
        for alert in self._pipeline.alert_table:
            open_groups = {
                sink: group_id
                for sink, group_id in alert.bundles.items()
                if self._pipeline.groups.find_by_id(group_id)
            }
            if open_groups != alert.bundles:
                self._pipeline.alert_table.upsert_alert(replace(alert, bundles=open_groups))

    # -- data ----------------------------------------------------------------------------------

    def apply_level_change(
        self, change: LevelChange, now: Instant, run: Run | None = None
    ) -> AlertChanges:
        """Applies a level change to its alert; `run` is the finished run that it came from."""
        pipeline = self._pipeline
        alert, rule = (
            pipeline.alert_table.find_by_id(change.alert_id),
            pipeline.router.rules.get(change.rule),
        )
        if rule is None or rule.alert is None:
            return self._maintenance.process_due_alert(alert, now) if alert else NO_CHANGES
        new, transition = lifecycle.apply_level_change(alert, change, rule.alert, now)
        if new is None:
            return NO_CHANGES
        if alert is None:
            first_episode = pipeline.alert_table.first_episode
            new = replace(new, episode=first_episode, thread=first_episode)
        if not transition.is_change:
            pipeline.alert_table.upsert_alert(new)
            return NO_CHANGES
        limit = pipeline.noise_limits.flapping
        if limit is not None:
            new = flapping.record_flap(new, alert, transition, now, limit)
            transition = flapping.mute_flapping_transition(new, alert, transition)
        return pipeline.process_transition(pipeline.annotate_alert(new, rule, run), transition, now)

    def tick(self, now: Instant) -> AlertChanges:
        """Applies time-driven changes: expiries, reminders, escalations, held-back alerts."""
        return self._maintenance.tick(now)

    def queue_fallback(self, notification: Notification) -> bool:
        """Queues a notification that its sink has not received in time for the fallback sinks.

        They are notified at the next `tick`. False if the queue is full: it must be offered again.
        """
        return self._maintenance.queue_fallback(notification, self.find_fallback(notification))

    # -- operator actions ----------------------------------------------------------------------

    def acknowledge_alert(
        self, alert_id: str, severity: Severity | None, actor: str, comment: str, now: Instant,
        channel: str,
    ) -> AlertChanges:  # fmt: skip
        """Acknowledges an alert at the severity that was seen (None: as it is shown now)."""
        seen_severity = str(severity) if severity is not None else "as shown"
        context = _create_context(
            actor, "acknowledge", now, channel, {"seen": seen_severity, "note": comment}
        )
        return self._operator_actions.acknowledge_alert(alert_id, severity, comment, context)

    def shelve_alert(
        self, alert_id: str, until: Instant, actor: str, reason: str, now: Instant, channel: str
    ) -> AlertChanges:
        """Shelves an alert until a time, with a reason."""
        context = _create_context(actor, "shelve", now, channel, {"until": until, "why": reason})
        return self._operator_actions.shelve_alert(alert_id, until, reason, context)

    def unshelve_alert(self, alert_id: str, actor: str, now: Instant, channel: str) -> AlertChanges:
        """Unshelves an alert."""
        return self._operator_actions.unshelve_alert(
            alert_id, _create_context(actor, "unshelve", now, channel, {})
        )

    def confirm_suppression(self, id: str, actor: str, now: Instant, channel: str) -> AlertChanges:
        """Confirms a shelving or silence of the previous shift."""
        return self._operator_actions.confirm_suppression(
            id, _create_context(actor, "confirm", now, channel, {})
        )

    def assign_alert(
        self, alert_id: str, assignee: str, actor: str, now: Instant, channel: str
    ) -> AlertChanges:
        """Assigns an alert to a person."""
        return self._operator_actions.assign_alert(
            alert_id, assignee, _create_context(actor, "assign", now, channel, {"to": assignee})
        )

    def add_comment(
        self, alert_id: str, comment: str, actor: str, now: Instant, channel: str, link: str = ""
    ) -> AlertChanges:
        """Adds a comment and an optional link to an alert."""
        detail = {"text": comment, **({"link": link} if link else {})}
        return self._operator_actions.add_comment(
            alert_id, comment, link, _create_context(actor, "note", now, channel, detail)
        )

    def add_silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, until: Instant, actor: str,
        reason: str, now: Instant, channel: str,
    ) -> AlertChanges:  # fmt: skip
        """Silences the matching alerts, up to a severity, until a time."""
        detail = {"silence": name, "labels": dict(labels), "until": until, "why": reason}
        context = _create_context(actor, "silence", now, channel, detail)
        return self._operator_actions.add_silence(name, labels, severity, until, reason, context)

    def end_silence(self, id: str, actor: str, now: Instant, channel: str) -> AlertChanges:
        """Ends a silence before its time."""
        return self._operator_actions.end_silence(
            id, _create_context(actor, "unsilence", now, channel, {})
        )

    def hand_over_shift(
        self, person: str, actor: str, comment: str, now: Instant, channel: str
    ) -> AlertChanges:
        """Hands the shift over to another person."""
        context = _create_context(actor, "hand over", now, channel, {"to": person, "note": comment})
        return self._operator_actions.hand_over_shift(person, comment, context)

    # -- queries -------------------------------------------------------------------------------

    @property
    def broken_rules(self) -> Collection[str]:
        """The rules that failed to load, whose alerts stay as they are."""
        return self._pipeline.router.broken_rules

    @property
    def shift(self) -> Shift | None:
        """The current shift."""
        return self._pipeline.rota.shift

    def list_active(self) -> list[Alert]:
        """Returns the active alerts, worst first, then oldest first."""
        return self._pipeline.alert_table.list_active()

    def list_silences(self) -> list[Silence]:
        """Returns the active silences, the next to end first."""
        return sorted(self._pipeline.silences, key=lambda silence: (silence.ends_at, silence.id))

    def get_alert(self, reference: str) -> Alert:
        """Returns an alert by id, id prefix or name; CatcherError if none or several match.

        The id of a notification group returns the group's message.
        """
        group = self._pipeline.groups.find_by_id(reference)
        return (
            group.alert
            if group is not None
            else self._pipeline.alert_table.get_by_reference(reference)
        )

    def find_fallback(self, notification: Notification) -> Escalation | None:
        """Returns the fallback of a notification's sink."""
        group = self._pipeline.groups.find_by_id(notification.alert.id)
        if group is None:
            return self._pipeline.router.find_fallback(
                notification.alert, notification.sink, notification.time
            )
        if group.fallback is None:
            return None
        return Escalation(
            group.fallback[0], self._pipeline.router.expand_on_shift_sinks(group.fallback[1])
        )

    def collect_counts(self) -> dict[str, int]:
        """Returns counts: alerts by state, held back, groups, failed messages, evicted alerts."""
        pipeline = self._pipeline
        counts: dict[str, int] = dict.fromkeys(("open", "held_back", "untold", "flapping"), 0)
        for alert in pipeline.alert_table:
            notified_sinks = alert.sinks or alert.bundles
            counts["open"] += alert.is_active
            counts["held_back"] += alert.state == "firing" and not notified_sinks
            counts["untold"] += alert.untold
            counts["flapping"] += alert.flapping
            counts[alert.state] = counts.get(alert.state, 0) + 1
        return {
            **counts,
            "bundles": len(pipeline.groups),
            "silences": len(pipeline.silences),
            "fleeting": pipeline.short_lived_count,
            "flood": int(pipeline.flood_detector.is_active),
            "message_failures": pipeline.template_failure_count,
            "forgotten": pipeline.alert_table.evicted_count,
        }

    def health(self, now: Instant) -> Health:
        """Returns the health of alerting; a flood is its problem."""
        rate, since = (
            self._pipeline.flood_detector.count_recent(now),
            self._pipeline.flood_detector.since,
        )
        counts = {**self.collect_counts(), "new_in_10m": rate}
        problem = "" if since is None else f"a flood: {rate} new alerts in ten minutes"
        return Health("alerts", "desk", "ok", since or 0, now, problem, counts)

    def get_flood_status(self, now: Instant) -> Mapping[str, Any]:
        """Returns the new alerts of the last ten minutes, and when the current flood began."""
        return {
            "new_alerts": self._pipeline.flood_detector.count_recent(now),
            "since": self._pipeline.flood_detector.since,
        }


def _create_context(
    actor: str, action: str, now: Instant, channel: str, detail: Mapping[str, Any]
) -> ActionContext:
    """Creates the context of an action; the actor is reduced to a plain single line."""
    return ActionContext(sanitize_single_line(actor, 100), action, now, channel, detail)
