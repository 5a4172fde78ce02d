"""Which offsets of which partitions may be committed, and which may not any more.

A partition that went to another member of the group and came back is another turn: what was
fetched in an earlier one says nothing about where this one is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

Partition = tuple[str, int]
"""A topic and one of its partitions."""
Reached = Mapping[Partition, tuple[int, int]]
"""For each partition the turn, and the offset after the last message."""


class Offsets:
    """What was fetched, what of it is done with, and what of that has been committed."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set when there is something to commit."""
        self._turns: Counter[Partition] = Counter()
        self._held: set[Partition] = set()
        self._open: Counter[Partition] = Counter()
        self._done: dict[Partition, int] = {}
        self._settled = asyncio.Event()

    @property
    def held(self) -> frozenset[Partition]:
        """The partitions that are ours now."""
        return frozenset(self._held)

    def assign(self, partitions: Iterable[Partition]) -> None:
        """These and no others are ours from now on; each begins a new turn."""
        self._held = set(partitions)
        for one in self._held:
            self._turns[one] += 1
        self._forget()

    def revoke(self) -> None:
        """None is ours any more."""
        self._held.clear()
        self._forget()

    def _forget(self) -> None:
        self._open.clear()
        self._done.clear()
        self._settled.set()

    def fetched(self, ends: Mapping[Partition, int]) -> Reached:
        """Messages up to before these offsets are on their way; `done` is to be told of them."""
        for one in ends:
            self._open[one] += 1
        return {one: (self._turns[one], offset) for one, offset in ends.items()}

    def done(self, reached: Reached) -> None:
        """They are kept; those of an earlier turn are somebody else's matter."""
        for one, (turn, offset) in reached.items():
            if one in self._held and self._turns[one] == turn:
                self._open[one] -= 1
                self._done[one] = max(offset, self._done.get(one, 0))
                self.changed.set()
        if not any(self._open.values()):
            self._settled.set()

    def begin_at(self, positions: Mapping[Partition, int]) -> None:
        """Where partitions that the group has never read begin is to be committed as well."""
        for one, offset in positions.items():
            if one in self._held:
                self._done.setdefault(one, offset)
                self.changed.set()

    def due(self) -> dict[Partition, int]:
        """What is to be committed now; it counts as committed unless it is put back."""
        self.changed.clear()
        due, self._done = self._done, {}
        return due

    def put_back(self, due: Mapping[Partition, int]) -> None:
        """It could not be committed, and is to be tried again."""
        for one, offset in due.items():
            if one in self._held:
                self._done[one] = max(offset, self._done.get(one, 0))
        if self._done:
            self.changed.set()

    async def settled(self) -> None:
        """Returns once nothing that was fetched is still on its way."""
        while any(self._open.values()):
            self._settled.clear()
            await self._settled.wait()
