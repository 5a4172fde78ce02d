"""Reads: another topic's latest event as of an instant, and functions over its own samples.

An evaluation may lie in the past of the stream (a result stands at its firing's time), so a
read keeps its samples for a while longer than its windows need and answers as of any instant.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catcher.model.event import Event
from catcher.model.rule import Read
from catcher.model.time import MINUTE, SECOND, Instant, told_duration
from catcher.watching.compiling import Plan, SlotPlan
from catcher.watching.frames import Eval, Frame
from catcher.watching.memories import Streak
from catcher.watching.shapes import presence
from catcher.watching.values import elements, number, truth
from catcher.watching.windows import MOST_SAMPLES, Window

SLACK = 10 * MINUTE
MOST_ROWS = 20_000
SAVED_ROWS = 100


@dataclass(slots=True)
class ReadPlan:
    """What a read is, compiled."""

    name: str
    read: Read
    where: Eval | None
    plan: Plan


class Ring:
    """Values in time order, of which the oldest leave."""

    __slots__ = ("first", "keep", "start", "times", "values")

    def __init__(self, keep: int) -> None:
        self.times: list[Instant] = []
        self.values: list[Any] = []
        self.start = 0
        self.keep = keep
        self.first: Instant | None = None

    def append(self, time: Instant, value: Any, horizon: Instant, most: int) -> int:
        """Adds a value, lets those go that lie before the horizon; returns how many too many."""
        if self.first is None:
            self.first = time
        self.times.append(max(time, self.times[-1]) if self.times else time)
        self.values.append(value)
        times, last = self.times, len(self.times)
        while self.start + self.keep < last and times[self.start + self.keep] <= horizon:
            self.start += 1
        over = max(0, last - self.start - most)
        self.start += over
        if self.start > 1_000 and self.start * 2 > last:
            del self.times[: self.start], self.values[: self.start]
            self.start = 0
        return over

    def end(self, now: Instant) -> int:
        """The index after the last value as of an instant."""
        return bisect_right(self.times, now, self.start)

    def save(self, most: int) -> dict[str, Any]:
        """The newest values as JSON values."""
        start = max(self.start, len(self.times) - most)
        return {"times": self.times[start:], "values": self.values[start:], "first": self.first}

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        self.times, self.values = list(state["times"]), list(state["values"])
        self.first, self.start = state["first"], 0


class ReadFeed:
    """The samples of one read of one rule."""

    def __init__(self, plan: ReadPlan) -> None:
        self.plan = plan
        self.late = 0
        self.dropped = 0
        self._frame = Frame(0, plan.plan.make_slots())
        self._rows = Ring(1)
        self._rings = [Ring(_keep(slot)) for slot in plan.plan.slots]
        self._reach = max(
            (slot.shape.span or 0 for slot in plan.plan.slots if slot.shape), default=0
        )
        self._asked: Instant = 0

    @property
    def newest(self) -> Instant | None:
        """The time of the latest sample."""
        return self._rows.times[-1] if self._rows.times else None

    def take(self, event: Event) -> None:
        """An event of the read's topic."""
        fields, now = event.fields, event.time
        where = self.plan.where
        if where is not None and truth(where(fields, self._frame)) is not True:
            return
        if self._rows.times and now < self._rows.times[-1]:
            self.late += 1
            return
        self._frame.now = now
        known = []
        for index, slot in enumerate(self.plan.plan.slots):
            value = slot.source(fields, self._frame)
            self._frame.slots[index].push(now, value)
            known.append(self._remember(index, slot, now, value))
        self.dropped += self._rows.append(now, [fields, known], now - SLACK, MOST_ROWS)

    def _remember(self, index: int, slot: SlotPlan, now: Instant, value: Any) -> bool:
        horizon = now - SLACK - self._reach
        made = self._frame.slots[index]
        samples = _samples(slot, now, value)
        for time, sample in samples:
            kept = made.count if isinstance(made, Streak) else sample
            self.dropped += self._rings[index].append(time, kept, horizon, MOST_SAMPLES)
        return bool(samples)

    # -- as of an instant -------------------------------------------------------------------

    def _row(self, now: Instant) -> Any:
        end = self._rows.end(now)
        if end <= self._rows.start:
            return None
        most = self.plan.read.max_age
        if most is not None and now - self._rows.times[end - 1] > most:
            return None
        return self._rows.values[end - 1]

    def latest(self, now: Instant) -> Mapping[str, Any] | None:
        """The fields of the latest event at or before an instant; None if there is none fresh."""
        row = self._row(now)
        return None if row is None else row[0]

    def age(self, now: Instant) -> float | None:
        """Seconds since that event."""
        if self._row(now) is None:
            return None
        return (now - self._rows.times[self._rows.end(now) - 1]) / SECOND

    def figure(self, slot: int, function: str, quantile: float, now: Instant) -> Any:
        """A function over this topic's own samples, as of an instant."""
        row = self._row(now)
        if row is None or not row[1][slot]:
            return None
        newest = self._rows.times[-1]
        if now >= newest and now >= self._asked:
            self._asked = now
            return self._frame.slots[slot].value(function, now, quantile)
        return self._past(slot, function, quantile, now)

    def _past(self, slot: int, function: str, quantile: float, now: Instant) -> Any:
        ring, shape = self._rings[slot], self.plan.plan.slots[slot].shape
        end = ring.end(now)
        if shape is None:
            return self._before(function, ring, end)
        if shape.span is not None:
            if ring.first is None or now < ring.first + shape.span:
                return None
            start = bisect_right(ring.times, now - shape.span, ring.start)
        else:
            start = end - (shape.last or 0)
            if start < ring.start:
                return None
        made = self.plan.plan.slots[slot].make()
        if not isinstance(made, Window):
            return None
        return made.figure_of(function, quantile, ring.times[start:end], ring.values[start:end])

    def _before(self, function: str, ring: Ring, end: int) -> Any:
        if function == "streak":
            return ring.values[end - 1]
        if end - ring.start < 2:
            return None
        before, latest = ring.values[end - 2], ring.values[end - 1]
        return before if function == "previous" else before != latest

    def missing(self, now: Instant, slot: int | None = None) -> str:
        """Why nothing is known of it, in words; empty if something is."""
        name, topic = self.plan.name, self.plan.read.topic
        if not self._rows.times:
            return f"{name} ({topic}) never seen"
        if self._row(now) is None:
            age = now - self._rows.times[-1]
            return f"{name} is stale: its latest event is {told_duration(max(age, 0))} old"
        return "" if slot is None else self._frame.slots[slot].missing(now)

    # -- saving -----------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        rows = self._rows.save(SAVED_ROWS)
        rows["values"] = [[dict(fields), known] for fields, known in rows["values"]]
        return {
            "rows": rows,
            "rings": [ring.save(MOST_SAMPLES) for ring in self._rings],
            "slots": [slot.save() for slot in self._frame.slots],
            "asked": self._asked,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        self._rows.load(state["rows"])
        for ring, saved in zip(self._rings, state["rings"], strict=True):
            ring.load(saved)
        for slot, saved in zip(self._frame.slots, state["slots"], strict=True):
            slot.load(saved)
        self._asked = int(state["asked"])


def _keep(slot: SlotPlan) -> int:
    return max(2, slot.shape.last or 0) if slot.shape else 2


def _samples(slot: SlotPlan, now: Instant, value: Any) -> list[tuple[Instant, Any]]:
    """The known samples that one value amounts to: one, none, or those of a packed array."""
    shape = slot.shape
    if shape is None:
        return [] if value is None else [(now, value)]
    if shape.packed is None:
        parts, spacing = [value], 0
    else:
        parts, spacing = elements(value) or [], shape.packed
    count = len(parts)
    found = []
    for index, part in enumerate(parts, 1):
        known = presence(part) if shape.presence else number(part)
        if known is not None:
            found.append((now - spacing + (spacing * index // count), known))
    return found
