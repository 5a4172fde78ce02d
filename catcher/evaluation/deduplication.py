"""Remembers recent events of a source, so that duplicates are dropped."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import methodcaller
from typing import Any

from catcher.evaluation.firing_payload import compute_event_digest
from catcher.model.event import Event
from catcher.model.time import Instant

MAX_ENTRIES = 8_192
MAX_FIELDS = 64
MAX_TEXT_LENGTH = 1_000
SAMPLE_SIZE = 16
"""How many events of a batch are checked: a larger one among them may slip by."""
SMALL_TYPES = frozenset((int, float, bool, type(None)))
"""Types that take no more memory than a digest would."""

_get_values = methodcaller("values")


class DuplicateFilter:
    """The latest events, by topic and time, up to a number of such pairs.

    Events in order cannot be duplicates, and are only indexed when another event may be one.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, Instant], list[Any]] = OrderedDict()
        self._deferred: deque[Sequence[Event]] = deque()
        self._deferred_count = 0

    def add(self, event: Event) -> None:
        """Adds an event that is newer than all of its topic."""
        if _has_small_values(event.fields):
            self._defer_events((event,))
        else:
            self._index_deferred_events()
            self._store_event(event)

    def add_batch(self, events: Sequence[Event], fields: Sequence[Mapping[str, Any]]) -> None:
        """Adds such events, each with its fields; of many, only a sample is checked for size."""
        sample = fields[:: max(1, len(events) // SAMPLE_SIZE)]
        kinds = set(map(type, chain.from_iterable(map(_get_values, sample))))
        if kinds <= SMALL_TYPES and max(map(len, sample)) <= MAX_FIELDS:
            self._defer_events(events)
        else:
            for event in events:
                self.add(event)

    def check_duplicate_and_add(self, event: Event) -> bool:
        """True if an event of the same topic, time and fields came before; else adds it."""
        self._index_deferred_events()
        entries = self._seen.get((event.topic, event.time))
        if entries is None:
            self._store_event(event)
            return False
        digest = compute_event_digest(event)
        for index, entry in enumerate(entries):
            if isinstance(entry, Event):
                entries[index] = compute_event_digest(entry)
        if digest in entries:
            return True
        entries.append(digest)
        return False

    def _defer_events(self, events: Sequence[Event]) -> None:
        self._deferred.append(events)
        self._deferred_count += len(events)
        while self._deferred_count - len(self._deferred[0]) >= MAX_ENTRIES:
            self._seen.clear()
            self._deferred_count -= len(self._deferred.popleft())

    def _index_deferred_events(self) -> None:
        for event in chain.from_iterable(self._deferred):
            self._store_event(event)
        self._deferred.clear()
        self._deferred_count = 0

    def _store_event(self, event: Event) -> None:
        self._seen[event.topic, event.time] = [_event_or_digest(event)]
        if len(self._seen) > MAX_ENTRIES:
            self._seen.popitem(last=False)


def _has_small_values(fields: Mapping[str, Any]) -> bool:
    return len(fields) <= MAX_FIELDS and SMALL_TYPES.issuperset(map(type, fields.values()))


def _event_or_digest(event: Event) -> Event | str:
    """Returns a small event itself, else its digest: a digest costs more than a field."""
    is_small = len(event.fields) <= MAX_FIELDS and not any(
        isinstance(value, list | dict) or (isinstance(value, str) and len(value) > MAX_TEXT_LENGTH)
        for value in event.fields.values()
    )
    return event if is_small else compute_event_digest(event)
