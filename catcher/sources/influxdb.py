"""Events polled from an InfluxDB, for sites that can reach nothing but the EFD.

In `catcher.yaml`:

    sources:
      efd:
        influxdb:
          url: https://usdf-rsp.example/influxdb-enterprise-data
          database: efd
          username: efdreader
          password: "${EFD_PASSWORD}"
          topics: [lsst.sal.ESS.*, lsst.sal.MTCamera.logevent_endReadout]
          every: 5s
          overlap: 1m                  # rows may become readable so late
        clock: wall
        lateness: 30s

Rows become readable late and out of order. So each query reaches back by `overlap`, and a row that
was read before, identified by topic and time, is left out. The position is stored in the ledger
with the state of the rules, so that a restart continues there: what was written meanwhile is read,
ten minutes at a time.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.time import MINUTE, SECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.ports import EventBatch
from catcher.transport.backoff import Backoff
from catcher.transport.kafka.topic_patterns import TopicPatterns, compile_pattern

MAX_QUERY_SPAN: Span = 10 * MINUTE
MAX_CONCURRENT_QUERIES = 4
MAX_SEEN_TIMES = 10_000
"""Maximum number of row times in a position; a restart reads nothing older than them."""
_BATCH_SIZE = 2_000
_MAX_RETRY_DELAY = MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingSettings:
    """Which rows are asked for, where, and how often. The sample is in this module's docstring.

    `first` is how far back the first start of all reaches.
    """

    url: str
    database: str
    topics: tuple[str, ...]
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    retention: str = ""
    every: Span = 5 * SECOND
    overlap: Span = MINUTE
    first: Span = 0
    timeout: Span = 30 * SECOND

    def __post_init__(self) -> None:
        TopicPatterns(self.topics)
        if not SECOND // 10 <= self.every <= 60 * MINUTE or not 0 <= self.overlap <= 60 * MINUTE:
            raise CatcherError(
                "`every` is 100ms to 1h, `overlap` up to 1h", "write every: 5s, overlap: 1m"
            )


class EventStore(Protocol):
    """A telemetry store that can be read as events."""

    async def list_topics(self) -> Sequence[str]: ...
    def read_events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]: ...


@dataclass
class PollProgress:
    """How far one topic has been read: rows no later than `floor` are ignored."""

    read_until: Instant
    floor: Instant = 0
    seen_times: set[Instant] = field(default_factory=set)

    def filter_unseen_events(self, events: Sequence[Event]) -> list[Event]:
        """Returns the new events; they count as seen from now on."""
        new_events = [
            event
            for event in events
            if event.time > self.floor and event.time not in self.seen_times
        ]
        self.seen_times.update(event.time for event in new_events)
        return new_events

    def mark_read_until(self, until: Instant, overlap: Span) -> None:
        """Records that all before `until` was read; forgets what is older than the overlap."""
        self.read_until = max(self.read_until, until)
        self.floor = max(self.floor, self.read_until - overlap)
        self.seen_times = {time for time in self.seen_times if time > self.floor}


class PollingSource:
    """The rows of a store as a source (`ports.Source`); `store` is opened with it."""

    def __init__(
        self, name: str, settings: PollingSettings, clock: Clock,
        store: AbstractAsyncContextManager[EventStore], position: str = "",
    ) -> None:  # fmt: skip
        self._name = name
        self._settings = settings
        self._clock = clock
        self._store = store
        self._progress = parse_position(position)
        self._patterns = [compile_pattern(pattern) for pattern in settings.topics]
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"polls": 0, "events": 0, "repeated": 0}

    @property
    def name(self) -> str:
        """The name in the site's configuration."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[EventBatch]]:
        """Polls from the first requested batch on, at the interval `every`."""
        return self._open_batches()

    def health(self) -> Health:
        """Returns the health: unavailable while the store is; an unmatched pattern is a problem."""
        counts = {**self._counts, "topics": len(self._progress)}
        return Health(
            self._name, "influxdb", self._state, self._since, self._last, self._problem, counts
        )

    @asynccontextmanager
    async def _open_batches(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        async with self._store as store:
            try:
                async with aclosing(self._iter_batches(store)) as batches:
                    yield batches
            finally:
                self._set_state("ended")

    async def _iter_batches(self, store: EventStore) -> AsyncGenerator[EventBatch, None]:
        backoff, started = Backoff(self._settings.every, _MAX_RETRY_DELAY), self._clock()
        while True:
            try:
                events, has_more = await self._poll_topics(store, started)
            except CatcherError as error:
                self._set_state("away", str(error))
                await backoff.wait()
                continue
            backoff.reset()
            for start in range(0, len(events), _BATCH_SIZE):
                chunk = events[start : start + _BATCH_SIZE]
                is_last = start + _BATCH_SIZE >= len(events)
                yield EventBatch(
                    self._name, chunk, position=format_position(self._progress) if is_last else ""
                )
            if not has_more:
                await asyncio.sleep(nanoseconds_to_seconds(self._settings.every))

    async def _poll_topics(self, store: EventStore, started: Instant) -> tuple[list[Event], bool]:
        """Returns the new rows in time order, and whether more are known to wait."""
        settings, now = self._settings, self._clock()
        all_topics = await store.list_topics()
        topics = [
            name
            for name in all_topics
            if any(pattern.fullmatch(name) for pattern in self._patterns)
        ]
        unmatched = [
            pattern_text
            for pattern_text, pattern in zip(settings.topics, self._patterns, strict=True)
            if not any(map(pattern.fullmatch, topics))
        ]
        for topic in topics:
            # A topic that is new now began after this source.
            first = started - settings.first
            self._progress.setdefault(topic, PollProgress(first, first))
        progress = {topic: self._progress[topic] for topic in topics}
        semaphore = asyncio.Semaphore(MAX_CONCURRENT_QUERIES)
        query_ends = {
            topic: min(now, topic_progress.read_until + MAX_QUERY_SPAN)
            for topic, topic_progress in progress.items()
        }

        async def read_topic(topic: str) -> list[Event]:
            start = max(progress[topic].floor, progress[topic].read_until - settings.overlap)
            async with semaphore:
                return await _read_events(store, topic, start, max(start, query_ends[topic]))

        results = await asyncio.gather(*map(read_topic, topics))
        new_events = []
        for topic, events in zip(topics, results, strict=True):
            new_events.append(progress[topic].filter_unseen_events(events))
            progress[topic].mark_read_until(query_ends[topic], settings.overlap)
            self._counts["repeated"] += len(events) - len(new_events[-1])
        merged = [
            event._replace(source=self._name)
            for event in heapq.merge(*new_events, key=_get_event_time)
        ]
        self._counts["polls"] += 1
        self._counts["events"] += len(merged)
        self._last = now if merged else self._last
        message = f"{settings.database} has no topic that fits {', '.join(unmatched[:5])}"
        self._set_state("ok", message if unmatched else "")
        return merged, any(end < now for end in query_ends.values())

    def _set_state(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


def _get_event_time(event: Event) -> Instant:
    return event.time


async def _read_events(store: EventStore, topic: str, start: Instant, end: Instant) -> list[Event]:
    return [event async for batch in store.read_events(topic, start, end) for event in batch]


def format_position(progress: dict[str, PollProgress]) -> str:
    """Formats how far each topic was read, with the latest rows that a query would return again."""
    times = heapq.nlargest(
        MAX_SEEN_TIMES,
        (time for topic_progress in progress.values() for time in topic_progress.seen_times),
    )
    cutoff = times[-1] - 1 if len(times) == MAX_SEEN_TIMES else 0
    rows = {
        topic: [
            topic_progress.read_until,
            max(topic_progress.floor, cutoff),
            sorted(seen_time for seen_time in topic_progress.seen_times if seen_time > cutoff),
        ]
        for topic, topic_progress in progress.items()
    }
    return msgspec.json.encode(rows).decode()


def parse_position(text: str) -> dict[str, PollProgress]:
    """Parses a position; empty if it is unreadable."""
    try:
        rows = msgspec.json.decode(text or "{}", type=dict[str, tuple[int, int, list[int]]])
    except msgspec.MsgspecError:
        return {}
    return {
        topic: PollProgress(read_until, floor, set(seen_times))
        for topic, (read_until, floor, seen_times) in rows.items()
    }
