"""Which offsets of which partitions may be committed, and which no longer may.

A partition that went to another member of the group and came back has a new generation: what was
fetched in an earlier one says nothing about its current offset.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

PartitionKey = tuple[str, int]
"""A topic and one of its partitions."""
PolledOffsets = Mapping[PartitionKey, tuple[int, int]]
"""For each partition the generation, and the offset after the last message."""


class OffsetTracker:
    """Tracks which messages were fetched, processed and committed."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set when there is something to commit."""
        self._generations: Counter[PartitionKey] = Counter()
        self._assigned: set[PartitionKey] = set()
        self._in_flight: Counter[PartitionKey] = Counter()
        self._committable: dict[PartitionKey, int] = {}
        self._idle = asyncio.Event()

    @property
    def assigned_partitions(self) -> frozenset[PartitionKey]:
        """The partitions assigned to this member."""
        return frozenset(self._assigned)

    def assign_partitions(self, partitions: Iterable[PartitionKey]) -> None:
        """Assigns exactly these partitions; each begins a new generation."""
        self._assigned = set(partitions)
        for partition in self._assigned:
            self._generations[partition] += 1
        self._reset_tracking()

    def revoke_all(self) -> None:
        """Revokes all partitions."""
        self._assigned.clear()
        self._reset_tracking()

    def _reset_tracking(self) -> None:
        self._in_flight.clear()
        self._committable.clear()
        self._idle.set()

    def mark_in_flight(self, next_offsets: Mapping[PartitionKey, int]) -> PolledOffsets:
        """Marks messages before these offsets as in flight; pass the result to `mark_processed`."""
        for partition in next_offsets:
            self._in_flight[partition] += 1
        return {
            partition: (self._generations[partition], offset)
            for partition, offset in next_offsets.items()
        }

    def mark_processed(self, polled: PolledOffsets) -> None:
        """Makes processed offsets committable; those of an earlier generation are ignored."""
        for partition, (generation, offset) in polled.items():
            if partition in self._assigned and self._generations[partition] == generation:
                self._in_flight[partition] -= 1
                self._committable[partition] = max(offset, self._committable.get(partition, 0))
                self.changed.set()
        if not any(self._in_flight.values()):
            self._idle.set()

    def add_start_offsets(self, positions: Mapping[PartitionKey, int]) -> None:
        """Makes the start offsets of partitions that the group has never read committable, too."""
        for partition, offset in positions.items():
            if partition in self._assigned:
                self._committable.setdefault(partition, offset)
                self.changed.set()

    def pop_committable(self) -> dict[PartitionKey, int]:
        """Returns the offsets to commit; they count as committed unless they are restored."""
        self.changed.clear()
        committable, self._committable = self._committable, {}
        return committable

    def restore_committable(self, committable: Mapping[PartitionKey, int]) -> None:
        """Puts back offsets that could not be committed, for another try."""
        for partition, offset in committable.items():
            if partition in self._assigned:
                self._committable[partition] = max(offset, self._committable.get(partition, 0))
        if self._committable:
            self.changed.set()

    async def wait_until_idle(self) -> None:
        """Returns once no fetched message is in flight."""
        while any(self._in_flight.values()):
            self._idle.clear()
            await self._idle.wait()
