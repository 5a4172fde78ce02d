"""Operator actions on alerts, silences and shifts, each with its audit entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from catcher.alerting import manual_transitions
from catcher.alerting.changes import ActionRefused, AlertChanges, merge_changes
from catcher.alerting.maintenance import AlertMaintenance
from catcher.alerting.messages import is_safe_url
from catcher.alerting.pipeline import AlertPipeline
from catcher.alerting.silences import suppresses_alert
from catcher.alerting.transitions import TransitionResult
from catcher.model.alert import Alert, AuditEntry, Severity
from catcher.model.errors import CatcherError
from catcher.model.rule import Rule
from catcher.model.text import sanitize_single_line
from catcher.model.time import MINUTE, Instant, Span

CONFIRMATION_TIMEOUT: Span = 30 * MINUTE
"""How long the new shift has to confirm what the old one shelved or silenced."""
MOMENTARY_TRIGGERS = frozenset({"event", "sequence", "result", "http"})
"""Triggers that fire on a single occurrence, not on a continuing condition."""


@dataclass(frozen=True, slots=True)
class ActionContext:
    """Who did what, when, through which channel."""

    actor: str
    action: str
    now: Instant
    channel: str
    detail: Mapping[str, Any]

    def create_audit_entry(self, subject: str, **extra: Any) -> AuditEntry:
        """Creates the audit entry of the action."""
        detail = {**self.detail, **extra}
        return AuditEntry(self.now, self.actor, self.channel, self.action, subject[:200], detail)


class OperatorActions:
    """Acknowledging, shelving, assigning, silencing, handing over."""

    def __init__(self, pipeline: AlertPipeline, maintenance: AlertMaintenance) -> None:
        self._pipeline, self._maintenance = pipeline, maintenance

    # -- alerts --------------------------------------------------------------------------------

    def acknowledge_alert(
        self, reference: str, severity: Severity | None, comment: str, context: ActionContext
    ) -> AlertChanges:
        """Acknowledges an alert, or all of a group, at the severity that was seen."""

        def apply_acknowledgement(alert: Alert) -> TransitionResult:
            seen_severity = alert.display_severity if severity is None else severity
            close = _is_momentary(alert, self._pipeline.router.rules.get(alert.rule))
            return manual_transitions.acknowledge_alert(
                alert, seen_severity, context.actor, comment, context.now, close
            )

        return self._apply_to_alert_or_group(reference, context, apply_acknowledgement)

    def shelve_alert(
        self, reference: str, until: Instant, reason: str, context: ActionContext
    ) -> AlertChanges:
        """Shelves an alert, or all of a group, until a time."""
        return self._apply_to_alert_or_group(
            reference,
            context,
            lambda alert: manual_transitions.shelve_alert(
                alert, until, context.actor, reason, context.now
            ),
        )

    def unshelve_alert(self, reference: str, context: ActionContext) -> AlertChanges:
        """Unshelves an alert."""
        reason = f"taken off the shelf by {context.actor}"
        return self._apply_to_alert_or_group(
            reference, context, lambda alert: manual_transitions.unshelve_alert(alert, reason)
        )

    def confirm_suppression(self, reference: str, context: ActionContext) -> AlertChanges:
        """Confirms a shelving or silence of the previous shift and becomes its owner."""
        matches = self._find_silences(reference)
        if not matches:
            return self._apply_to_alert_or_group(
                reference,
                context,
                lambda alert: manual_transitions.confirm_shelving(alert, context.actor),
            )
        silence = replace(matches[0], who=context.actor, confirm_by=None, warned=False)
        updated = self._pipeline.silences.update(silence)
        return AlertChanges(audit=(context.create_audit_entry(updated.id),), silences=(updated,))

    def assign_alert(self, reference: str, assignee: str, context: ActionContext) -> AlertChanges:
        """Assigns an alert to a person."""
        return self._apply_to_alert_or_group(
            reference,
            context,
            lambda alert: manual_transitions.assign_alert(
                alert, sanitize_single_line(assignee, 100), context.actor
            ),
        )

    def add_comment(
        self, reference: str, comment: str, link: str, context: ActionContext
    ) -> AlertChanges:
        """Adds a comment and an optional link to an alert."""

        def apply_comment(alert: Alert) -> TransitionResult:
            return manual_transitions.add_comment(
                alert, context.actor, comment, _parse_link(link), context.now
            )

        return self._apply_to_alert_or_group(reference, context, apply_comment)

    # -- silences ------------------------------------------------------------------------------

    def add_silence(
        self, name: str, labels: Mapping[str, str], severity: Severity, until: Instant,
        reason: str, context: ActionContext,
    ) -> AlertChanges:  # fmt: skip
        """Silences the matching alerts until a time."""

        def apply_silence() -> AlertChanges:
            added = self._pipeline.silences.create_silence(
                name, labels, severity, until, context.actor, reason, context.now
            )
            covered_alerts = [
                alert
                for alert in self._pipeline.alert_table
                if alert.is_active and suppresses_alert(added, alert)
            ]
            added = self._pipeline.silences.update(replace(added, covered=len(covered_alerts)))
            return AlertChanges(audit=(context.create_audit_entry(added.id),), silences=(added,))

        return self._run_audited(name, context, apply_silence)

    def end_silence(self, reference: str, context: ActionContext) -> AlertChanges:
        """Ends a silence before its time."""

        def apply_end() -> AlertChanges:
            silence = self._pipeline.silences.get_by_reference(reference)
            reason = f"ended by {context.actor}"
            return self._maintenance.end_silence(
                silence, reason, context.now, context.actor, context.channel
            )

        return self._run_audited(reference, context, apply_end)

    # -- shifts --------------------------------------------------------------------------------

    def hand_over_shift(self, person: str, comment: str, context: ActionContext) -> AlertChanges:
        """Starts another person's shift: open alerts are assigned, shelvings await confirmation."""

        def apply_handover() -> AlertChanges:
            shift = self._pipeline.rota.start_shift(person, context.actor, comment, context.now)
            alerts = [item for item in self._pipeline.alert_table if item.is_active]
            reassigned = [self._hand_over_alert(alert, person, context) for alert in alerts]
            deadline = context.now + CONFIRMATION_TIMEOUT
            updated_silences = [
                self._pipeline.silences.update(replace(silence, confirm_by=deadline, warned=False))
                for silence in self._pipeline.silences
                if silence.who != person
            ]
            shelved_count = sum(item.state == "shelved" for item in alerts)
            entry = context.create_audit_entry(
                "shift", alerts=len(alerts), shelves=shelved_count, silences=len(updated_silences)
            )
            shift_change = AlertChanges(
                audit=(entry,), silences=tuple(updated_silences), shifts=(shift,)
            )
            return merge_changes([*reassigned, shift_change])

        return self._run_audited("shift", context, apply_handover)

    def _hand_over_alert(self, alert: Alert, assignee: str, context: ActionContext) -> AlertChanges:
        """Assigns one open alert to the new shift; a shelved one awaits confirmation."""
        alert, transition = manual_transitions.assign_alert(alert, assignee, context.actor)
        if alert.shelf is not None and alert.shelf.who != assignee:
            alert, transition = manual_transitions.request_shelving_confirmation(
                alert, context.now + CONFIRMATION_TIMEOUT
            )
        if not transition.is_change:
            return AlertChanges()
        return self._pipeline.process_transition(
            alert, transition, context.now, context.actor, context.channel, {"to": assignee}
        )

    # -- applying and auditing -----------------------------------------------------------------

    def _apply_to_alert_or_group(
        self,
        reference: str,
        context: ActionContext,
        apply_action: Callable[[Alert], TransitionResult],
    ) -> AlertChanges:
        """Applies an action to one alert, or to each member of a group that allows it."""

        def apply_all() -> AlertChanges:
            members = self._find_active_group_alerts(reference)
            if members is None:
                return self._apply_to_alert(
                    self._pipeline.alert_table.get_by_reference(reference), context, apply_action
                )
            changes, errors = [], []
            for alert in members:
                try:
                    changes.append(self._apply_to_alert(alert, context, apply_action))
                except CatcherError as error:
                    errors.append(error)
            if not changes:
                raise (
                    errors[0]
                    if errors
                    else CatcherError(
                        "all alerts of this message are over", "nothing needs to be done"
                    )
                )
            return merge_changes(changes)

        return self._run_audited(reference, context, apply_all)

    def _apply_to_alert(
        self,
        alert: Alert,
        context: ActionContext,
        apply_action: Callable[[Alert], TransitionResult],
    ) -> AlertChanges:
        alert, transition = apply_action(alert)
        if transition.is_change:
            return self._pipeline.process_transition(
                alert, transition, context.now, context.actor, context.channel, context.detail
            )
        return AlertChanges((alert,), (), (context.create_audit_entry(alert.id),))

    def _run_audited(
        self, subject: str, context: ActionContext, run_action: Callable[[], AlertChanges]
    ) -> AlertChanges:
        """Runs an action; a refusal raises ActionRefused with its audit entry."""
        try:
            if not context.actor.strip():
                raise CatcherError(f"who wants to {context.action}?", "give a name")
            return run_action()
        except CatcherError as error:
            raise ActionRefused(
                error, context.create_audit_entry(subject, refused=error.message)
            ) from error

    def _find_active_group_alerts(self, reference: str) -> Iterable[Alert] | None:
        group = self._pipeline.groups.find_by_id(reference)
        if group is None:
            return None
        alerts = (
            self._pipeline.alert_table.find_by_id(alert_id)
            for alert_id in self._pipeline.groups.list_member_ids(group.id)
        )
        return [alert for alert in alerts if alert is not None and alert.is_active]

    def _find_silences(self, reference: str) -> list[Any]:
        return [
            silence
            for silence in self._pipeline.silences
            if reference and silence.id.startswith(reference)
        ]


def _is_momentary(alert: Alert, rule: Rule | None) -> bool:
    """Whether an alert is about a single instance, such as one bad exposure.

    Nothing persists that could clear later, so acknowledging closes it.
    """
    return bool(alert.per) and rule is not None and rule.trigger.kind in MOMENTARY_TRIGGERS


def _parse_link(text: str) -> tuple[str, str] | None:
    """Parses `name=https://…`, or a URL alone, into name and URL."""
    if not text:
        return None
    name, separator, url = text.partition("=")
    if not separator or "/" in name:
        name, url = "link", text
    if not is_safe_url(url):
        raise CatcherError(f"{url[:80]!r} is no address", "write it like https://…")
    return name.strip()[:60] or "link", url
