"""The observer through which a group learns of changes in its rules' state."""

from __future__ import annotations

from typing import Protocol

from catcher.model.time import Instant


class StateObserver(Protocol):
    """Answers for a rule as long as nothing changes there, and counts the events meanwhile."""

    def on_earlier_timer(self, due_at: Instant) -> None:
        """Called when a timer was set, earlier than all others."""

    def flush_key_counts(self, key: str) -> None:
        """Called before the triggers of a key, to hand over what was counted for them."""

    def on_timer_run(self, key: str) -> None:
        """Called when a timer of a key has run, which may have changed anything."""

    def on_key_removal(self, key: str) -> None:
        """Called before a key is removed."""

    def flush_all_counts(self) -> None:
        """Called before all keys are read."""


class NullObserver:
    """An observer for a rule without a group: its triggers process every event."""

    def on_earlier_timer(self, due_at: Instant) -> None:
        """Does nothing."""

    def flush_key_counts(self, key: str) -> None:
        """Does nothing."""

    def on_timer_run(self, key: str) -> None:
        """Does nothing."""

    def on_key_removal(self, key: str) -> None:
        """Does nothing."""

    def flush_all_counts(self) -> None:
        """Does nothing."""


NULL_OBSERVER = NullObserver()
