"""Which events of a source came lately, so that the same one counts once."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import methodcaller
from typing import Any

from catcher.model.event import Event
from catcher.model.time import Instant
from catcher.watching.marks import mark_of

REMEMBERED = 8_192
MOST_FIELDS = 64
LONGEST_TEXT = 1_000
SAMPLED = 16
"""How many events of a batch are looked at: one that holds more than its like may slip by."""
PLAIN = frozenset((int, float, bool, type(None)))
"""What takes no more room than a digest of it would."""

_VALUES = methodcaller("values")


class Recent:
    """The latest events, by topic and time: as many pairs of these as are remembered.

    What comes in order cannot be a duplicate, and is sorted in only when something else may be.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, Instant], list[Any]] = OrderedDict()
        self._waiting: deque[Sequence[Event]] = deque()
        self._count = 0

    def add(self, event: Event) -> None:
        """An event that is newer than all of its topic."""
        if _plain(event.fields):
            self._wait((event,))
        else:
            self._sort_in()
            self._put(event)

    def extend(self, events: Sequence[Event], fields: Sequence[Mapping[str, Any]]) -> None:
        """Such events, each with its fields. Of many, a sample tells whether they are plain."""
        sample = fields[:: max(1, len(events) // SAMPLED)]
        kinds = set(map(type, chain.from_iterable(map(_VALUES, sample))))
        if kinds <= PLAIN and max(map(len, sample)) <= MOST_FIELDS:
            self._wait(events)
        else:
            for event in events:
                self.add(event)

    def repeats(self, event: Event) -> bool:
        """Whether an event of the same topic, time and fields came; if not, it has now."""
        self._sort_in()
        known = self._seen.get((event.topic, event.time))
        if known is None:
            self._put(event)
            return False
        mark = mark_of(event)
        for index, one in enumerate(known):
            if isinstance(one, Event):
                known[index] = mark_of(one)
        if mark in known:
            return True
        known.append(mark)
        return False

    def _wait(self, events: Sequence[Event]) -> None:
        self._waiting.append(events)
        self._count += len(events)
        while self._count - len(self._waiting[0]) >= REMEMBERED:
            self._seen.clear()
            self._count -= len(self._waiting.popleft())

    def _sort_in(self) -> None:
        for event in chain.from_iterable(self._waiting):
            self._put(event)
        self._waiting.clear()
        self._count = 0

    def _put(self, event: Event) -> None:
        self._seen[event.topic, event.time] = [_remembered(event)]
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


def _plain(fields: Mapping[str, Any]) -> bool:
    return len(fields) <= MOST_FIELDS and PLAIN.issuperset(map(type, fields.values()))


def _remembered(event: Event) -> Event | str:
    """The event itself where it is small, else its digest: a digest costs more than a field."""
    small = len(event.fields) <= MOST_FIELDS and not any(
        isinstance(value, list | dict) or (isinstance(value, str) and len(value) > LONGEST_TEXT)
        for value in event.fields.values()
    )
    return event if small else mark_of(event)
