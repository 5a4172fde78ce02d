"""A stretch of events of one topic, searched for where a value passes a limit.

What lies between two such places needs no look at each event. The columns are searched as
arrays; wherever that could be inexact (a value that is no number, an integer beyond 2**53), the
events are looked at one by one instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher.model.event import Admitted, Event
from catcher.model.time import Instant, Span
from catcher.watching.signals import FURTHEST, LARGEST_WHOLE

NUMBERS = frozenset((float, int))
SHORTEST = 16
LONGEST = 512


class Stretch:
    """Consecutive events of one topic and source, none late, in order of time."""

    __slots__ = ("events", "fields", "longest_gap", "source", "times", "topic")

    def __init__(self, events: Sequence[Event], columns: Sequence[Any], gap: Span) -> None:
        self.events = events
        topics, self.times, self.fields, sources = columns
        self.topic: str = topics[0]
        self.source: str = sources[0]
        self.longest_gap = gap

    @property
    def start(self) -> Instant:
        """The time of the first event."""
        return int(self.times[0])

    @property
    def end(self) -> Instant:
        """The time of the last event."""
        return int(self.times[-1])

    def numbers(self, name: str, before: float) -> npt.NDArray[np.float64] | None:
        """A field of every event, after its value before; None where floats might not do."""
        try:
            values = [before, *map(itemgetter(name), self.fields)]
            if not NUMBERS.issuperset(map(type, values)):
                return None
            found = np.array(values, dtype=np.float64)
        except (KeyError, OverflowError):
            return None
        most = float(np.abs(found).max())
        if most < LARGEST_WHOLE:
            return found
        return found if most < FURTHEST and int not in set(map(type, values)) else None


def stretch_of(admitted: Sequence[Admitted]) -> Stretch | None:
    """Events as a stretch; None where they are none."""
    events, lates = zip(*admitted, strict=True)
    columns = tuple(zip(*events, strict=True))
    topics, times, _, sources = columns
    count = len(events)
    if True in lates or topics.count(topics[0]) != count or sources.count(sources[0]) != count:
        return None
    steps = np.diff(np.array(times, dtype=np.int64))
    if int(steps.min(initial=0)) < 0:
        return None
    return Stretch(events, columns, int(steps.max(initial=0)))


def moves(values: npt.NDArray[np.float64], limits: npt.NDArray[np.float64]) -> list[int]:
    """The places, from 0, at which values after the first lie elsewhere than the one before.

    A value lies on a limit or between two of them.
    """
    stands = limits.searchsorted(values, "left") + limits.searchsorted(values, "right")
    found: list[int] = np.flatnonzero(stands[1:] != stands[:-1]).tolist()
    return found
