"""The embedded history: the last hours of the topics that rules use, in files of a folder.

    stores:
      history: embedded        # or {embedded: {horizon: 48h, size: 10GB}}

Samples are gathered in memory, a tail per topic, and go to disk as compressed blocks of columns
when a tail is long enough or its first sample has waited long enough (`history_segments`). A
reader sees both. Telemetry that was not yet written is lost with the process; what was written
is read again after a crash, less a block torn by it.

A disk that is full, fails or hangs never stops whoever brings samples: they wait in memory up to
a bound, beyond which the oldest are dropped and counted. Reading goes on from memory, and from
the disk as far as it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from catcher.model.event import Event, Series
from catcher.model.health import Health, HealthState
from catcher.model.naming import unknown_topic
from catcher.model.problem import CatcherError
from catcher.model.telemetry import FieldInfo
from catcher.model.time import DAY, MAX_INSTANT, SECOND, Clock, Instant, Span, wall_clock
from catcher.ports import Predicate, StoreAway
from catcher.stores.catalogue import NAME as CATALOGUE
from catcher.stores.catalogue import Catalogue
from catcher.stores.history_block import Block, encoded
from catcher.stores.history_looking import fields_of, newest_of
from catcher.stores.history_reading import Part, series_of
from catcher.stores.history_segments import Segments
from catcher.stores.history_settings import DEFAULT_SIZE
from catcher.stores.history_table import table_of
from catcher.stores.history_tails import Sealed, Tail, Waiting

MOST_UNWRITTEN = 64 * 2**20
"""Bytes of blocks that the disk did not take and that are kept in memory."""
RECENT = 1000
"""Samples in memory that are looked at for the fields of a topic."""
LONGEST_READ = 30.0
LONGEST_CLOSING = 10.0
"""Seconds after which a disk that does not answer is given up."""
UNWRITABLE = (ValueError, TypeError, ArithmeticError, LookupError, MemoryError, RecursionError)
"""What no samples should lead to; if they do, they are dropped, and the next are written."""
Answer = TypeVar("Answer")


class EmbeddedHistory:
    """`ports.History` in a folder, or in memory without one; an async context manager.

    `horizon` is how long a sample is kept after it was written, `max_bytes` how much all may
    take (compressed); whichever is reached first deletes the oldest files. `clock` is the
    engine's. Samples come at most `lateness` behind those of other topics.
    """

    def __init__(
        self,
        folder: Path | None,
        horizon: Span = DAY,
        max_bytes: int = DEFAULT_SIZE,
        clock: Clock = wall_clock,
        lateness: Span = SECOND,
    ) -> None:
        self._clock = clock
        self._lateness = lateness
        self._newest: Instant | None = None
        self.catalogue = Catalogue(folder.parent / CATALOGUE if folder else None)
        self._segments = Segments(folder, max_bytes, horizon)
        self._tails: dict[str, Tail] = {}
        self._waiting = Waiting()
        self._unwritten: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._writing: asyncio.Task[None] | None = None
        self._next_look = 0
        self._since: Instant = 0
        self._last: Instant | None = None
        self._state: HealthState = "starting"
        self._problem = ""
        self._counts = {"samples": 0, "dropped": 0, "too wide": 0}
        self._topics: set[str] = set()

    async def __aenter__(self) -> Self:
        self._since = self._clock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="history-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="history-reader")
        try:
            await self._in(self._writer, self._segments.load)
        except OSError as error:
            self._shut()
            raise CatcherError(
                f"the history in {self._segments.folder} cannot be used: {error.strerror}",
                "choose another folder with --data, or give this user the right to write there",
            ) from None
        self._topics.update(self._segments.topics)
        self._state = "ok"
        self._writing = asyncio.create_task(self._write_out(), name="history")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for topic in list(self._tails):
            self._seal(topic, self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_CLOSING):
                await self._waiting.drained()
                await self._in(self._writer, self._segments.close)
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
        self._counts["dropped"] += sum(len(sealed.events) for sealed in self._waiting)
        self._shut()
        self._state = "ended"

    async def append(self, events: Sequence[Event]) -> None:
        """Keeps samples, in whatever order they come; never raises.

        It waits for a disk that falls behind, and not for one that does not answer.
        """
        now = self._clock()
        for event in events:
            if not -MAX_INSTANT <= event.time <= MAX_INSTANT:
                self._counts["dropped"] += 1
                continue
            tail = self._tails.get(event.topic)
            if tail is None:
                tail = self._tails[event.topic] = Tail(now)
                self._topics.add(event.topic)
            if tail.add(event):
                self._seal(event.topic, now)
            if self._newest is None or event.time > self._newest:
                self._newest = event.time
        self._counts["samples"] += len(events)
        self._last = now
        self._seal_old(now)
        self._counts["dropped"] += await self._waiting.make_room()
        if self._waiting.stuck:
            self._turn("away", "the disk does not answer")

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
        recent = [event for event in self._in_memory(topic) if start <= event.time <= end]
        # In this order: what is written meanwhile is in both, and not in neither.
        not_taken = self._not_taken(topic)
        entries = self._segments.entries(topic, start, end)

        def collect() -> Series:
            parts: list[Part] = [*self._segments.blocks(entries), *not_taken]
            if recent:
                parts.append(table_of(recent))
            series = series_of(topic, parts, fields, start, end, where)
            return self.catalogue.with_units(series)

        if not entries:
            return await asyncio.to_thread(collect)
        reading = self._in(self._reader, collect)
        done, _ = await asyncio.wait({reading}, timeout=LONGEST_READ)
        if not done:
            raise StoreAway("the disk of the history does not answer")
        return reading.result()

    async def newest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """The last `count` samples (with time <= end) that pass, in time order."""
        latest = await self.latest(topic)
        last = latest if end is None or latest is None else min(latest, end)
        return await newest_of(self.read, topic, fields, count, last, where)

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """The fields that the latest samples of a topic have; Unknown where there are none."""
        recent, last = self._in_memory(topic)[-RECENT:], self._segments.last(topic)
        not_taken = self._not_taken(topic)
        entries = [] if last is None else self._segments.entries(topic, last, MAX_INSTANT)

        def collect() -> list[FieldInfo]:
            parts: list[Part] = [*self._segments.blocks(entries[-3:]), *not_taken]
            return fields_of([*parts, table_of(recent)] if recent else parts)

        if not recent and not entries and not not_taken:
            raise unknown_topic(topic, await self.topics(), "the embedded history")
        return self.catalogue.described(topic, await self._in(self._reader, collect))

    def earliest(self, topic: str) -> Instant | None:
        """The time of the first sample that is held; None where there is none."""
        times = [event.time for event in self._in_memory(topic)]
        times += [block.head.first for block in self._not_taken(topic)]
        written = self._segments.first(topic)
        return min(times if written is None else [*times, written], default=None)

    async def watermark(self, topic: str) -> Instant | None:
        """As far as the stream has come; late samples of the topic come within `lateness`."""
        latest = await self.latest(topic)
        around = None if self._newest is None else self._newest - self._lateness
        return max((one for one in (latest, around) if one is not None), default=None)

    def _in_memory(self, topic: str) -> list[Event]:
        """The samples that are in no block yet."""
        waiting = [event for one in self._waiting if one.topic == topic for event in one.events]
        tail = self._tails.get(topic)
        return waiting + tail.events if tail else waiting

    async def topics(self) -> Sequence[str]:
        """The topics that have a sample, sorted."""
        held = {*self._tails, *(one.topic for one in self._waiting), *self._segments.topics}
        with self._lock:
            held |= {Block(data).head.topic for data in self._unwritten}
        self._topics &= held
        return sorted(self._topics)

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample of a topic; None where there is none."""
        times = [event.time for event in self._in_memory(topic)]
        times += [block.head.last for block in self._not_taken(topic)]
        written = self._segments.last(topic)
        return max(times if written is None else [*times, written], default=None)

    def health(self) -> Health:
        """`away` while the disk does not take what is written."""
        counts = {
            **self._counts,
            "waiting": sum(len(one.events) for one in self._waiting),
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
        tail = self._tails.pop(topic)
        self._waiting.put(Sealed(topic, tail.events, tail.cells, now))

    async def _write_out(self) -> None:
        """One block after the other, as the disk takes them."""
        while True:
            sealed = await self._waiting.take()
            try:
                problem = await self._in(self._writer, partial(self._store, sealed))
            except UNWRITABLE as error:
                self._counts["dropped"] += len(sealed.events)
                problem = f"samples of {sealed.topic} cannot be written: {error}"
            self._waiting.done()
            self._turn("away" if problem else "ok", problem)

    def _store(self, sealed: Sealed) -> str:
        """Writes a tail as a block; what the disk does not take waits in memory (own thread).

        Returns what is wrong with the disk.
        """
        table = table_of(sealed.events)
        self._counts["too wide"] += table.lost
        block = encoded(sealed.topic, table, sealed.at)
        with self._lock:
            self._unwritten.append(block)
        try:
            while self._unwritten:
                self._segments.append(self._unwritten[0], sealed.at)
                with self._lock:
                    self._unwritten.popleft()
        except OSError as error:
            self._bound()
            return f"the disk did not take a block: {error.strerror or error}"
        return ""

    def _bound(self) -> None:
        with self._lock:
            while sum(map(len, self._unwritten)) > MOST_UNWRITTEN:
                self._counts["dropped"] += Block(self._unwritten.popleft()).rows

    def _not_taken(self, topic: str) -> list[Block]:
        """The blocks that the disk did not take."""
        with self._lock:
            blocks = [Block(data) for data in self._unwritten]
        return [block for block in blocks if block.head.topic == topic]

    def _turn(self, state: HealthState, problem: str) -> None:
        if self._state != state:
            self._since = self._clock()
        self._state, self._problem = state, problem

    def _shut(self) -> None:
        # A thread that a dead disk holds ends with it; nobody waits for that.
        self._writer.shutdown(wait=False, cancel_futures=True)
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _in(self, thread: Executor, work: Callable[[], Answer]) -> asyncio.Future[Answer]:
        return asyncio.get_running_loop().run_in_executor(thread, work)
