"""A stretch of events of one topic, searched for where a value passes a limit.

What lies between two such places needs no look at each event. The columns are searched as
arrays; wherever that could be inexact (a value that is no number, an integer beyond 2**53), the
events are looked at one by one instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from catcher.model.event import Admitted, Event
from catcher.model.time import Instant, Span
from catcher.watching.signals import FURTHEST, LARGEST_WHOLE

NUMBERS = frozenset((float, int))
SHORTEST = 16
LONGEST = 1_024

_in_time = partial(tuple.__new__, Admitted)


class Stretch:
    """Consecutive events of one topic and source, none late, in order of time."""

    __slots__ = ("_stamps", "end", "events", "fields", "source", "start", "topic")

    def __init__(
        self, events: Sequence[Event], stamps: npt.NDArray[np.int64], fields: Sequence[Any]
    ) -> None:
        self.events = events
        self.fields = fields
        self.topic, self.start, _, self.source = events[0]
        self.end: Instant = events[-1].time
        self._stamps = stamps

    @property
    def longest_gap(self) -> Span:
        """The longest time between two of them."""
        return int(np.diff(self._stamps).max(initial=0))

    def numbers(self, name: str, before: float) -> npt.NDArray[np.float64] | None:
        """A field of every event, after its value before; None where floats might not do."""
        try:
            values = [before, *map(itemgetter(name), self.fields)]
            kinds = set(map(type, values))
            if not NUMBERS.issuperset(kinds):
                return None
            found = np.array(values, dtype=np.float64)
        except (KeyError, OverflowError):
            return None
        most = max(float(found.max()), -float(found.min()))
        if most < LARGEST_WHOLE:
            return found
        return found if most < FURTHEST and int not in kinds else None


class InOrder(Sequence[Admitted]):
    """Events of one source that were let in together: none is late, and times never fall.

    It knows their columns, so that who looks at all of them need not look at each.
    """

    __slots__ = ("events", "fields", "stamps", "topics")

    def __init__(
        self, events: Sequence[Event], topics: Sequence[str], stamps: npt.NDArray[np.int64],
        fields: Sequence[Any],
    ) -> None:  # fmt: skip
        self.events = events
        self.topics = topics
        self.stamps = stamps
        self.fields = fields

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Admitted]:
        return map(_in_time, zip(self.events, repeat(False)))

    @overload
    def __getitem__(self, place: int) -> Admitted: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Admitted]: ...
    def __getitem__(self, place: int | slice) -> Admitted | Sequence[Admitted]:
        if isinstance(place, slice):
            return [Admitted(event) for event in self.events[place]]
        return Admitted(self.events[place])

    def by_topic(self) -> dict[str, list[int]]:
        """Where the events of each topic are."""
        found: dict[str, list[int]] = {}
        for place, topic in enumerate(self.topics):
            found.setdefault(topic, []).append(place)
        return found

    def of_one_topic(self) -> bool:
        """Whether all events are of the same topic."""
        return self.topics.count(self.topics[0]) == len(self.topics)

    def stretch(self) -> Stretch:
        """All of them, which are of one topic."""
        return Stretch(self.events, self.stamps, self.fields)

    def stretch_at(self, places: Sequence[int]) -> Stretch:
        """Two or more of them, which are of one topic."""
        pick = itemgetter(*places)
        return Stretch(pick(self.events), self.stamps[places], pick(self.fields))


def columns_of(
    events: Iterable[Event],
) -> tuple[list[str], list[Instant], list[Mapping[str, Any]], list[str]]:
    """Topics, times, fields and sources of events."""
    flat: list[Any] = list(chain.from_iterable(events))
    return flat[::4], flat[1::4], flat[2::4], flat[3::4]


def in_order(admitted: Sequence[Admitted]) -> InOrder | None:
    """Events with their columns; None where they are late, or of many sources, or out of order."""
    events, lates = zip(*admitted, strict=True)
    topics, times, fields, sources = columns_of(events)
    if True in lates or sources.count(sources[0]) != len(events):
        return None
    try:
        stamps = np.array(times, dtype=np.int64)
    except OverflowError:
        return None
    if int(np.diff(stamps).min(initial=0)) < 0:
        return None
    return InOrder(events, topics, stamps, fields)


def moves(values: npt.NDArray[np.float64], steps: npt.NDArray[np.float64]) -> list[int]:
    """The places, from 0, at which values after the first lie elsewhere than the one before.

    A value lies on a limit or between two of them; `steps` are those of the limits.
    """
    stands = steps.searchsorted(values, "right")
    found: list[int] = np.flatnonzero(stands[1:] != stands[:-1]).tolist()
    return found
