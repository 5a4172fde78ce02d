"""What functions over time remember: windows of samples, the value before, streaks."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from catcher.model.time import SECOND, Instant, Span, format_duration, told_duration
from catcher.watching.running import Running, Sure
from catcher.watching.shapes import WindowShape, presence
from catcher.watching.sums import Moments, Number, mean_angle, percentile
from catcher.watching.values import LARGEST, elements, number

MOST_SAMPLES = 200_000
"""The most samples that one window holds; beyond it the oldest leave, counted."""

ORDERED = frozenset(("median", "percentile"))
EXTREME = frozenset(("min_over", "max_over"))
SUMMED = frozenset(("mean", "sum_over", "std", "rms"))


class Window:
    """The samples of one expression over a span or a number of evaluations, and their figures."""

    __slots__ = (
        "_odd", "_plain", "_presence", "_span", "angles", "dropped", "first", "greatest",
        "known", "least", "newest", "ones", "origin", "running", "sample_times",
        "sample_values", "sequence", "shape", "sloped", "sorted",
    )  # fmt: skip

    def __init__(self, shape: WindowShape) -> None:
        self.shape = shape
        self._plain = shape.packed is None and not shape.presence
        self._presence, self._span = shape.presence, shape.span
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
        self.ones: Number = 0
        self.running = Running(self.sample_values) if functions & SUMMED else None
        self.sloped = Moments() if "slope" in functions else None
        self.sorted: list[Number] | None = [] if functions & ORDERED else None
        self.least: deque[tuple[int, Number]] | None = deque() if "min_over" in functions else None
        self.greatest: deque[tuple[int, Number]] | None = (
            deque() if "max_over" in functions else None
        )
        self.angles = (Moments(), Moments()) if "mean_angle" in functions else None
        kept = (self.sloped, self.sorted, self.angles)
        self._odd = self._presence or any(one is not None for one in kept)

    # -- samples ----------------------------------------------------------------------------

    def push(self, time: Instant, value: Any) -> None:
        """Takes in what the expression is at a sample; None where it is unknown."""
        if self._plain and type(value) is float and -LARGEST <= value <= LARGEST:
            self.known = True
            self._keep(time, value)
            return
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
        if self.first is None:
            self.first = self.newest = time
        elif time < self.newest:  # type: ignore[operator]
            time = self.newest  # type: ignore[assignment]
        self.newest = time
        self._enter(time, value)
        times, span = self.sample_times, self._span
        if span is None or len(times) > MOST_SAMPLES:
            self._expire(time)
            return
        edge = time - span
        while times[0] <= edge:
            self._leave()

    def _expire(self, now: Instant) -> None:
        times, span, last = self.sample_times, self._span, self.shape.last
        if span is not None:
            edge = now - span
            while times and times[0] <= edge:
                self._leave()
        else:
            while last is not None and len(times) > last:
                self._leave()
        if len(times) > MOST_SAMPLES:
            self._leave()
            self.dropped += 1

    def _enter(self, time: Instant, value: Number) -> None:
        self.sample_times.append(time)
        self.sample_values.append(value)
        self.sequence += 1
        if self.running is not None:
            self.running.entered(value)
        if (least := self.least) is not None:
            while least and least[-1][1] >= value:
                least.pop()
            least.append((self.sequence, value))
        if (greatest := self.greatest) is not None:
            while greatest and greatest[-1][1] <= value:
                greatest.pop()
            greatest.append((self.sequence, value))
        if self._odd:
            self._enter_odd(time, value)

    def _enter_odd(self, time: Instant, value: Number) -> None:
        if self._presence:
            self.ones += value
        if self.sloped is not None:
            if self.origin is None:
                self.origin = time
            self.sloped.add_timed(time - self.origin, value)
        if self.sorted is not None:
            insort(self.sorted, value)
        if self.angles is not None:
            self._turn(value, 1)

    def _leave(self) -> None:
        time = self.sample_times.popleft()
        value = self.sample_values.popleft()
        if self.running is not None:
            self.running.left(value)
        oldest = self.sequence - len(self.sample_times)
        if self.least and self.least[0][0] == oldest:
            self.least.popleft()
        if self.greatest and self.greatest[0][0] == oldest:
            self.greatest.popleft()
        if self._odd:
            self._leave_odd(time, value)

    def _leave_odd(self, time: Instant, value: Number) -> None:
        if self._presence:
            self.ones -= value
        if self.sloped is not None and self.origin is not None:
            self.sloped.add_timed(time - self.origin, value, -1)
        if self.sorted is not None:
            del self.sorted[bisect_left(self.sorted, value)]
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
            return f"{told_duration(seen)} of {format_duration(span)} seen"
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
        if self.running is not None and function in SUMMED:
            return self._summed(function, self.running.exact())
        if function == "count":
            return self.ones
        if function == "rate":
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

    def _summed(self, function: str, sums: Moments) -> float | None:
        match function:
            case "mean":
                return sums.mean()
            case "sum_over":
                return sums.sum() if self.sample_times else None
            case "std":
                return sums.deviation()
        return sums.rms()

    def _rate(self) -> float | None:
        if self.shape.span is not None:
            return self.ones * SECOND / self.shape.span
        if len(self.sample_times) < 2:
            return None
        elapsed = self.sample_times[-1] - self.sample_times[0]
        later = self.ones - self.sample_values[0]
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

    def ready(self) -> Instant | None:
        """From when on figures are known at known samples; None while that is open."""
        if self._span is not None:
            return None if self.first is None else self.first + self._span
        return 0 if len(self.sample_times) >= (self.shape.last or 0) else None

    def sure(self, function: str) -> Sure | None:
        """What tells for how long a known figure is sure to lie between two limits."""
        usual = self.shape.packed is None and self.running is not None
        return self.running.sure(function) if usual and self.running is not None else None

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
