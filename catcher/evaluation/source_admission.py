"""The admission of one source: its clock, what it admitted, and what it buffers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Literal

import numpy as np
import numpy.typing as npt

from catcher.evaluation.deduplication import DuplicateFilter
from catcher.evaluation.shared.column_batch import OrderedBatch, events_to_columns
from catcher.model.event import AdmittedEvent, Event
from catcher.model.time import SECOND, Instant, Span

MAX_TOPICS = 50_000
MAX_BUFFERED = 100_000
SUSPECT_TIMEOUT = SECOND
"""After this long a silence of its source a lone event far ahead is accepted."""


@dataclass(frozen=True, slots=True)
class SourceClock:
    """How the time of a source is determined.

    `wall`: by this machine's clock. `stream`: by the greatest plausible event time, plus the
    wall time since. `lateness` delays timers, `reorder` buffers events so that those which are
    late by less are sorted, `max_ahead` is how far in the future an event may be.
    """

    clock: Literal["wall", "stream"] = "wall"
    lateness: Span = SECOND
    reorder: Span = 0
    max_ahead: Span = 5 * SECOND


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """An event that was not admitted, and why."""

    event: Event
    reason: str
    time: Instant


class SourceAdmission:
    """The admission of one source."""

    def __init__(self, name: str, clock: SourceClock, rejected: deque[RejectedEvent]) -> None:
        self.clock = clock
        self.max_time: Instant | None = None
        self._name = name
        self._rejected = rejected
        self._counts: Counter[str] = Counter()
        self._duplicates = DuplicateFilter()
        self._latest_by_topic: dict[str, Instant] = {}
        self._suspect: tuple[Event, Instant] | None = None
        self._advanced_at: Instant = 0
        self._reorder_buffer: list[tuple[Instant, int, Event, bool]] = []
        self._sequence = 0

    @property
    def buffered_count(self) -> int:
        """How many events are buffered."""
        return len(self._reorder_buffer) + (self._suspect is not None)

    def iter_buffered_events(self) -> Iterator[Event]:
        """Yields the buffered events."""
        yield from (entry[2] for entry in self._reorder_buffer)
        if self._suspect is not None:
            yield self._suspect[0]

    def count_duplicate(self) -> None:
        """Counts an event that came before."""
        self._counts["duplicates"] += 1

    def get_counts(self) -> dict[str, int]:
        """Returns the counters, all of them named."""
        names = ("admitted", "duplicates", "late", "ahead", "overflowed")
        return {**{name: self._counts[name] for name in names}, "held_back": self.buffered_count}

    # -- events in order --------------------------------------------------------------------

    def admit_ordered_batch(self, events: Sequence[Event], now: Instant) -> OrderedBatch | None:
        """Admits events that are each newer than all before it; None: process them one by one."""
        if self.max_time is None or self.clock.reorder or self._suspect or self._reorder_buffer:
            return None
        topics, times, fields, sources = events_to_columns(events)
        if times[0] <= self.max_time or len(self._latest_by_topic) + len(events) > MAX_TOPICS:
            return None
        try:
            stamps = np.array(times, dtype=np.int64)
        except OverflowError:
            return None
        steps = np.diff(stamps)
        if int(steps.min(initial=1)) <= 0 or not self._are_times_plausible(times, steps, now):
            return None
        if sources.count(self._name) != len(events):
            events = [Event(*event[:3], self._name) for event in events]
        if topics.count(topics[0]) == len(topics):
            self._latest_by_topic[topics[0]] = times[-1]
        else:
            self._latest_by_topic.update(zip(topics, times, strict=True))
        self.max_time, self._advanced_at = times[-1], now
        self._duplicates.add_batch(events, fields)
        self._counts["admitted"] += len(events)
        return OrderedBatch(events, topics, stamps, fields)

    def _are_times_plausible(
        self, times: Sequence[Instant], steps: npt.NDArray[np.int64], now: Instant
    ) -> bool:
        """True if none of some rising times is too far ahead of those before it."""
        max_ahead, clock = self.clock.max_ahead, self._current_source_time(now)
        if clock is None or self.max_time is None:
            return False
        latest_allowed = now + max_ahead
        if self.clock.clock == "wall":
            return times[-1] <= latest_allowed
        if times[0] > clock + max_ahead or (
            times[-1] > latest_allowed and self.max_time <= latest_allowed
        ):
            return False
        return int(steps.max(initial=0)) <= max_ahead

    # -- one event --------------------------------------------------------------------------

    def process_event(self, event: Event, now: Instant, admitted: list[AdmittedEvent]) -> None:
        """Checks an event against the clock and admits, buffers or rejects it."""
        if self._is_too_far_ahead(event, now):
            self._reject_event(event, now)
            return
        if self.clock.clock == "wall":
            self._admit_event(event, now, admitted)
            return
        self._resolve_suspect_event(event, now, admitted)
        if self._is_time_jump(event, now):
            self._suspect = (event, now)
        else:
            self._admit_event(event, now, admitted)

    def _is_too_far_ahead(self, event: Event, now: Instant) -> bool:
        """True if it is ahead of the wall clock, in a source that itself is not.

        A source with a stream clock may be in the future as a whole, as in a test.
        """
        latest_allowed = now + self.clock.max_ahead
        if event.time <= latest_allowed or self.clock.clock == "wall":
            return event.time > latest_allowed
        return self.max_time is not None and self.max_time <= latest_allowed

    def _reject_event(self, event: Event, now: Instant) -> None:
        self._counts["ahead"] += 1
        self._rejected.append(RejectedEvent(event, f"{self._name}: too far in the future", now))

    def _is_time_jump(self, event: Event, now: Instant) -> bool:
        clock = self._current_source_time(now)
        return clock is not None and event.time > clock + self.clock.max_ahead

    def _resolve_suspect_event(
        self, event: Event, now: Instant, admitted: list[AdmittedEvent]
    ) -> None:
        """Rejects a lone event far ahead if the next one falls back behind it, else admits it."""
        if self._suspect is None:
            return
        suspect, _ = self._suspect
        self._suspect = None
        if event.time >= suspect.time - self.clock.max_ahead:
            self._admit_event(suspect, now, admitted)
        else:
            self._reject_event(suspect, now)

    def _admit_event(self, event: Event, now: Instant, admitted: list[AdmittedEvent]) -> None:
        latest = self._latest_by_topic.get(event.topic)
        if latest is not None and event.time > latest:
            self._duplicates.add(event)
        elif self._duplicates.check_duplicate_and_add(event):
            self._counts["duplicates"] += 1
            return
        if self.max_time is None or event.time > self.max_time:
            self.max_time, self._advanced_at = event.time, now
        late = self._record_and_check_late(event, latest)
        if self.clock.reorder == 0 or late:
            self._release_event(event, late, admitted)
            return
        self._sequence += 1
        heappush(self._reorder_buffer, (event.time, self._sequence, event, late))
        self._release_until(self.max_time - self.clock.reorder, admitted)
        while len(self._reorder_buffer) > MAX_BUFFERED:
            self._counts["overflowed"] += 1
            self._release_event(heappop(self._reorder_buffer)[2], False, admitted)

    def _record_and_check_late(self, event: Event, latest: Instant | None) -> bool:
        if latest is None or event.time > latest:
            if latest is None and len(self._latest_by_topic) >= MAX_TOPICS:
                del self._latest_by_topic[next(iter(self._latest_by_topic))]
            self._latest_by_topic[event.topic] = event.time
            return False
        return event.time < latest - self.clock.reorder

    def _release_event(self, event: Event, late: bool, admitted: list[AdmittedEvent]) -> None:
        self._counts["admitted"] += 1
        self._counts["late"] += late
        admitted.append(AdmittedEvent(event, late))

    def _release_until(self, instant: Instant, admitted: list[AdmittedEvent]) -> None:
        while self._reorder_buffer and self._reorder_buffer[0][0] <= instant:
            _, _, event, late = heappop(self._reorder_buffer)
            self._release_event(event, late, admitted)

    # -- time -------------------------------------------------------------------------------

    def _current_source_time(self, now: Instant) -> Instant | None:
        if self.clock.clock == "wall":
            return now
        if self.max_time is None:
            return None
        return self.max_time + max(0, now - self._advanced_at)

    def get_watermark(self, now: Instant) -> Instant | None:
        """Returns the clock less lateness and buffering; never past a buffered event."""
        clock = self._current_source_time(now)
        if clock is None:
            return None
        watermark = clock - self.clock.lateness - self.clock.reorder
        return min(watermark, self._reorder_buffer[0][0]) if self._reorder_buffer else watermark

    def release_ready_events(self, now: Instant, admitted: list[AdmittedEvent]) -> None:
        """Admits what idle wall time has covered."""
        if self._suspect is not None and now - self._suspect[1] >= SUSPECT_TIMEOUT:
            suspect, self._suspect = self._suspect[0], None
            self._admit_event(suspect, now, admitted)
        clock = self._current_source_time(now)
        if clock is not None and self._reorder_buffer:
            self._release_until(clock - self.clock.lateness - self.clock.reorder, admitted)

    def flush_buffered_events(self, admitted: list[AdmittedEvent]) -> None:
        """Admits all buffered events."""
        if self._suspect is not None:
            (suspect, received_at), self._suspect = self._suspect, None
            self._admit_event(suspect, received_at, admitted)
        while self._reorder_buffer:
            _, _, event, late = heappop(self._reorder_buffer)
            self._release_event(event, late, admitted)
