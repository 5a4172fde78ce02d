"""Which events are let in, in which order, and how far time has come at each source.

Pure: the present wall instant is an argument. What is let in, and in which order, is what a
recording keeps; everything after it is a function of that.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Literal

from catcher.model.event import Admitted, Event
from catcher.model.time import SECOND, Instant, Span
from catcher.watching.marks import mark_of

REMEMBERED = 8_192
MOST_TOPICS = 50_000
MOST_BUFFERED = 100_000
SUSPECT_PATIENCE = SECOND
"""After so long a silence of its source a lone event far ahead is believed."""


@dataclass(frozen=True, slots=True)
class SourceClock:
    """How the time of a source is told.

    `wall`: by this machine's clock. `stream`: by the greatest plausible event time, plus the
    wall time since. `lateness` delays timers, `reorder` buffers events so that those which come
    late by less are put in order, `max_ahead` is how far in the future an event may be.
    """

    clock: Literal["wall", "stream"] = "wall"
    lateness: Span = SECOND
    reorder: Span = 0
    max_ahead: Span = 5 * SECOND


@dataclass(frozen=True, slots=True)
class SetAside:
    """An event that was not let in, and why."""

    event: Event
    reason: str
    time: Instant


class Admission:
    """The door of all sources; one without a clock of its own has the default one."""

    def __init__(self, clocks: Mapping[str, SourceClock]) -> None:
        self.set_aside: deque[SetAside] = deque(maxlen=100)
        self._doors = {name: _Door(name, clock, self.set_aside) for name, clock in clocks.items()}

    def _door(self, source: str) -> _Door:
        if source not in self._doors:
            self._doors[source] = _Door(source, SourceClock(), self.set_aside)
        return self._doors[source]

    def admit(self, source: str, events: Sequence[Event], now: Instant) -> list[Admitted]:
        """The events that are let in now, in their order; they bear the source's name."""
        door, out = self._door(source), list[Admitted]()
        for event in events:
            named = event if event.source == source else event._replace(source=source)
            door.take(named, now, out)
        return out

    def tick(self, now: Instant) -> list[Admitted]:
        """What was held back and need wait no longer, as wall time has passed."""
        out: list[Admitted] = []
        for door in self._doors.values():
            door.tick(now, out)
        return out

    def flush(self, source: str | None = None) -> list[Admitted]:
        """All that is held back: the source, or every one, has ended."""
        out: list[Admitted] = []
        for name, door in self._doors.items():
            if source is None or name == source:
                door.flush(out)
        return out

    def watermarks(self, now: Instant) -> dict[str, Instant]:
        """How far time has come at each source; 0 where nobody knows yet."""
        return {name: door.watermark(now) or 0 for name, door in self._doors.items()}

    def counts(self, source: str) -> dict[str, int]:
        """Events admitted, duplicates, late, ahead, overflowed, and held back at present."""
        return self._door(source).figures()

    def last(self, source: str) -> Instant | None:
        """The greatest time that was let in."""
        return self._door(source).greatest

    def held_back(self, source: str) -> int:
        """How many events wait to be let in; what waits is not in the inbox yet."""
        return self._door(source).waiting


class _Door:
    """The admission of one source."""

    def __init__(self, name: str, clock: SourceClock, set_aside: deque[SetAside]) -> None:
        self.clock = clock
        self.greatest: Instant | None = None
        self._name = name
        self._set_aside = set_aside
        self._counts: Counter[str] = Counter()
        self._seen: OrderedDict[tuple[str, Instant], list[Any]] = OrderedDict()
        self._topics: dict[str, Instant] = {}
        self._suspect: tuple[Event, Instant] | None = None
        self._moved: Instant = 0
        self._buffer: list[tuple[Instant, int, Event, bool]] = []
        self._order = 0

    @property
    def waiting(self) -> int:
        """How many events are held back."""
        return len(self._buffer) + (self._suspect is not None)

    def figures(self) -> dict[str, int]:
        """The counts, all of them named."""
        names = ("admitted", "duplicates", "late", "ahead", "overflowed")
        return {**{name: self._counts[name] for name in names}, "held_back": self.waiting}

    # -- one event --------------------------------------------------------------------------

    def take(self, event: Event, now: Instant, out: list[Admitted]) -> None:
        """Judges an event against the clock."""
        if self._beyond(event, now):
            self._refuse(event, now)
            return
        if self.clock.clock == "wall":
            self._let_in(event, now, out)
            return
        self._judge_suspect(event, now, out)
        if self._jumps(event, now):
            self._suspect = (event, now)
        else:
            self._let_in(event, now, out)

    def _beyond(self, event: Event, now: Instant) -> bool:
        """Whether it is ahead of the wall clock, in a source that itself is not.

        A stream that is told by its own clock may lie in the future as a whole, as in a test.
        """
        edge = now + self.clock.max_ahead
        if event.time <= edge or self.clock.clock == "wall":
            return event.time > edge
        return self.greatest is not None and self.greatest <= edge

    def _refuse(self, event: Event, now: Instant) -> None:
        self._counts["ahead"] += 1
        self._set_aside.append(SetAside(event, f"{self._name}: too far in the future", now))

    def _jumps(self, event: Event, now: Instant) -> bool:
        clock = self._time(now)
        return clock is not None and event.time > clock + self.clock.max_ahead

    def _judge_suspect(self, event: Event, now: Instant, out: list[Admitted]) -> None:
        """A lone event far ahead was a mistake if the next falls back behind it."""
        if self._suspect is None:
            return
        suspect, _ = self._suspect
        self._suspect = None
        if event.time >= suspect.time - self.clock.max_ahead:
            self._let_in(suspect, now, out)
        else:
            self._refuse(suspect, now)

    def _let_in(self, event: Event, now: Instant, out: list[Admitted]) -> None:
        if self._repeats(event):
            self._counts["duplicates"] += 1
            return
        if self.greatest is None or event.time > self.greatest:
            self.greatest, self._moved = event.time, now
        late = self._late(event)
        if self.clock.reorder == 0 or late:
            self._release(event, late, out)
            return
        self._order += 1
        heappush(self._buffer, (event.time, self._order, event, late))
        self._release_until(self.greatest - self.clock.reorder, out)
        while len(self._buffer) > MOST_BUFFERED:
            self._counts["overflowed"] += 1
            self._release(heappop(self._buffer)[2], False, out)

    def _late(self, event: Event) -> bool:
        latest = self._topics.get(event.topic)
        if latest is None or event.time > latest:
            if latest is None and len(self._topics) >= MOST_TOPICS:
                del self._topics[next(iter(self._topics))]
            self._topics[event.topic] = event.time
            return False
        return event.time < latest - self.clock.reorder

    def _release(self, event: Event, late: bool, out: list[Admitted]) -> None:
        self._counts["admitted"] += 1
        self._counts["late"] += late
        out.append(Admitted(event, late))

    def _release_until(self, instant: Instant, out: list[Admitted]) -> None:
        while self._buffer and self._buffer[0][0] <= instant:
            _, _, event, late = heappop(self._buffer)
            self._release(event, late, out)

    def _repeats(self, event: Event) -> bool:
        """Whether an event of the same topic, time and fields came before, as far as known."""
        key = event.topic, event.time
        known = self._seen.get(key)
        if known is None:
            self._seen[key] = [_remembered(event)]
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            return False
        mark = mark_of(event)
        for index, one in enumerate(known):
            if isinstance(one, Event):
                known[index] = mark_of(one)
        if mark in known:
            return True
        known.append(mark)
        return False

    # -- time -------------------------------------------------------------------------------

    def _time(self, now: Instant) -> Instant | None:
        if self.clock.clock == "wall":
            return now
        if self.greatest is None:
            return None
        return self.greatest + max(0, now - self._moved)

    def watermark(self, now: Instant) -> Instant | None:
        """The clock less lateness and buffering; never past an event that is held back."""
        clock = self._time(now)
        if clock is None:
            return None
        mark = clock - self.clock.lateness - self.clock.reorder
        return min(mark, self._buffer[0][0]) if self._buffer else mark

    def tick(self, now: Instant, out: list[Admitted]) -> None:
        """Lets in what idle wall time has covered."""
        if self._suspect is not None and now - self._suspect[1] >= SUSPECT_PATIENCE:
            suspect, self._suspect = self._suspect[0], None
            self._let_in(suspect, now, out)
        clock = self._time(now)
        if clock is not None and self._buffer:
            self._release_until(clock - self.clock.lateness - self.clock.reorder, out)

    def flush(self, out: list[Admitted]) -> None:
        """Lets all in."""
        if self._suspect is not None:
            (suspect, seen), self._suspect = self._suspect, None
            self._let_in(suspect, seen, out)
        while self._buffer:
            _, _, event, late = heappop(self._buffer)
            self._release(event, late, out)


def _remembered(event: Event) -> Event | str:
    """The event itself where it is small, else its digest: a digest costs more than a field."""
    small = len(event.fields) <= 64 and not any(
        isinstance(value, list | dict) or (isinstance(value, str) and len(value) > 1_000)
        for value in event.fields.values()
    )
    return event if small else mark_of(event)
