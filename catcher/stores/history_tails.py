"""Samples on their way to the disk: gathered per topic, then waiting to be written.

What waits is bounded by its cells (fields, and places of lists). A disk that falls behind is
waited for; from one that does not answer at all nobody is held up: the oldest are dropped.
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

LONGEST_TAIL = 4096
OLDEST_TAIL = 30 * SECOND
HEAVIEST_TAIL = 500_000
"""Cells of one tail."""
MOST_WAITING = 2_000_000
"""Cells of all tails that wait for the disk."""
LONGEST_STALL = 2.0
"""Seconds that a disk has for one block before nobody waits for it any more."""


class Tail:
    """The samples of one topic that are not yet in a block."""

    def __init__(self, opened: Instant) -> None:
        self.events: list[Event] = []
        self.cells = 0
        self._opened = opened

    def add(self, event: Event) -> bool:
        """Takes a sample; whether the tail is full."""
        self.events.append(event)
        self.cells += len(event.fields)
        for value in event.fields.values():
            if type(value) is list or type(value) is dict:
                self.cells += _cells(value)
        return len(self.events) >= LONGEST_TAIL or self.cells >= HEAVIEST_TAIL

    def old(self, now: Instant) -> bool:
        """Whether its first sample has waited long enough, or the clock was set back."""
        return not 0 <= now - self._opened < OLDEST_TAIL


@dataclass(frozen=True, slots=True)
class Sealed:
    """A tail that takes no more."""

    topic: str
    events: list[Event]
    cells: int
    at: Instant


@dataclass
class Waiting:
    """Sealed tails in their order; the first may be in the hands of the writer."""

    stuck: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _tails: deque[Sealed] = field(default_factory=deque)
    _cells: int = 0
    _in_hand: bool = False
    _progressed: asyncio.Event = field(default_factory=asyncio.Event)

    def __iter__(self) -> Iterator[Sealed]:
        return iter(self._tails)

    def __len__(self) -> int:
        return len(self._tails)

    def put(self, sealed: Sealed) -> None:
        """Another tail waits."""
        self._tails.append(sealed)
        self._cells += sealed.cells
        self.arrived.set()

    async def take(self) -> Sealed:
        """The oldest; it waits on until `done`."""
        while not self._tails:
            self.arrived.clear()
            await self.arrived.wait()
        self._in_hand = True
        return self._tails[0]

    def done(self) -> None:
        """The one that was taken is written, or will never be."""
        self._in_hand = self.stuck = False
        self._cells -= self._tails.popleft().cells
        self._progressed.set()

    async def drained(self) -> None:
        """Returns when nothing waits."""
        while self._tails:
            self._progressed.clear()
            await self._progressed.wait()

    async def make_room(self) -> int:
        """Waits for the disk where too much waits for it; returns how many samples it dropped."""
        while self._cells > MOST_WAITING and len(self._tails) > 1 and not self.stuck:
            self._progressed.clear()
            try:
                async with asyncio.timeout(LONGEST_STALL):
                    await self._progressed.wait()
            except TimeoutError:
                self.stuck = True
        return self._drop() if self.stuck else 0

    def _drop(self) -> int:
        dropped = 0
        while self._cells > MOST_WAITING and len(self._tails) > 1 + self._in_hand:
            place = 1 if self._in_hand else 0
            oldest = self._tails[place]
            del self._tails[place]
            self._cells -= oldest.cells
            dropped += len(oldest.events)
        return dropped


def _cells(value: list[Any] | dict[str, Any]) -> int:
    with contextlib.suppress(RecursionError):
        inner = value.values() if isinstance(value, dict) else value
        return len(value) + sum(_cells(one) for one in inner if isinstance(one, list | dict))
    return HEAVIEST_TAIL
