"""What the engine decided in one step, as one unit of work: all of it is stored, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catcher.model.alert import Alert, AuditEntry, Notification
from catcher.model.alert_operations import NotificationGroup, Shift, Silence
from catcher.model.event import Event, ReceivedEvent
from catcher.model.observation import Observation
from catcher.model.run import Firing, Run


@dataclass(frozen=True, slots=True)
class TriggerState:
    """The saved state of one rule and key; `fingerprint` identifies the trigger it belongs to.

    One with a `part` is a long list of the state, stored separately since it changes little.
    """

    rule: str
    key: str
    fingerprint: str
    state: Mapping[str, Any]
    part: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction of the ledger.

    `inbox`: events of a durable source, written before they are acknowledged. `covers_inbox`: the
    saved states cover every event in the inbox, except the buffered `held_events`. `firings`: new
    decisions, with `runs`, the pending runs that they lead to. `finished`: finished runs, with
    their metrics, fields and artifact index. `alerts` and `notices`: changed alerts and the
    notifications of them; `silences`, `shifts` and `groups` are those of the alert pipeline.
    `states` and `positions`: the triggers' states and the sources' positions that belong to exactly
    these decisions; the states of rules in `removed_rules` are deleted first. `token` is the same
    whenever the same commit is retried.
    """

    inbox: tuple[ReceivedEvent, ...] = ()
    observations: tuple[Observation, ...] = ()
    firings: tuple[Firing, ...] = ()
    runs: tuple[Run, ...] = ()
    finished: tuple[Run, ...] = ()
    alerts: tuple[Alert, ...] = ()
    notices: tuple[Notification, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    silences: tuple[Silence, ...] = ()
    shifts: tuple[Shift, ...] = ()
    groups: tuple[NotificationGroup, ...] = ()
    states: tuple[TriggerState, ...] = ()
    positions: Mapping[str, str] = field(default_factory=dict)
    removed_rules: tuple[str, ...] = ()
    covers_inbox: bool = False
    held_events: tuple[Event, ...] = ()
    token: str = ""

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to write."""
        return not (
            self.inbox
            or self.observations
            or self.firings
            or self.runs
            or self.finished
            or self.alerts
            or self.notices
            or self.audit
            or self.states
            or self.positions
            or self.silences
            or self.shifts
            or self.groups
            or self.removed_rules
            or self.covers_inbox
        )
