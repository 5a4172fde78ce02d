"""Samples on their way to the disk: buffered per topic, then queued for writing.

The queue is limited by its cells (fields and list elements). A producer waits for a disk that falls
behind, but not for one that does not respond: then the oldest samples are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from catcher.model.event import Event
from catcher.model.time import SECOND, Instant

MAX_BUFFER_SAMPLES = 4096
MAX_BUFFER_AGE = 30 * SECOND
MAX_BUFFER_CELLS = 500_000
"""Cells of one buffer."""
MAX_QUEUED_CELLS = 2_000_000
"""Cells of all buffers that wait for the disk."""
STALL_TIMEOUT = 2.0
"""Seconds that the disk has to make progress before producers stop waiting for it."""


class TopicBuffer:
    """The samples of one topic that are not yet in a block."""

    def __init__(self, opened_at: Instant) -> None:
        self.events: list[Event] = []
        self.cell_count = 0
        self._opened_at = opened_at

    def add_event(self, event: Event) -> bool:
        """Adds a sample; True if the buffer is full."""
        self.events.append(event)
        self.cell_count += len(event.fields)
        for value in event.fields.values():
            if type(value) is list or type(value) is dict:
                self.cell_count += _count_cells(value)
        return len(self.events) >= MAX_BUFFER_SAMPLES or self.cell_count >= MAX_BUFFER_CELLS

    def is_expired(self, now: Instant) -> bool:
        """True if its first sample has waited long enough, or the clock was set back."""
        return not 0 <= now - self._opened_at < MAX_BUFFER_AGE


@dataclass(frozen=True, slots=True)
class SealedBuffer:
    """A buffer that accepts no more samples."""

    topic: str
    events: list[Event]
    cell_count: int
    sealed_at: Instant


@dataclass
class FlushQueue:
    """Sealed buffers in order; the first one may be being written."""

    is_stalled: bool = False
    buffer_added: asyncio.Event = field(default_factory=asyncio.Event)
    _buffers: deque[SealedBuffer] = field(default_factory=deque)
    _cell_count: int = 0
    _is_writing: bool = False
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    def __iter__(self) -> Iterator[SealedBuffer]:
        return iter(self._buffers)

    def __len__(self) -> int:
        return len(self._buffers)

    def put(self, sealed: SealedBuffer) -> None:
        """Enqueues a buffer."""
        self._buffers.append(sealed)
        self._cell_count += sealed.cell_count
        self.buffer_added.set()

    async def wait_for_oldest(self) -> SealedBuffer:
        """Returns the oldest buffer, which stays in the queue until `remove_oldest`."""
        while not self._buffers:
            self.buffer_added.clear()
            await self.buffer_added.wait()
        self._is_writing = True
        return self._buffers[0]

    def remove_oldest(self) -> None:
        """Removes the oldest buffer: it is written, or never will be."""
        self._is_writing = self.is_stalled = False
        self._cell_count -= self._buffers.popleft().cell_count
        self._progress.set()

    async def wait_until_empty(self) -> None:
        """Returns when nothing waits."""
        while self._buffers:
            self._progress.clear()
            await self._progress.wait()

    async def wait_for_space_or_drop(self) -> int:
        """Waits for the disk if too much is queued; returns how many samples it dropped."""
        while (
            self._cell_count > MAX_QUEUED_CELLS and len(self._buffers) > 1 and not self.is_stalled
        ):
            self._progress.clear()
            try:
                async with asyncio.timeout(STALL_TIMEOUT):
                    await self._progress.wait()
            except TimeoutError:
                self.is_stalled = True
        return self._drop_excess_buffers() if self.is_stalled else 0

    def _drop_excess_buffers(self) -> int:
        dropped = 0
        while self._cell_count > MAX_QUEUED_CELLS and len(self._buffers) > 1 + self._is_writing:
            index = 1 if self._is_writing else 0
            oldest = self._buffers[index]
            del self._buffers[index]
            self._cell_count -= oldest.cell_count
            dropped += len(oldest.events)
        return dropped


def _count_cells(value: list[Any] | dict[str, Any]) -> int:
    with contextlib.suppress(RecursionError):
        items = value.values() if isinstance(value, dict) else value
        return len(value) + sum(
            _count_cells(item) for item in items if isinstance(item, list | dict)
        )
    return MAX_BUFFER_CELLS
