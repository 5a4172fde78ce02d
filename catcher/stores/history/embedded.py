"""The embedded history: the last hours of the topics that rules use, in files of a folder.

    stores:
      history: embedded        # or {embedded: {horizon: 48h, size: 10GB}}

Samples are buffered in memory per topic, and written to disk as compressed blocks of columns
(`segments.py`) once a buffer is large or old enough. A reader sees both. Telemetry that was not yet
written is lost with the process; what was written is read again after a crash, except a block that
the crash cut short.

A disk that is full, fails or hangs never blocks the producer: samples wait in memory up to a limit,
beyond which the oldest are dropped and counted. Reading continues from memory, and from the disk as
far as it responds.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from catcher.model.errors import CatcherError
from catcher.model.event import Event, Series
from catcher.model.health import Health, HealthState
from catcher.model.suggestions import build_unknown_topic_error
from catcher.model.telemetry import FieldInfo, Size
from catcher.model.time import DAY, MAX_INSTANT, MINUTE, SECOND, Clock, Instant, Span, wall_clock
from catcher.ports import Predicate, StoreUnavailable
from catcher.stores.history.block import Block, encode_block
from catcher.stores.history.columns import events_to_table
from catcher.stores.history.merge_read import SampleBatch, merge_batches_to_series
from catcher.stores.history.queries import infer_fields, read_newest_samples
from catcher.stores.history.segments import Segments
from catcher.stores.history.write_buffer import FlushQueue, SealedBuffer, TopicBuffer
from catcher.stores.topic_catalog import CATALOG_FILE as CATALOGUE
from catcher.stores.topic_catalog import TopicCatalog

# How much the embedded history stores.


DEFAULT_SIZE = 2 * 2**30
MIN_SIZE = 10**6


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """How long samples are kept (from when they were written), and how much of the disk."""

    horizon: Span = DAY
    size: Size = DEFAULT_SIZE

    def __post_init__(self) -> None:
        if self.horizon < MINUTE or self.size < MIN_SIZE:
            raise CatcherError(
                "a history is kept for at least 1m and in at least 1MB", "raise horizon or size"
            )


MAX_UNWRITTEN_BYTES = 64 * 2**20
"""Bytes of blocks that the disk rejected and that are held in memory."""
RECENT_SAMPLES = 1000
"""Samples in memory that are examined for the fields of a topic."""
READ_TIMEOUT = 30.0
CLOSE_TIMEOUT = 10.0
"""Seconds to wait for a disk that does not respond, for a read and on closing."""
ENCODING_ERRORS = (ValueError, TypeError, ArithmeticError, LookupError, MemoryError, RecursionError)
"""Not expected from any sample; if raised, its buffer is dropped and the next one is written."""
ResultT = TypeVar("ResultT")


class EmbeddedHistory:
    """`ports.History` in a folder, or in memory without one; an async context manager.

    `horizon` is how long a sample is stored after it was written, `max_bytes` the total size
    (compressed); whichever is reached first deletes the oldest files. `clock` is the engine's.
    Samples arrive at most `lateness` behind those of other topics.
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
        self._newest_time: Instant | None = None
        self.catalog = TopicCatalog(folder.parent / CATALOGUE if folder else None)
        self._segments = Segments(folder, max_bytes, horizon)
        self._buffers: dict[str, TopicBuffer] = {}
        self._flush_queue = FlushQueue()
        self._unwritten_blocks: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._flush_task: asyncio.Task[None] | None = None
        self._next_seal_check = 0
        self._since: Instant = 0
        self._last: Instant | None = None
        self._state: HealthState = "starting"
        self._problem = ""
        self._counts = {"samples": 0, "dropped": 0, "too wide": 0}
        self._known_topics: set[str] = set()

    async def __aenter__(self) -> Self:
        self._since = self._clock()
        self._write_executor = ThreadPoolExecutor(1, thread_name_prefix="history-writer")
        self._read_executor = ThreadPoolExecutor(1, thread_name_prefix="history-reader")
        try:
            await self._run_in_executor(self._write_executor, self._segments.load)
        except OSError as error:
            self._shutdown_executors()
            raise CatcherError(
                f"the history in {self._segments.folder} cannot be used: {error.strerror}",
                "choose another folder with --data, or give this user the right to write there",
            ) from None
        self._known_topics.update(self._segments.topics)
        self._state = "ok"
        self._flush_task = asyncio.create_task(self._flush_loop(), name="history")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for topic in list(self._buffers):
            self._seal_buffer(topic, self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._flush_queue.wait_until_empty()
                await self._run_in_executor(self._write_executor, self._segments.close_open_file)
        if self._flush_task is not None:
            self._flush_task.cancel()
            await asyncio.wait({self._flush_task})
        self._counts["dropped"] += sum(len(sealed.events) for sealed in self._flush_queue)
        self._shutdown_executors()
        self._state = "ended"

    async def append(self, events: Sequence[Event]) -> None:
        """Stores samples, in any order; never raises.

        Waits for a disk that falls behind, but not for one that does not respond.
        """
        now = self._clock()
        for event in events:
            if not -MAX_INSTANT <= event.time <= MAX_INSTANT:
                self._counts["dropped"] += 1
                continue
            buffer = self._buffers.get(event.topic)
            if buffer is None:
                buffer = self._buffers[event.topic] = TopicBuffer(now)
                self._known_topics.add(event.topic)
            if buffer.add_event(event):
                self._seal_buffer(event.topic, now)
            if self._newest_time is None or event.time > self._newest_time:
                self._newest_time = event.time
        self._counts["samples"] += len(events)
        self._last = now
        self._seal_expired_buffers(now)
        self._counts["dropped"] += await self._flush_queue.wait_for_space_or_drop()
        if self._flush_queue.is_stalled:
            self._set_state("away", "the disk does not answer")

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """Returns samples with start <= time <= end in time order; all numeric fields if none is
        named.

        A list is read as `name0 … nameN`, a nested field as `name.key`, a boolean as 0 or 1.
        Samples with the same time and fields are one. Raises StoreUnavailable if the disk does not
        respond.
        """
        recent = [
            event for event in self._list_unflushed_events(topic) if start <= event.time <= end
        ]
        # In this order, so that what is written meanwhile is in both rather than in neither.
        unwritten = self._list_unwritten_blocks(topic)
        entries = self._segments.list_overlapping_entries(topic, start, end)

        def collect_series() -> Series:
            batches: list[SampleBatch] = [*self._segments.read_blocks(entries), *unwritten]
            if recent:
                batches.append(events_to_table(recent))
            series = merge_batches_to_series(topic, batches, fields, start, end, where)
            return self.catalog.add_series_units(series)

        if not entries:
            return await asyncio.to_thread(collect_series)
        read_future = self._run_in_executor(self._read_executor, collect_series)
        done, _ = await asyncio.wait({read_future}, timeout=READ_TIMEOUT)
        if not done:
            raise StoreUnavailable("the disk of the history does not answer")
        return read_future.result()

    async def read_latest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """Returns the last `count` matching samples (with time <= end), in time order."""
        latest = await self.find_latest_time(topic)
        last = latest if end is None or latest is None else min(latest, end)
        return await read_newest_samples(self.read, topic, fields, count, last, where)

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the fields of a topic's latest samples. Raises an unknown-topic error if there
        are none.
        """
        recent, last_time = (
            self._list_unflushed_events(topic)[-RECENT_SAMPLES:],
            self._segments.latest_sample_time(topic),
        )
        unwritten = self._list_unwritten_blocks(topic)
        entries = (
            []
            if last_time is None
            else self._segments.list_overlapping_entries(topic, last_time, MAX_INSTANT)
        )

        def collect_fields() -> list[FieldInfo]:
            batches: list[SampleBatch] = [*self._segments.read_blocks(entries[-3:]), *unwritten]
            return infer_fields([*batches, events_to_table(recent)] if recent else batches)

        if not recent and not entries and not unwritten:
            raise build_unknown_topic_error(topic, await self.list_topics(), "the embedded history")
        return self.catalog.enrich_fields(
            topic, await self._run_in_executor(self._read_executor, collect_fields)
        )

    def earliest_time(self, topic: str) -> Instant | None:
        """Returns the time of the first stored sample; None if there is none."""
        times = [event.time for event in self._list_unflushed_events(topic)]
        times += [block.header.first for block in self._list_unwritten_blocks(topic)]
        on_disk = self._segments.earliest_sample_time(topic)
        return min(times if on_disk is None else [*times, on_disk], default=None)

    async def get_watermark(self, topic: str) -> Instant | None:
        """Returns how far the stream has come; a topic's late samples arrive within `lateness`."""
        latest = await self.find_latest_time(topic)
        stream_time = None if self._newest_time is None else self._newest_time - self._lateness
        return max((time for time in (latest, stream_time) if time is not None), default=None)

    def _list_unflushed_events(self, topic: str) -> list[Event]:
        """Returns the samples that are in no block yet."""
        sealed_events = [
            event
            for sealed in self._flush_queue
            if sealed.topic == topic
            for event in sealed.events
        ]
        buffer = self._buffers.get(topic)
        return sealed_events + buffer.events if buffer else sealed_events

    async def list_topics(self) -> Sequence[str]:
        """Returns the topics that have a sample, sorted."""
        current = {
            *self._buffers,
            *(sealed.topic for sealed in self._flush_queue),
            *self._segments.topics,
        }
        with self._lock:
            current |= {Block(data).header.topic for data in self._unwritten_blocks}
        self._known_topics &= current
        return sorted(self._known_topics)

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last sample of a topic; None if there is none."""
        times = [event.time for event in self._list_unflushed_events(topic)]
        times += [block.header.last for block in self._list_unwritten_blocks(topic)]
        on_disk = self._segments.latest_sample_time(topic)
        return max(times if on_disk is None else [*times, on_disk], default=None)

    def health(self) -> Health:
        """Returns the health: unavailable while the disk rejects what is written."""
        counts = {
            **self._counts,
            "waiting": sum(len(sealed.events) for sealed in self._flush_queue),
            "segments": self._segments.segment_count,
            "bytes": self._segments.total_bytes,
            "removed": self._segments.removed_files,
            "torn": self._segments.corrupt_blocks,
        }
        return Health(
            "history", "history", self._state, self._since, self._last, self._problem, counts
        )

    def _seal_expired_buffers(self, now: Instant) -> None:
        if now < self._next_seal_check and self._next_seal_check - now <= SECOND:
            return
        self._next_seal_check = now + SECOND
        for topic in [name for name, buffer in self._buffers.items() if buffer.is_expired(now)]:
            self._seal_buffer(topic, now)

    def _seal_buffer(self, topic: str, now: Instant) -> None:
        buffer = self._buffers.pop(topic)
        self._flush_queue.put(SealedBuffer(topic, buffer.events, buffer.cell_count, now))

    async def _flush_loop(self) -> None:
        """Writes the sealed buffers one after another."""
        while True:
            sealed = await self._flush_queue.wait_for_oldest()
            try:
                problem = await self._run_in_executor(
                    self._write_executor, partial(self._write_buffer, sealed)
                )
            except ENCODING_ERRORS as error:
                self._counts["dropped"] += len(sealed.events)
                problem = f"samples of {sealed.topic} cannot be written: {error}"
            self._flush_queue.remove_oldest()
            self._set_state("away" if problem else "ok", problem)

    def _write_buffer(self, sealed: SealedBuffer) -> str:
        """Writes a buffer as a block, on the writer thread; what the disk rejects waits in memory.

        Returns the problem with the disk, empty if there is none.
        """
        table = events_to_table(sealed.events)
        self._counts["too wide"] += table.dropped_cells
        block = encode_block(sealed.topic, table, sealed.sealed_at)
        with self._lock:
            self._unwritten_blocks.append(block)
        try:
            while self._unwritten_blocks:
                self._segments.append_block(self._unwritten_blocks[0], sealed.sealed_at)
                with self._lock:
                    self._unwritten_blocks.popleft()
        except OSError as error:
            self._trim_unwritten_blocks()
            return f"the disk did not take a block: {error.strerror or error}"
        return ""

    def _trim_unwritten_blocks(self) -> None:
        with self._lock:
            while sum(map(len, self._unwritten_blocks)) > MAX_UNWRITTEN_BYTES:
                self._counts["dropped"] += Block(self._unwritten_blocks.popleft()).row_count

    def _list_unwritten_blocks(self, topic: str) -> list[Block]:
        """Returns the blocks that the disk rejected."""
        with self._lock:
            blocks = [Block(data) for data in self._unwritten_blocks]
        return [block for block in blocks if block.header.topic == topic]

    def _set_state(self, state: HealthState, problem: str) -> None:
        if self._state != state:
            self._since = self._clock()
        self._state, self._problem = state, problem

    def _shutdown_executors(self) -> None:
        # A thread that a dead disk blocks ends with it; do not wait for that.
        self._write_executor.shutdown(wait=False, cancel_futures=True)
        self._read_executor.shutdown(wait=False, cancel_futures=True)

    def _run_in_executor(
        self, executor: Executor, func: Callable[[], ResultT]
    ) -> asyncio.Future[ResultT]:
        return asyncio.get_running_loop().run_in_executor(executor, func)
