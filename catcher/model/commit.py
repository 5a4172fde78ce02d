"""What the engine decided at one step, as one unit of work: all of it is kept, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.desk import Bundle, Shift, Silence
from catcher.model.event import Arrived, Event
from catcher.model.observation import Observation
from catcher.model.run import Firing, Run


@dataclass(frozen=True, slots=True)
class TriggerState:
    """The saved state of one rule and key; `meaning` names the trigger that it belongs to.

    One with a `part` is a long list of the state, kept apart since it changes little.
    """

    rule: str
    key: str
    meaning: str
    state: Mapping[str, Any]
    part: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction of the ledger.

    `inbox`: events of a durable source, written before they are acknowledged. `covers`: the
    states that are saved know of every event in the inbox, but of those `held` back. `firings`: new
    decisions, with `runs`, the runs they lead to, as pending. `finished`: runs that are over,
    with their metrics, fields and artifact index. `alerts` and `notices`: what changed and who
    is to be told; `silences`, `shifts` and `bundles` what the alert desk keeps beside them.
    `states` and `positions`: the triggers' state and the sources' positions
    that belong to exactly these decisions; the states of rules that are `forgotten` go first.
    `token` is the same whenever the same commit is tried again.
    """

    inbox: tuple[Arrived, ...] = ()
    observations: tuple[Observation, ...] = ()
    firings: tuple[Firing, ...] = ()
    runs: tuple[Run, ...] = ()
    finished: tuple[Run, ...] = ()
    alerts: tuple[Alert, ...] = ()
    notices: tuple[Notice, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    silences: tuple[Silence, ...] = ()
    shifts: tuple[Shift, ...] = ()
    bundles: tuple[Bundle, ...] = ()
    states: tuple[TriggerState, ...] = ()
    positions: Mapping[str, str] = field(default_factory=dict)
    forgotten: tuple[str, ...] = ()
    covers: bool = False
    held: tuple[Event, ...] = ()
    token: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.inbox or self.observations or self.firings or self.runs or self.finished
            or self.alerts or self.notices or self.audit or self.states or self.positions
            or self.silences or self.shifts or self.bundles or self.forgotten or self.covers
        )  # fmt: skip
