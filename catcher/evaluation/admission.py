"""Which events are admitted, in which order, and the watermark of each source.

Pure: the current wall instant is an argument. What is admitted, and in which order, is what a
recording stores; everything after it is a function of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from catcher.evaluation.firing_payload import compute_event_digest
from catcher.evaluation.source_admission import RejectedEvent, SourceAdmission, SourceClock
from catcher.model.event import AdmittedEvent, Event
from catcher.model.time import Instant

MAX_BATCH = 1_024
"""How many events are processed together; if all came in order, none is processed alone."""
MIN_BATCH = 4


class Admission:
    """Admission for all sources; one without a clock of its own has the default one."""

    def __init__(self, clocks: Mapping[str, SourceClock]) -> None:
        self.rejected_events: deque[RejectedEvent] = deque(maxlen=100)
        self._sources = {
            name: SourceAdmission(name, clock, self.rejected_events)
            for name, clock in clocks.items()
        }
        self._seen_digests: Collection[str] = frozenset()
        self._seen_until: Instant = 0

    def _get_source(self, source: str) -> SourceAdmission:
        if source not in self._sources:
            self._sources[source] = SourceAdmission(source, SourceClock(), self.rejected_events)
        return self._sources[source]

    def admit_events(
        self, source: str, events: Sequence[Event], now: Instant
    ) -> Sequence[AdmittedEvent]:
        """Returns the events that are admitted now, in order, with the source's name."""
        admission = self._get_source(source)
        unseen = list(self._filter_seen_events(admission, events)) if self._seen_digests else events
        if len(unseen) <= MAX_BATCH:
            return self._admit_batch(admission, source, unseen, now)
        admitted: list[AdmittedEvent] = []
        for start in range(0, len(unseen), MAX_BATCH):
            admitted += self._admit_batch(admission, source, unseen[start : start + MAX_BATCH], now)
        return admitted

    def _admit_batch(
        self, admission: SourceAdmission, source: str, events: Sequence[Event], now: Instant
    ) -> Sequence[AdmittedEvent]:
        batch = admission.admit_ordered_batch(events, now) if len(events) >= MIN_BATCH else None
        if batch is not None:
            return batch
        admitted: list[AdmittedEvent] = []
        for event in events:
            sourced_event = event if event.source == source else event._replace(source=source)
            admission.process_event(sourced_event, now, admitted)
        return admitted

    def _filter_seen_events(
        self, admission: SourceAdmission, events: Sequence[Event]
    ) -> Iterator[Event]:
        """Yields events that did not come before the restart."""
        for event in events:
            if event.time <= self._seen_until and compute_event_digest(event) in self._seen_digests:
                admission.count_duplicate()
            else:
                yield event

    def restore_digests(self, digests: Collection[str], until: Instant) -> None:
        """Restores the digests of events before a restart; the latest of them at `until`."""
        self._seen_digests, self._seen_until = digests, until

    def list_buffered_events(self) -> list[Event]:
        """Returns the buffered events."""
        return [
            event
            for admission in self._sources.values()
            for event in admission.iter_buffered_events()
        ]

    def release_ready_events(self, now: Instant) -> list[AdmittedEvent]:
        """Releases buffered events that need not wait any longer, as wall time has passed."""
        admitted: list[AdmittedEvent] = []
        for admission in self._sources.values():
            admission.release_ready_events(now, admitted)
        return admitted

    def flush_buffered_events(self, source: str | None = None) -> list[AdmittedEvent]:
        """Releases all buffered events: the source, or every one, has ended."""
        admitted: list[AdmittedEvent] = []
        for name, admission in self._sources.items():
            if source is None or name == source:
                admission.flush_buffered_events(admitted)
        return admitted

    def get_watermarks(self, now: Instant) -> dict[str, Instant]:
        """Returns the watermark of each source; 0 if it is not known yet."""
        return {
            name: admission.get_watermark(now) or 0 for name, admission in self._sources.items()
        }

    def get_counts(self, source: str) -> dict[str, int]:
        """Returns counts of events admitted, duplicates, late, ahead, overflowed, buffered now."""
        return self._get_source(source).get_counts()

    def max_event_time(self, source: str) -> Instant | None:
        """Returns the greatest admitted event time."""
        return self._get_source(source).max_time

    def uses_wall_clock(self, source: str) -> bool:
        """True if this machine's clock determines the time of a source."""
        return self._get_source(source).clock.clock == "wall"

    def count_buffered_events(self, source: str) -> int:
        """Returns how many events are buffered."""
        return self._get_source(source).buffered_count
