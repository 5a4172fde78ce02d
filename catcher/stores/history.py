"""The embedded history: the last hours of the topics that rules use, in files of a folder.

    stores:
      history: embedded

Samples are gathered in memory, a tail per topic, and go to disk as compressed blocks of columns
when a tail is long enough or its first sample has waited long enough (`history_segments`). A
reader sees both. Telemetry that was not yet written is lost with the process; what was written
is read again after a crash, less a block torn by it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from catcher.model.event import Event, Series
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.time import DAY, MAX_INSTANT, SECOND, Clock, Instant, Span, wall_clock
from catcher.ports import Predicate
from catcher.stores.history_block import Block, encoded
from catcher.stores.history_reading import Part, series_of
from catcher.stores.history_segments import Segments
from catcher.stores.history_table import table_of

LONGEST_TAIL = 4096
OLDEST_TAIL = 30 * SECOND
HEAVIEST_TAIL = 500_000
"""Cells (fields, and places of lists) of one tail."""
MOST_SEALING = 16
"""Tails on their way to the disk; beyond it, appending waits."""
MOST_UNWRITTEN = 64 * 2**20
"""Bytes of blocks that the disk did not take and that are kept in memory."""
Answer = TypeVar("Answer")


class EmbeddedHistory:
    """`ports.History` in a folder, or in memory without one; an async context manager.

    `horizon` is how long a sample is kept after it was written, `max_bytes` how much all may
    take (compressed); whichever is reached first deletes the oldest files. `clock` is the
    engine's.
    """

    def __init__(
        self,
        folder: Path | None,
        horizon: Span = DAY,
        max_bytes: int = 2 * 2**30,
        clock: Clock = wall_clock,
    ) -> None:
        self._clock = clock
        self._segments = Segments(folder, max_bytes, horizon)
        self._tails: dict[str, _Tail] = {}
        self._sealing: deque[asyncio.Future[None]] = deque()
        self._unwritten: deque[bytes] = deque()
        self._next_look = 0
        self._since: Instant = 0
        self._last: Instant | None = None
        self._state: HealthState = "starting"
        self._problem = ""
        self._counts = {"samples": 0, "dropped": 0, "too wide": 0}
        self._topics: set[str] = set()

    async def __aenter__(self) -> Self:
        self._since = self._clock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        try:
            await self._in_thread(self._segments.load)
        except OSError as error:
            self._thread.shutdown()
            raise CatcherError(
                f"the history in {self._segments.folder} cannot be used: {error.strerror}",
                "choose another folder with --data, or give this user the right to write there",
            ) from None
        self._topics.update(self._segments.topics)
        self._state = "ok"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for topic in list(self._tails):
            self._seal(topic, self._clock())
        while self._sealing:
            await self._sealing.popleft()
        await self._in_thread(self._segments.close)
        self._thread.shutdown()
        self._state = "ended"

    async def append(self, events: Sequence[Event]) -> None:
        """Keeps samples, in whatever order they come; waits only for a disk that falls behind."""
        now = self._clock()
        for event in events:
            if not -MAX_INSTANT <= event.time <= MAX_INSTANT:
                self._counts["dropped"] += 1
                continue
            tail = self._tails.get(event.topic)
            if tail is None:
                tail = self._tails[event.topic] = _Tail(now)
                self._topics.add(event.topic)
            if tail.add(event):
                self._seal(event.topic, now)
        self._counts["samples"] += len(events)
        self._last = now
        self._seal_old(now)
        while self._sealing and (self._sealing[0].done() or len(self._sealing) > MOST_SEALING):
            await self._sealing.popleft()

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """The samples with start <= time <= end in time order; all numeric fields if none named.

        A list is read as `name0 … nameN`, a nested field as `name.key`, a truth value as 0 or
        1. Samples of one time with the same fields are one.
        """
        tail = self._tails.get(topic)
        recent = [event for event in tail.events if start <= event.time <= end] if tail else []

        def collect() -> Series:
            parts: list[Part] = [*self._segments.find(topic, start, end), *self._waiting(topic)]
            if recent:
                parts.append(table_of(recent))
            return series_of(topic, parts, fields, start, end, where)

        return await self._in_thread(collect)

    async def topics(self) -> Sequence[str]:
        """The topics that have a sample, sorted."""
        gone = self._topics - set(self._tails) - set(await self._in_thread(self._known))
        self._topics -= gone
        return sorted(self._topics)

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample of a topic; None where there is none."""
        tail = self._tails.get(topic)
        times = [event.time for event in tail.events] if tail else []

        def newest() -> Instant | None:
            waiting = [block.head.last for block in self._waiting(topic)]
            return max([*times, *waiting, *self._segments.lasts(topic)], default=None)

        return await self._in_thread(newest)

    def health(self) -> Health:
        """`away` while the disk does not take what is written."""
        counts = {
            **self._counts,
            "segments": self._segments.files,
            "bytes": self._segments.size,
            "removed": self._segments.removed,
            "torn": self._segments.torn,
        }
        return Health(
            "history", "history", self._state, self._since, self._last, self._problem, counts
        )

    def _seal_old(self, now: Instant) -> None:
        if now < self._next_look and self._next_look - now <= SECOND:
            return
        self._next_look = now + SECOND
        for topic in [name for name, tail in self._tails.items() if tail.old(now)]:
            self._seal(topic, now)

    def _seal(self, topic: str, now: Instant) -> None:
        events = self._tails.pop(topic).events
        future = self._in_thread(lambda: self._store(topic, events, now))
        self._sealing.append(future)

    def _store(self, topic: str, events: Sequence[Event], now: Instant) -> None:
        """Writes a tail as a block; what the disk does not take waits in memory (own thread)."""
        table = table_of(events)
        self._counts["too wide"] += table.lost
        self._unwritten.append(encoded(topic, table, now))
        try:
            while self._unwritten:
                self._segments.append(self._unwritten[0], now)
                self._unwritten.popleft()
        except OSError as error:
            self._turn("away", f"the disk did not take a block: {error.strerror or error}")
            self._bound()
        else:
            self._turn("ok", "")

    def _bound(self) -> None:
        while sum(map(len, self._unwritten)) > MOST_UNWRITTEN:
            self._counts["dropped"] += Block(self._unwritten.popleft()).rows

    def _waiting(self, topic: str) -> list[Block]:
        blocks = [Block(data) for data in self._unwritten]
        return [block for block in blocks if block.head.topic == topic]

    def _known(self) -> list[str]:
        return self._segments.topics + [Block(data).head.topic for data in self._unwritten]

    def _turn(self, state: HealthState, problem: str) -> None:
        if self._state != state:
            self._since = self._clock()
        self._state, self._problem = state, problem

    def _in_thread(self, work: Callable[[], Answer]) -> asyncio.Future[Answer]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


class _Tail:
    """The samples of one topic that are not yet in a block."""

    def __init__(self, opened: Instant) -> None:
        self.events: list[Event] = []
        self._opened = opened
        self._cells = 0

    def add(self, event: Event) -> bool:
        """Takes a sample; whether the tail is full."""
        self.events.append(event)
        self._cells += len(event.fields)
        for value in event.fields.values():
            if type(value) is list or type(value) is dict:
                self._cells += _cells(value)
        return len(self.events) >= LONGEST_TAIL or self._cells >= HEAVIEST_TAIL

    def old(self, now: Instant) -> bool:
        """Whether its first sample has waited long enough, or the clock was set back."""
        return not 0 <= now - self._opened < OLDEST_TAIL


def _cells(value: list[Any] | dict[str, Any]) -> int:
    with contextlib.suppress(RecursionError):
        inner = value.values() if isinstance(value, dict) else value
        return len(value) + sum(_cells(one) for one in inner if isinstance(one, list | dict))
    return HEAVIEST_TAIL
