"""The parts of a site's pipeline: whatever has a health, and the role that it plays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from catcher.model.health import Health
from catcher.model.time import to_seconds

Role = Literal["source", "store", "executor", "sink", "desk", "heartbeat", "results"]


@dataclass(frozen=True, slots=True)
class Part:
    """One source, store, executor, sink, the alert desk, a heartbeat, a way of results."""

    role: Role
    health: Health

    @property
    def name(self) -> str:
        """`source efd`: unlike the bare name, no other part is called so."""
        return f"{self.role} {self.health.name}"

    def fields(self) -> Mapping[str, Any]:
        """As an event's fields; `since` in seconds since the epoch, None where unknown."""
        health = self.health
        return {
            "part": self.name,
            "role": self.role,
            "kind": health.kind,
            "name": health.name,
            "state": health.state,
            "problem": health.problem,
            "since": to_seconds(health.since) if health.since else None,
        }
