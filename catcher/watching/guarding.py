"""What stands before the machines of a rule and has to hear of what moves them from elsewhere."""

from __future__ import annotations

from typing import Protocol

from catcher.model.time import Instant


class Guard(Protocol):
    """It answers for a rule as long as nothing changes there, and notes what came meanwhile."""

    def timer_set(self, due: Instant) -> None:
        """A timer was set, earlier than all others."""

    def hand_over(self, key: str) -> None:
        """The machines of a key are about to be called: what was noted for them comes first."""

    def timer_ran(self, key: str) -> None:
        """A timer of a key has run, which may have changed anything."""

    def leaving(self, key: str) -> None:
        """A key is about to be forgotten."""

    def sync(self) -> None:
        """All keys are about to be looked at."""


class Unguarded:
    """Nothing stands before a rule: its machines see every event."""

    def timer_set(self, due: Instant) -> None:
        """Nobody waits for it."""

    def hand_over(self, key: str) -> None:
        """Nothing was noted."""

    def timer_ran(self, key: str) -> None:
        """Nobody has to know."""

    def leaving(self, key: str) -> None:
        """Nobody has to know."""

    def sync(self) -> None:
        """Nothing was noted."""


UNGUARDED = Unguarded()
