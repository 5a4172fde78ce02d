"""Which events are let in, in which order, and how far time has come at each source.

Pure: the present wall instant is an argument. What is let in, and in which order, is what a
recording keeps; everything after it is a function of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from catcher.model.event import Admitted, Event
from catcher.model.time import Instant
from catcher.watching.door import Door, SetAside, SourceClock
from catcher.watching.marks import mark_of

TOGETHER = 1_024
"""How many events are looked at together; where all came in order, none is looked at alone."""
FEW = 4


class Admission:
    """The door of all sources; one without a clock of its own has the default one."""

    def __init__(self, clocks: Mapping[str, SourceClock]) -> None:
        self.set_aside: deque[SetAside] = deque(maxlen=100)
        self._doors = {name: Door(name, clock, self.set_aside) for name, clock in clocks.items()}
        self._recalled: Collection[str] = frozenset()
        self._recalled_until: Instant = 0

    def _door(self, source: str) -> Door:
        if source not in self._doors:
            self._doors[source] = Door(source, SourceClock(), self.set_aside)
        return self._doors[source]

    def admit(self, source: str, events: Sequence[Event], now: Instant) -> Sequence[Admitted]:
        """The events that are let in now, in their order; they bear the source's name."""
        door = self._door(source)
        fresh = list(self._fresh(door, events)) if self._recalled else events
        if len(fresh) <= TOGETHER:
            return self._admit(door, source, fresh, now)
        out: list[Admitted] = []
        for start in range(0, len(fresh), TOGETHER):
            out += self._admit(door, source, fresh[start : start + TOGETHER], now)
        return out

    def _admit(
        self, door: Door, source: str, events: Sequence[Event], now: Instant
    ) -> Sequence[Admitted]:
        together = door.take_in_order(events, now) if len(events) >= FEW else None
        if together is not None:
            return together
        out: list[Admitted] = []
        for event in events:
            named = event if event.source == source else event._replace(source=source)
            door.take(named, now, out)
        return out

    def _fresh(self, door: Door, events: Sequence[Event]) -> Iterator[Event]:
        """Events that did not come before the restart."""
        for event in events:
            if event.time <= self._recalled_until and mark_of(event) in self._recalled:
                door.repeated()
            else:
                yield event

    def recall(self, marks: Collection[str], until: Instant) -> None:
        """What came before a restart, by its digests; the latest of it at `until`."""
        self._recalled, self._recalled_until = marks, until

    def held(self) -> list[Event]:
        """The events that are held back."""
        return [event for door in self._doors.values() for event in door.held()]

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

    def on_wall_time(self, source: str) -> bool:
        """Whether this machine's clock tells the time of a source."""
        return self._door(source).clock.clock == "wall"

    def held_back(self, source: str) -> int:
        """How many events wait to be let in."""
        return self._door(source).waiting
