"""The previous value, and streaks: functions over time without a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.expressions.windows import Window
from catcher.model.time import Instant


class LagState:
    """The value at this known sample and at the one before it."""

    __slots__ = ("count", "is_known", "latest", "previous")

    def __init__(self) -> None:
        self.is_known = False
        self.count = 0
        self.latest: Any = None
        self.previous: Any = None

    def add_sample(self, time: Instant, value: Any) -> None:
        """Adds the value at a sample; None if it is unknown."""
        self.is_known = value is not None
        if self.is_known:
            self.previous, self.latest = self.latest, value
            self.count += 1

    def compute_value(self, function: str, now: Instant, quantile: float) -> Any:
        """Returns `previous` or `changed`; unknown at the first known sample."""
        if not self.is_known or self.count < 2:
            return None
        return self.previous if function == "previous" else self.previous != self.latest

    def describe_missing(self, now: Instant) -> str:
        """Returns what is still missing for a known value."""
        if not self.is_known:
            return "not in the last event"
        return "no value before this one yet" if self.count < 2 else ""

    def has_same_state(self, other: object) -> bool:
        """True if another one has the same state."""
        return isinstance(other, LagState) and _is_identical(self.save(), other.save())

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {
            "known": self.is_known,
            "count": min(self.count, 2),
            "latest": self.latest,
            "previous": self.previous,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        self.is_known, self.count = bool(state["known"]), int(state["count"])
        self.latest, self.previous = state["latest"], state["previous"]


class Streak:
    """At how many known evaluations in a row a condition was true."""

    __slots__ = ("count", "is_known")

    def __init__(self) -> None:
        self.is_known = False
        self.count = 0

    def add_sample(self, time: Instant, value: Any) -> None:
        """Adds the truth at a sample; None if it is unknown."""
        self.is_known = value is not None
        if self.is_known:
            self.count = self.count + 1 if value else 0

    def compute_value(self, function: str, now: Instant, quantile: float) -> int | None:
        """Returns the length of the streak."""
        return self.count if self.is_known else None

    def describe_missing(self, now: Instant) -> str:
        """Returns what is still missing for a known value."""
        return "" if self.is_known else "the condition is unknown"

    def has_same_state(self, other: object) -> bool:
        """True if another one has the same state."""
        return isinstance(other, Streak) and self.save() == other.save()

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {"known": self.is_known, "count": self.count}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        self.is_known, self.count = bool(state["known"]), int(state["count"])


def _is_identical(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first == second and list(map(type, first.values())) == list(map(type, second.values()))


FunctionState = Window | LagState | Streak
