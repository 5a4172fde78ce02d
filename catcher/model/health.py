"""How something outside is doing, as operators see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.time import Instant

HealthState = Literal["starting", "ok", "stale", "away", "ended"]

TURNED_DOWN_FOR_GOOD = "turned down for good: "
"""How the problem of a sink begins that answers, and will not take what it was sent last."""


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one source, store, executor or sink, with its counts."""

    name: str
    kind: str
    state: HealthState
    since: Instant = 0
    last: Instant | None = None
    problem: str = ""
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Update:
    """One thing that happened, for those who watch: the board, the terminal, the event stream.

    `kind` is `event`, `firing`, `run`, `alert`, `notice`, `health`, `problem` or `reload`; `body`
    is the noun itself (Firing, Run, Alert, ...), or words.
    """

    kind: Literal["event", "firing", "run", "alert", "notice", "health", "problem", "reload"]
    time: Instant
    body: Any
