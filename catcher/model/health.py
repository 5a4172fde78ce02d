"""Health of external components, as operators see it, and live updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.time import Instant

HealthState = Literal["starting", "ok", "stale", "away", "ended"]

PERMANENT_REJECTION_PREFIX = "turned down for good: "
"""The prefix of the problem of a sink that answers but permanently rejected its last message."""


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
class LiveUpdate:
    """A live update for subscribers: the board, the terminal, the event stream.

    `kind` is `event`, `firing`, `run`, `alert`, `notice`, `health`, `problem` or `reload`; `body`
    is the object itself (Firing, Run, Alert, ...), or text.
    """

    kind: Literal["event", "firing", "run", "alert", "notice", "health", "problem", "reload"]
    time: Instant
    body: Any
