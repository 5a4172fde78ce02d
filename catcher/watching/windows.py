"""What functions over time remember: windows of samples, the value before, streaks."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from catcher.model.time import SECOND, Instant, Span, format_duration
from catcher.watching.sums import Moments, Number, mean_angle, percentile
from catcher.watching.values import elements, number, scalar

MOST_SAMPLES = 200_000
"""The most samples that one window holds; beyond it the oldest leave, counted."""

ORDERED = frozenset(("median", "percentile"))
EXTREME = frozenset(("min_over", "max_over"))
MOMENTS = frozenset(("mean", "sum_over", "std", "rms", "count", "rate"))


def presence(value: Any) -> int | None:
    """What a sample counts for: 1 where it is true, or known and no truth value; 0 where false."""
    if scalar(value) is None:
        return None
    return 0 if value is False else 1


@dataclass(frozen=True, slots=True)
class WindowShape:
    """What a window holds, and for which functions.

    `presence` windows count: they hold 1 for a known or true value and 0 for a false one.
    `packed` is the span over which an array's elements are spread.
    """

    span: Span | None = None
    last: int | None = None
    presence: bool = False
    packed: Span | None = None
    functions: frozenset[str] = frozenset()


class Window:
    """The samples of one expression over a span or a number of evaluations, and their figures."""

    __slots__ = (
        "angles", "dropped", "first", "greatest", "known", "least", "moments", "newest",
        "origin", "sample_times", "sample_values", "sequence", "shape", "sloped", "sorted",
    )  # fmt: skip

    def __init__(self, shape: WindowShape) -> None:
        self.shape = shape
        self.known = False
        self.first: Instant | None = None
        self.newest: Instant | None = None
        self.dropped = 0
        self._clear()

    def _clear(self) -> None:
        functions = self.shape.functions
        self.sample_times: deque[Instant] = deque()
        self.sample_values: deque[Number] = deque()
        self.origin: Instant | None = None
        self.sequence = 0
        self.moments = Moments() if functions & MOMENTS else None
        self.sloped = Moments() if "slope" in functions else None
        self.sorted: list[Number] | None = [] if functions & ORDERED else None
        self.least: deque[tuple[int, Number]] | None = deque() if "min_over" in functions else None
        self.greatest: deque[tuple[int, Number]] | None = (
            deque() if "max_over" in functions else None
        )
        self.angles = (Moments(), Moments()) if "mean_angle" in functions else None

    # -- samples ----------------------------------------------------------------------------

    def push(self, time: Instant, value: Any) -> None:
        """Takes in what the expression is at a sample; None where it is unknown."""
        if self.shape.packed is not None:
            self._push_packed(time, value, self.shape.packed)
            return
        sample = self._sample(value)
        self.known = sample is not None
        if sample is not None:
            self._keep(time, sample)

    def _sample(self, value: Any) -> Number | None:
        if not self.shape.presence:
            return number(value)
        return presence(value)

    def _push_packed(self, time: Instant, value: Any, span: Span) -> None:
        parts = elements(value) or []
        samples = [self._sample(part) for part in parts]
        self.known = any(sample is not None for sample in samples)
        count = len(samples)
        for index, sample in enumerate(samples, 1):
            if sample is not None:
                self._keep(time - span + span * index // count, sample)

    def _keep(self, time: Instant, value: Number) -> None:
        if self.newest is not None and time < self.newest:
            time = self.newest
        if self.first is None:
            self.first = time
        self.newest = time
        self._enter(time, value)
        self._expire(time)

    def _expire(self, now: Instant) -> None:
        times, shape = self.sample_times, self.shape
        if shape.span is not None:
            edge = now - shape.span
            while times and times[0] <= edge:
                self._leave()
        else:
            while shape.last is not None and len(times) > shape.last:
                self._leave()
        if len(times) > MOST_SAMPLES:
            self._leave()
            self.dropped += 1

    def _enter(self, time: Instant, value: Number) -> None:
        self.sample_times.append(time)
        self.sample_values.append(value)
        self.sequence += 1
        if self.moments is not None:
            self.moments.add(value)
        if self.sloped is not None:
            if self.origin is None:
                self.origin = time
            self.sloped.add_timed(time - self.origin, value)
        if self.sorted is not None:
            insort(self.sorted, value)
        if self.least is not None:
            while self.least and self.least[-1][1] >= value:
                self.least.pop()
            self.least.append((self.sequence, value))
        if self.greatest is not None:
            while self.greatest and self.greatest[-1][1] <= value:
                self.greatest.pop()
            self.greatest.append((self.sequence, value))
        if self.angles is not None:
            self._turn(value, 1)

    def _leave(self) -> None:
        oldest = self.sequence - len(self.sample_times) + 1
        time = self.sample_times.popleft()
        value = self.sample_values.popleft()
        if self.moments is not None:
            self.moments.add(value, -1)
        if self.sloped is not None and self.origin is not None:
            self.sloped.add_timed(time - self.origin, value, -1)
        if self.sorted is not None:
            del self.sorted[bisect_left(self.sorted, value)]
        for extreme in (self.least, self.greatest):
            if extreme and extreme[0][0] == oldest:
                extreme.popleft()
        if self.angles is not None:
            self._turn(value, -1)

    def _turn(self, value: Number, sign: int) -> None:
        if self.angles is not None:
            angle = math.radians(value)
            self.angles[0].add(math.sin(angle), sign)
            self.angles[1].add(math.cos(angle), sign)

    # -- figures ----------------------------------------------------------------------------

    def missing(self, now: Instant) -> str:
        """What is still missing for a known value, in words; empty if nothing is."""
        span, last = self.shape.span, self.shape.last
        if not self.known:
            return "not in the last event"
        if span is not None and (self.first is None or now < self.first + span):
            seen = 0 if self.first is None else now - self.first
            return f"{format_duration(seen)} of {format_duration(span)} seen"
        if last is not None and len(self.sample_times) < last:
            return f"{len(self.sample_times)} of {last} evaluations seen"
        return ""

    def value(self, function: str, now: Instant, quantile: float) -> float | int | None:
        """A figure of the samples in (now − span, now], or of the last evaluations."""
        if not self.known or self.newest is None:
            return None
        span, last = self.shape.span, self.shape.last
        if span is not None:
            if self.first is None or now < self.first + span:
                return None
            self._expire(now)
        elif last is not None and len(self.sample_times) < last:
            return None
        return self._figure(function, quantile)

    def _figure(self, function: str, quantile: float) -> float | int | None:
        if self.moments is not None:
            match function:
                case "mean":
                    return self.moments.mean()
                case "sum_over":
                    return self.moments.sum() if self.sample_times else None
                case "std":
                    return self.moments.deviation()
                case "rms":
                    return self.moments.rms()
                case "count":
                    return self._count()
                case "rate":
                    return self._rate()
        if function == "delta":
            values = self.sample_values
            return number(values[-1] - values[0]) if len(values) > 1 else None
        if self.sloped is not None and function == "slope":
            return self.sloped.slope()
        if self.sorted is not None and function in ORDERED:
            return percentile(self.sorted, quantile)
        if self.angles is not None and function == "mean_angle":
            return mean_angle(*self.angles) if self.sample_times else None
        extreme = self.least if function == "min_over" else self.greatest
        return extreme[0][1] if extreme else None

    def _count(self) -> int:
        return self.moments.first if self.moments is not None else 0

    def _rate(self) -> float | None:
        if self.shape.span is not None:
            return self._count() * SECOND / self.shape.span
        if len(self.sample_times) < 2:
            return None
        elapsed = self.sample_times[-1] - self.sample_times[0]
        later = self._count() - self.sample_values[0]
        return later * SECOND / elapsed if elapsed else None

    def figure_of(
        self, function: str, quantile: float, times: Iterable[Instant], values: Iterable[Number]
    ) -> float | int | None:
        """The same figure of samples that are given at once, in place of those held."""
        self._clear()
        for time, value in zip(times, values, strict=True):
            self._enter(time, value)
        return self._figure(function, quantile)

    # -- sharing ----------------------------------------------------------------------------

    def serve(self, functions: Collection[str]) -> None:
        """Answers further functions from now on."""
        wanted = self.shape.functions | frozenset(functions)
        if wanted != self.shape.functions:
            self.shape = replace(self.shape, functions=wanted)
            self.load(self.save())

    def agrees(self, other: object) -> bool:
        """Whether another one holds the same samples, and will from now on say the same."""
        if not isinstance(other, Window):
            return False
        marks, others = (self.newest, self.known), (other.newest, other.known)
        grown = self._grown() and other._grown()
        return (
            marks == others
            and (grown or self.first == other.first)
            and self.sample_times == other.sample_times
            and self.sample_values == other.sample_values
        )

    def _grown(self) -> bool:
        span = self.shape.span
        if span is None or self.first is None or self.newest is None:
            return span is None
        return self.newest >= self.first + span

    # -- saving -----------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "times": list(self.sample_times),
            "values": list(self.sample_values),
            "first": self.first,
            "newest": self.newest,
            "known": self.known,
            "dropped": self.dropped,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        self._clear()
        for time, value in zip(state["times"], state["values"], strict=True):
            self._enter(int(time), value)
        self.first, self.newest = state["first"], state["newest"]
        self.known, self.dropped = bool(state["known"]), int(state["dropped"])
