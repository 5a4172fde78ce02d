"""Which rule has something to do next: one heap over the timers of all rules."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from catcher.model.time import MAX_INSTANT, Instant

DueOf = Callable[[str], Instant | None]
"""The instant at which the next timer of a rule falls due; None where none does."""


class Agenda:
    """Rules by the instant at which they are looked at next, which is never too late.

    Each rule stands on the heap once for that instant. What falls due may move away; that is found
    out when the instant has come, and the rule gets another place.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, str]] = []
        self._queued: dict[str, Instant] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def earlier(self, rule: str, due: Instant) -> None:
        """Something of a rule falls due then, and it may be earlier than was known."""
        if due < self._queued.get(rule, MAX_INSTANT + 1):
            self._queued[rule] = due
            heappush(self._heap, (due, rule))

    def pop(self, due_of: DueOf, before: Instant) -> tuple[str, Instant] | None:
        """Takes out the rule whose timer is next, if that falls due before an instant."""
        while self._heap and self._heap[0][0] < before:
            due, rule = heappop(self._heap)
            if self._queued.get(rule) != due:
                continue
            del self._queued[rule]
            following = due_of(rule)
            if following == due:
                return rule, due
            if following is not None:
                self.earlier(rule, following)
        return None

    def next(self, due_of: DueOf) -> Instant | None:
        """The next instant at which anything falls due."""
        entry = self.pop(due_of, MAX_INSTANT + 1)
        if entry is None:
            return None
        self.earlier(*entry)
        return entry[1]
