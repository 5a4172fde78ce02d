"""The components of a site: whatever has a health, with its role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from catcher.model.health import Health
from catcher.model.time import nanoseconds_to_seconds

ComponentRole = Literal["source", "store", "executor", "sink", "desk", "heartbeat", "results"]


@dataclass(frozen=True, slots=True)
class Component:
    """A source, store, executor or sink, alerting, a heartbeat target, a result publisher."""

    role: ComponentRole
    health: Health

    @property
    def qualified_name(self) -> str:
        """The role and name, as `source efd`: unique, unlike the name alone."""
        return f"{self.role} {self.health.name}"

    def to_event_fields(self) -> Mapping[str, Any]:
        """Returns the fields of an event; `since` in seconds since the epoch, None if unknown."""
        health = self.health
        return {
            "part": self.qualified_name,
            "role": self.role,
            "kind": health.kind,
            "name": health.name,
            "state": health.state,
            "problem": health.problem,
            "since": nanoseconds_to_seconds(health.since) if health.since else None,
        }
