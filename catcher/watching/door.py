"""The admission of one source: its clock, what it let in, and what it holds back."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal

import numpy as np
import numpy.typing as npt

from catcher.model.event import Admitted, Event
from catcher.model.time import SECOND, Instant, Span
from catcher.watching.recent import Recent
from catcher.watching.stretches import InOrder, columns_of

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


class Door:
    """The admission of one source."""

    def __init__(self, name: str, clock: SourceClock, set_aside: deque[SetAside]) -> None:
        self.clock = clock
        self.greatest: Instant | None = None
        self._name = name
        self._set_aside = set_aside
        self._counts: Counter[str] = Counter()
        self._recent = Recent()
        self._topics: dict[str, Instant] = {}
        self._suspect: tuple[Event, Instant] | None = None
        self._moved: Instant = 0
        self._buffer: list[tuple[Instant, int, Event, bool]] = []
        self._order = 0

    @property
    def waiting(self) -> int:
        """How many events are held back."""
        return len(self._buffer) + (self._suspect is not None)

    def held(self) -> Iterator[Event]:
        """The events that are held back."""
        yield from (entry[2] for entry in self._buffer)
        if self._suspect is not None:
            yield self._suspect[0]

    def repeated(self) -> None:
        """An event that came before."""
        self._counts["duplicates"] += 1

    def figures(self) -> dict[str, int]:
        """The counts, all of them named."""
        names = ("admitted", "duplicates", "late", "ahead", "overflowed")
        return {**{name: self._counts[name] for name in names}, "held_back": self.waiting}

    # -- events in order --------------------------------------------------------------------

    def take_in_order(self, events: Sequence[Event], now: Instant) -> InOrder | None:
        """Lets in events each of which is newer than all before it; None: look at each alone."""
        if self.greatest is None or self.clock.reorder or self._suspect or self._buffer:
            return None
        topics, times, fields, sources = columns_of(events)
        if times[0] <= self.greatest or len(self._topics) + len(events) > MOST_TOPICS:
            return None
        try:
            stamps = np.array(times, dtype=np.int64)
        except OverflowError:
            return None
        steps = np.diff(stamps)
        if int(steps.min(initial=1)) <= 0 or not self._plausible(times, steps, now):
            return None
        if sources.count(self._name) != len(events):
            events = [Event(*one[:3], self._name) for one in events]
        if topics.count(topics[0]) == len(topics):
            self._topics[topics[0]] = times[-1]
        else:
            self._topics.update(zip(topics, times, strict=True))
        self.greatest, self._moved = times[-1], now
        self._recent.extend(events, fields)
        self._counts["admitted"] += len(events)
        return InOrder(events, topics, stamps, fields)

    def _plausible(
        self, times: Sequence[Instant], steps: npt.NDArray[np.int64], now: Instant
    ) -> bool:
        """Whether none of some rising times is too far ahead of those before it."""
        ahead, clock = self.clock.max_ahead, self._time(now)
        if clock is None or self.greatest is None:
            return False
        edge = now + ahead
        if self.clock.clock == "wall":
            return times[-1] <= edge
        if times[0] > clock + ahead or (times[-1] > edge and self.greatest <= edge):
            return False
        return int(steps.max(initial=0)) <= ahead

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
        latest = self._topics.get(event.topic)
        if latest is not None and event.time > latest:
            self._recent.add(event)
        elif self._recent.repeats(event):
            self._counts["duplicates"] += 1
            return
        if self.greatest is None or event.time > self.greatest:
            self.greatest, self._moved = event.time, now
        late = self._late(event, latest)
        if self.clock.reorder == 0 or late:
            self._release(event, late, out)
            return
        self._order += 1
        heappush(self._buffer, (event.time, self._order, event, late))
        self._release_until(self.greatest - self.clock.reorder, out)
        while len(self._buffer) > MOST_BUFFERED:
            self._counts["overflowed"] += 1
            self._release(heappop(self._buffer)[2], False, out)

    def _late(self, event: Event, latest: Instant | None) -> bool:
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
