"""The value before this one, and streaks: what needs no window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.time import Instant
from catcher.watching.windows import Window


class Memory:
    """The value at this known sample and at the one before it."""

    __slots__ = ("count", "known", "latest", "previous")

    def __init__(self) -> None:
        self.known = False
        self.count = 0
        self.latest: Any = None
        self.previous: Any = None

    def push(self, time: Instant, value: Any) -> None:
        """Takes in the value at a sample; None where it is unknown."""
        self.known = value is not None
        if self.known:
            self.previous, self.latest = self.latest, value
            self.count += 1

    def value(self, function: str, now: Instant, quantile: float) -> Any:
        """`previous` or `changed`; unknown at the first known sample."""
        if not self.known or self.count < 2:
            return None
        return self.previous if function == "previous" else self.previous != self.latest

    def missing(self, now: Instant) -> str:
        """What is still missing for a known value."""
        if not self.known:
            return "not in the last event"
        return "no value before this one yet" if self.count < 2 else ""

    def agrees(self, other: object) -> bool:
        """Whether another one knows the same."""
        return isinstance(other, Memory) and _same(self.save(), other.save())

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "known": self.known,
            "count": min(self.count, 2),
            "latest": self.latest,
            "previous": self.previous,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        self.known, self.count = bool(state["known"]), int(state["count"])
        self.latest, self.previous = state["latest"], state["previous"]


class Streak:
    """At how many known evaluations in a row a condition was true."""

    __slots__ = ("count", "known")

    def __init__(self) -> None:
        self.known = False
        self.count = 0

    def push(self, time: Instant, value: Any) -> None:
        """Takes in the truth at a sample; None where it is unknown."""
        self.known = value is not None
        if self.known:
            self.count = self.count + 1 if value else 0

    def value(self, function: str, now: Instant, quantile: float) -> int | None:
        """The length of the streak."""
        return self.count if self.known else None

    def missing(self, now: Instant) -> str:
        """What is still missing for a known value."""
        return "" if self.known else "the condition is unknown"

    def agrees(self, other: object) -> bool:
        """Whether another one knows the same."""
        return isinstance(other, Streak) and self.save() == other.save()

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"known": self.known, "count": self.count}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        self.known, self.count = bool(state["known"]), int(state["count"])


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one == other and list(map(type, one.values())) == list(map(type, other.values()))


Slot = Window | Memory | Streak
