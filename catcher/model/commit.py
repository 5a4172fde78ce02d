"""What the engine decided at one step, as one unit of work: all of it is kept, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.event import Admitted
from catcher.model.observation import Observation
from catcher.model.run import Firing, Run


@dataclass(frozen=True, slots=True)
class TriggerState:
    """The saved state of one rule and key; `meaning` names the trigger that it belongs to."""

    rule: str
    key: str
    meaning: str
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction of the ledger.

    `inbox`: events of a durable source, written before they are acknowledged. `firings`: new
    decisions, with `runs`, the runs they lead to, as pending. `finished`: runs that are over,
    with their metrics, fields and artifact index. `alerts` and `notices`: what changed and who
    is to be told. `states` and `positions`: the triggers' state and the sources' positions
    that belong to exactly these decisions.
    """

    inbox: tuple[Admitted, ...] = ()
    observations: tuple[Observation, ...] = ()
    firings: tuple[Firing, ...] = ()
    runs: tuple[Run, ...] = ()
    finished: tuple[Run, ...] = ()
    alerts: tuple[Alert, ...] = ()
    notices: tuple[Notice, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    states: tuple[TriggerState, ...] = ()
    positions: Mapping[str, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.inbox or self.observations or self.firings or self.runs or self.finished
            or self.alerts or self.notices or self.audit or self.states or self.positions
        )  # fmt: skip
