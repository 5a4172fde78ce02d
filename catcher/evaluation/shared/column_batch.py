"""A batch of events of one topic, searched for the events at which a value passes a limit.

The events between need not be evaluated. The columns are searched as arrays; if that could be
inexact (a value that is no number, an integer beyond 2**53), the events are processed one by one
instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from catcher.evaluation.shared.operands import MAX_EXACT_INTEGER, MAX_LIMIT
from catcher.model.event import AdmittedEvent, Event
from catcher.model.time import Instant, Span

NUMBER_TYPES = frozenset((float, int))
MIN_BATCH_SIZE = 16
MAX_BATCH_SIZE = 1_024

_to_admitted = partial(tuple.__new__, AdmittedEvent)


class ColumnBatch:
    """Consecutive events of one topic and source, none late, in order of time."""

    __slots__ = ("_timestamps", "end", "events", "fields", "source", "start", "topic")

    def __init__(
        self, events: Sequence[Event], timestamps: npt.NDArray[np.int64], fields: Sequence[Any]
    ) -> None:
        self.events = events
        self.fields = fields
        self.topic, self.start, _, self.source = events[0]
        self.end: Instant = events[-1].time
        self._timestamps = timestamps

    @property
    def max_gap(self) -> Span:
        """The longest time between two consecutive events."""
        return int(np.diff(self._timestamps).max(initial=0))

    def get_numeric_column(self, name: str, previous: float) -> npt.NDArray[np.float64] | None:
        """Returns a field of every event, after its previous value; None if floats are inexact."""
        try:
            values = [previous, *map(itemgetter(name), self.fields)]
            types = set(map(type, values))
            if not NUMBER_TYPES.issuperset(types):
                return None
            column = np.array(values, dtype=np.float64)
        except (KeyError, OverflowError):
            return None
        max_magnitude = max(float(column.max()), -float(column.min()))
        if max_magnitude < MAX_EXACT_INTEGER:
            return column
        return column if max_magnitude < MAX_LIMIT and int not in types else None


class OrderedBatch(Sequence[AdmittedEvent]):
    """Events of one source that were admitted together: none is late, and times never fall.

    It has their columns, so that the whole batch can be processed without a loop over events.
    """

    __slots__ = ("events", "fields", "timestamps", "topics")

    def __init__(
        self, events: Sequence[Event], topics: Sequence[str], timestamps: npt.NDArray[np.int64],
        fields: Sequence[Any],
    ) -> None:  # fmt: skip
        self.events = events
        self.topics = topics
        self.timestamps = timestamps
        self.fields = fields

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[AdmittedEvent]:
        return map(_to_admitted, zip(self.events, repeat(False)))

    @overload
    def __getitem__(self, index: int) -> AdmittedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AdmittedEvent]: ...
    def __getitem__(self, index: int | slice) -> AdmittedEvent | Sequence[AdmittedEvent]:
        if isinstance(index, slice):
            return [AdmittedEvent(event) for event in self.events[index]]
        return AdmittedEvent(self.events[index])

    def group_indexes_by_topic(self) -> dict[str, list[int]]:
        """Returns the indexes of the events of each topic."""
        indexes: dict[str, list[int]] = {}
        for index, topic in enumerate(self.topics):
            indexes.setdefault(topic, []).append(index)
        return indexes

    def is_single_topic(self) -> bool:
        """True if all events are of the same topic."""
        return self.topics.count(self.topics[0]) == len(self.topics)

    def to_column_batch(self) -> ColumnBatch:
        """Returns all of them, which are of one topic."""
        return ColumnBatch(self.events, self.timestamps, self.fields)

    def select_column_batch(self, indexes: Sequence[int]) -> ColumnBatch:
        """Returns two or more of them, which are of one topic."""
        select = itemgetter(*indexes)
        return ColumnBatch(select(self.events), self.timestamps[indexes], select(self.fields))


def events_to_columns(
    events: Iterable[Event],
) -> tuple[list[str], list[Instant], list[Mapping[str, Any]], list[str]]:
    """Returns topics, times, fields and sources of events."""
    values: list[Any] = list(chain.from_iterable(events))
    return values[::4], values[1::4], values[2::4], values[3::4]


def build_ordered_batch(admitted: Sequence[AdmittedEvent]) -> OrderedBatch | None:
    """Returns events with their columns; None if late, of many sources, or out of order."""
    events, late_flags = zip(*admitted, strict=True)
    topics, times, fields, sources = events_to_columns(events)
    if True in late_flags or sources.count(sources[0]) != len(events):
        return None
    try:
        timestamps = np.array(times, dtype=np.int64)
    except OverflowError:
        return None
    if int(np.diff(timestamps).min(initial=0)) < 0:
        return None
    return OrderedBatch(events, topics, timestamps, fields)


def find_position_changes(
    values: npt.NDArray[np.float64], breakpoints: npt.NDArray[np.float64]
) -> list[int]:
    """Returns the indexes, from 0, of values after the first whose position changed.

    A value lies on a limit or between two of them; `breakpoints` are those of the limits.
    """
    positions = breakpoints.searchsorted(values, "right")
    changes: list[int] = np.flatnonzero(positions[1:] != positions[:-1]).tolist()
    return changes
