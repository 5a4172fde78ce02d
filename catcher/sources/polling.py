"""Events from an InfluxDB that is asked again and again, where nothing but the EFD can be reached.

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

Rows become readable late and out of order. So each question reaches back by `overlap`, and a row
that came before, known by its topic and time, is left out. How far it came is kept in the ledger
with the state of the rules, so that a restart goes on there: what was written meanwhile is read,
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

from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.time import MINUTE, SECOND, Clock, Instant, Span, to_seconds
from catcher.ports import Delivery
from catcher.sources.backoff import Backoff
from catcher.sources.topic_patterns import TopicPatterns, shape

SLICE: Span = 10 * MINUTE
SIDE_BY_SIDE = 4
MOST_SEEN = 10_000
"""How many times of rows a position holds; of what came before them a restart reads nothing."""
_BATCH = 2_000
_LONGEST = MINUTE


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


class Readable(Protocol):
    """A store of telemetry that gives it back as events."""

    async def topics(self) -> Sequence[str]: ...
    def events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]: ...


@dataclass
class Reached:
    """How far one topic has been read: what is older than `floor` is not looked at."""

    until: Instant
    floor: Instant = 0
    seen: set[Instant] = field(default_factory=set)

    def new(self, events: Sequence[Event]) -> list[Event]:
        """The events that have not come before; they count as seen from now on."""
        fresh = [one for one in events if one.time > self.floor and one.time not in self.seen]
        self.seen.update(one.time for one in fresh)
        return fresh

    def advance(self, until: Instant, overlap: Span) -> None:
        """All before `until` was asked for; what is older than the overlap is forgotten."""
        self.until = max(self.until, until)
        self.floor = max(self.floor, self.until - overlap)
        self.seen = {time for time in self.seen if time > self.floor}


class PollingSource:
    """The rows of a store as a source (`ports.Source`); `store` has a lifetime of its own."""

    def __init__(
        self, name: str, settings: PollingSettings, clock: Clock,
        store: AbstractAsyncContextManager[Readable], position: str = "",
    ) -> None:  # fmt: skip
        self._name = name
        self._settings = settings
        self._clock = clock
        self._store = store
        self._reached = parse_position(position)
        self._shapes = [shape(one) for one in settings.topics]
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"polls": 0, "events": 0, "repeated": 0}

    @property
    def name(self) -> str:
        """The name that the site gives it."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Asks when the first delivery is asked for, and every so often from then on."""
        return self._opened()

    def health(self) -> Health:
        """`away` while the store does not answer; a pattern that fits no topic is a problem."""
        counts = {**self._counts, "topics": len(self._reached)}
        return Health(
            self._name, "influxdb", self._state, self._since, self._last, self._problem, counts
        )

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        async with self._store as store:
            try:
                async with aclosing(self._deliveries(store)) as deliveries:
                    yield deliveries
            finally:
                self._become("ended")

    async def _deliveries(self, store: Readable) -> AsyncGenerator[Delivery, None]:
        backoff, begun = Backoff(self._settings.every, _LONGEST), self._clock()
        while True:
            try:
                events, behind = await self._poll(store, begun)
            except CatcherError as trouble:
                self._become("away", str(trouble))
                await backoff.wait()
                continue
            backoff.reset()
            for start in range(0, len(events), _BATCH):
                some = events[start : start + _BATCH]
                last = start + _BATCH >= len(events)
                yield Delivery(
                    self._name, some, position=format_position(self._reached) if last else ""
                )
            if not behind:
                await asyncio.sleep(to_seconds(self._settings.every))

    async def _poll(self, store: Readable, begun: Instant) -> tuple[list[Event], bool]:
        """The rows that are new, in the order of time, and whether more are known to wait."""
        settings, now = self._settings, self._clock()
        known = await store.topics()
        topics = [one for one in known if any(shape.fullmatch(one) for shape in self._shapes)]
        unfit = [
            text
            for text, form in zip(settings.topics, self._shapes, strict=True)
            if not any(map(form.fullmatch, topics))
        ]
        for topic in topics:
            # A topic that is new now began after us.
            first = begun - settings.first
            self._reached.setdefault(topic, Reached(first, first))
        places = {topic: self._reached[topic] for topic in topics}
        limit = asyncio.Semaphore(SIDE_BY_SIDE)
        ends = {topic: min(now, place.until + SLICE) for topic, place in places.items()}

        async def read(topic: str) -> list[Event]:
            start = max(places[topic].floor, places[topic].until - settings.overlap)
            async with limit:
                return await _read(store, topic, start, max(start, ends[topic]))

        found = await asyncio.gather(*map(read, topics))
        lanes = []
        for topic, events in zip(topics, found, strict=True):
            lanes.append(places[topic].new(events))
            places[topic].advance(ends[topic], settings.overlap)
            self._counts["repeated"] += len(events) - len(lanes[-1])
        fresh = [one._replace(source=self._name) for one in heapq.merge(*lanes, key=_time)]
        self._counts["polls"] += 1
        self._counts["events"] += len(fresh)
        self._last = now if fresh else self._last
        words = f"{settings.database} has no topic that fits {', '.join(unfit[:5])}"
        self._become("ok", words if unfit else "")
        return fresh, any(end < now for end in ends.values())

    def _become(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


def _time(event: Event) -> Instant:
    return event.time


async def _read(store: Readable, topic: str, start: Instant, end: Instant) -> list[Event]:
    return [one async for batch in store.events(topic, start, end) for one in batch]


def format_position(reached: dict[str, Reached]) -> str:
    """How far each topic came, with the latest rows that a question would bring again."""
    times = heapq.nlargest(
        MOST_SEEN, (time for place in reached.values() for time in place.seen)
    )  # fmt: skip
    edge = times[-1] - 1 if len(times) == MOST_SEEN else 0
    rows = {
        topic: [place.until, max(place.floor, edge), sorted(t for t in place.seen if t > edge)]
        for topic, place in reached.items()
    }
    return msgspec.json.encode(rows).decode()


def parse_position(text: str) -> dict[str, Reached]:
    """The same back; nothing of what cannot be read."""
    try:
        rows = msgspec.json.decode(text or "{}", type=dict[str, tuple[int, int, list[int]]])
    except msgspec.MsgspecError:
        return {}
    return {topic: Reached(until, floor, set(seen)) for topic, (until, floor, seen) in rows.items()}
