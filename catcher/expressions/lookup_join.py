"""Reads: another topic's latest event as of an instant, and functions over its own samples.

An evaluation may be in the past of the stream (a result has its firing's time), so a read keeps
its samples for some time longer than its windows need and answers as of any instant.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catcher.expressions.compiler import StateDescriptor, StatePlan
from catcher.expressions.context import CompiledExpression, EvaluationContext
from catcher.expressions.stateful_functions import Streak
from catcher.expressions.values import to_elements, to_number, to_truth
from catcher.expressions.window_shape import value_to_count
from catcher.expressions.windows import MAX_SAMPLES, Window
from catcher.model.event import Event
from catcher.model.rule import Lookup
from catcher.model.time import MINUTE, SECOND, Instant, humanize_duration

RETENTION_SLACK = 10 * MINUTE
MAX_ROWS = 20_000
MAX_SAVED_ROWS = 100


@dataclass(slots=True)
class CompiledLookup:
    """The definition of a read, compiled."""

    name: str
    lookup: Lookup
    where: CompiledExpression | None
    state_plan: StatePlan


class RingBuffer:
    """Values in time order, of which the oldest are evicted."""

    __slots__ = ("first_time", "min_size", "start", "times", "values")

    def __init__(self, min_size: int) -> None:
        self.times: list[Instant] = []
        self.values: list[Any] = []
        self.start = 0
        self.min_size = min_size
        self.first_time: Instant | None = None

    def append(self, time: Instant, value: Any, horizon: Instant, max_size: int) -> int:
        """Adds a value, evicts those before the horizon; returns how many exceeded `max_size`."""
        if self.first_time is None:
            self.first_time = time
        self.times.append(max(time, self.times[-1]) if self.times else time)
        self.values.append(value)
        times, size = self.times, len(self.times)
        while self.start + self.min_size < size and times[self.start + self.min_size] <= horizon:
            self.start += 1
        overflow = max(0, size - self.start - max_size)
        self.start += overflow
        if self.start > 1_000 and self.start * 2 > size:
            del self.times[: self.start], self.values[: self.start]
            self.start = 0
        return overflow

    def get_end_index(self, now: Instant) -> int:
        """Returns the index after the last value as of an instant."""
        return bisect_right(self.times, now, self.start)

    def save(self, max_size: int) -> dict[str, Any]:
        """Returns the newest values as JSON values."""
        start = max(self.start, len(self.times) - max_size)
        return {
            "times": self.times[start:],
            "values": self.values[start:],
            "first": self.first_time,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        self.times, self.values = list(state["times"]), list(state["values"])
        self.first_time, self.start = state["first"], 0


class LookupState:
    """The samples of one read of one rule."""

    def __init__(self, definition: CompiledLookup) -> None:
        self.definition = definition
        self.late_count = 0
        self.dropped_count = 0
        self._context = EvaluationContext(0, definition.state_plan.create_states())
        self._rows = RingBuffer(1)
        self._buffers = [
            RingBuffer(_get_min_buffer_size(descriptor))
            for descriptor in definition.state_plan.descriptors
        ]
        self._max_span = max(
            (
                descriptor.shape.span or 0
                for descriptor in definition.state_plan.descriptors
                if descriptor.shape
            ),
            default=0,
        )
        self._last_query_time: Instant = 0

    @property
    def newest_time(self) -> Instant | None:
        """The time of the latest sample."""
        return self._rows.times[-1] if self._rows.times else None

    def process_event(self, event: Event) -> None:
        """Processes an event of the read's topic."""
        fields, now = event.fields, event.time
        where = self.definition.where
        if where is not None and to_truth(where(fields, self._context)) is not True:
            return
        if self._rows.times and now < self._rows.times[-1]:
            self.late_count += 1
            return
        self._context.now = now
        known_flags = []
        for index, descriptor in enumerate(self.definition.state_plan.descriptors):
            value = descriptor.expression(fields, self._context)
            self._context.slots[index].add_sample(now, value)
            known_flags.append(self._append_samples(index, descriptor, now, value))
        self.dropped_count += self._rows.append(
            now, [fields, known_flags], now - RETENTION_SLACK, MAX_ROWS
        )

    def _append_samples(
        self, index: int, descriptor: StateDescriptor, now: Instant, value: Any
    ) -> bool:
        horizon = now - RETENTION_SLACK - self._max_span
        state = self._context.slots[index]
        samples = _expand_samples(descriptor, now, value)
        for time, sample in samples:
            stored_value = state.count if isinstance(state, Streak) else sample
            self.dropped_count += self._buffers[index].append(
                time, stored_value, horizon, MAX_SAMPLES
            )
        return bool(samples)

    # -- as of an instant -------------------------------------------------------------------

    def _find_latest_row(self, now: Instant) -> Any:
        end = self._rows.get_end_index(now)
        if end <= self._rows.start:
            return None
        max_age = self.definition.lookup.max_age
        if max_age is not None and now - self._rows.times[end - 1] > max_age:
            return None
        return self._rows.values[end - 1]

    def get_latest_fields(self, now: Instant) -> Mapping[str, Any] | None:
        """Returns the fields of the latest event as of an instant; None if there is none fresh."""
        row = self._find_latest_row(now)
        return None if row is None else row[0]

    def get_latest_age(self, now: Instant) -> float | None:
        """Returns the seconds since that event."""
        if self._find_latest_row(now) is None:
            return None
        return (now - self._rows.times[self._rows.get_end_index(now) - 1]) / SECOND

    def compute_value(self, slot: int, function: str, quantile: float, now: Instant) -> Any:
        """Returns a function over this topic's own samples, as of an instant."""
        row = self._find_latest_row(now)
        if row is None or not row[1][slot]:
            return None
        newest = self._rows.times[-1]
        if now >= newest and now >= self._last_query_time:
            self._last_query_time = now
            return self._context.slots[slot].compute_value(function, now, quantile)
        return self._compute_past_value(slot, function, quantile, now)

    def _compute_past_value(self, slot: int, function: str, quantile: float, now: Instant) -> Any:
        buffer, shape = self._buffers[slot], self.definition.state_plan.descriptors[slot].shape
        end = buffer.get_end_index(now)
        if shape is None:
            return self._compute_past_lag(function, buffer, end)
        if shape.span is not None:
            if buffer.first_time is None or now < buffer.first_time + shape.span:
                return None
            start = bisect_right(buffer.times, now - shape.span, buffer.start)
        else:
            start = end - (shape.last or 0)
            if start < buffer.start:
                return None
        window = self.definition.state_plan.descriptors[slot].create_state()
        if not isinstance(window, Window):
            return None
        return window.compute_over_samples(
            function, quantile, buffer.times[start:end], buffer.values[start:end]
        )

    def _compute_past_lag(self, function: str, buffer: RingBuffer, end: int) -> Any:
        if function == "streak":
            return buffer.values[end - 1]
        if end - buffer.start < 2:
            return None
        previous, latest = buffer.values[end - 2], buffer.values[end - 1]
        return previous if function == "previous" else previous != latest

    def describe_missing(self, now: Instant, slot: int | None = None) -> str:
        """Returns why its value is unknown, in words; empty if it is known."""
        name, topic = self.definition.name, self.definition.lookup.topic
        if not self._rows.times:
            return f"{name} ({topic}) never seen"
        if self._find_latest_row(now) is None:
            age = now - self._rows.times[-1]
            return f"{name} is stale: its latest event is {humanize_duration(max(age, 0))} old"
        return "" if slot is None else self._context.slots[slot].describe_missing(now)

    # -- saving -----------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        rows = self._rows.save(MAX_SAVED_ROWS)
        rows["values"] = [[dict(fields), known_flags] for fields, known_flags in rows["values"]]
        return {
            "rows": rows,
            "rings": [buffer.save(MAX_SAMPLES) for buffer in self._buffers],
            "slots": [state.save() for state in self._context.slots],
            "asked": self._last_query_time,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        self._rows.load(state["rows"])
        for buffer, saved_state in zip(self._buffers, state["rings"], strict=True):
            buffer.load(saved_state)
        for function_state, saved_state in zip(self._context.slots, state["slots"], strict=True):
            function_state.load(saved_state)
        self._last_query_time = int(state["asked"])


def _get_min_buffer_size(descriptor: StateDescriptor) -> int:
    return max(2, descriptor.shape.last or 0) if descriptor.shape else 2


def _expand_samples(
    descriptor: StateDescriptor, now: Instant, value: Any
) -> list[tuple[Instant, Any]]:
    """Returns the known samples of one value: one, none, or those of a packed array."""
    shape = descriptor.shape
    if shape is None:
        return [] if value is None else [(now, value)]
    if shape.packed is None:
        parts, spacing = [value], 0
    else:
        parts, spacing = to_elements(value) or [], shape.packed
    count = len(parts)
    samples = []
    for index, part in enumerate(parts, 1):
        sample = value_to_count(part) if shape.is_counting else to_number(part)
        if sample is not None:
            samples.append((now - spacing + (spacing * index // count), sample))
    return samples
