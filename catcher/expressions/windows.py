"""The windows of functions over time: the samples of a span or of a number of evaluations."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from catcher.expressions.aggregates import (
    BoundsCheck,
    ExactMoments,
    IncrementalSums,
    Number,
    compute_mean_angle,
    compute_percentile,
)
from catcher.expressions.values import MAX_FLOAT, to_elements, to_number
from catcher.expressions.window_shape import WindowShape, value_to_count
from catcher.model.time import SECOND, Instant, Span, format_duration, humanize_duration

MAX_SAMPLES = 200_000
"""The most samples that one window holds; beyond it the oldest are dropped, counted."""

ORDER_FUNCTIONS = frozenset(("median", "percentile"))
EXTREME_FUNCTIONS = frozenset(("min_over", "max_over"))
SUM_FUNCTIONS = frozenset(("mean", "sum_over", "std", "rms"))


class Window:
    """The samples of one expression over a span or a number of evaluations, with aggregates."""

    __slots__ = (
        "_has_extra_aggregates",
        "_is_counting",
        "_is_scalar",
        "_span",
        "angle_moments",
        "dropped_count",
        "first_time",
        "is_known",
        "max_candidates",
        "min_candidates",
        "newest_time",
        "sample_times",
        "sample_values",
        "sequence",
        "shape",
        "slope_moments",
        "sorted_values",
        "sums",
        "time_origin",
        "true_count",
    )  # fmt: skip

    def __init__(self, shape: WindowShape) -> None:
        self.shape = shape
        self._is_scalar = shape.packed is None and not shape.is_counting
        self._is_counting, self._span = shape.is_counting, shape.span
        self.is_known = False
        self.first_time: Instant | None = None
        self.newest_time: Instant | None = None
        self.dropped_count = 0
        self._reset_samples()

    def _reset_samples(self) -> None:
        functions = self.shape.functions
        self.sample_times: deque[Instant] = deque()
        self.sample_values: deque[Number] = deque()
        self.time_origin: Instant | None = None
        self.sequence = 0
        self.true_count: Number = 0
        self.sums = IncrementalSums(self.sample_values) if functions & SUM_FUNCTIONS else None
        self.slope_moments = ExactMoments() if "slope" in functions else None
        self.sorted_values: list[Number] | None = [] if functions & ORDER_FUNCTIONS else None
        self.min_candidates: deque[tuple[int, Number]] | None = (
            deque() if "min_over" in functions else None
        )
        self.max_candidates: deque[tuple[int, Number]] | None = (
            deque() if "max_over" in functions else None
        )
        self.angle_moments = (ExactMoments(), ExactMoments()) if "mean_angle" in functions else None
        extra_aggregates = (self.slope_moments, self.sorted_values, self.angle_moments)
        self._has_extra_aggregates = self._is_counting or any(
            aggregate is not None for aggregate in extra_aggregates
        )

    # -- samples ----------------------------------------------------------------------------

    def add_sample(self, time: Instant, value: Any) -> None:
        """Adds the value of the expression at a sample; None if it is unknown."""
        if self._is_scalar and type(value) is float and -MAX_FLOAT <= value <= MAX_FLOAT:
            self.is_known = True
            self._insert_sample(time, value)
            return
        if self.shape.packed is not None:
            self._add_packed_samples(time, value, self.shape.packed)
            return
        sample = self._convert_sample(value)
        self.is_known = sample is not None
        if sample is not None:
            self._insert_sample(time, sample)

    def _convert_sample(self, value: Any) -> Number | None:
        if not self.shape.is_counting:
            return to_number(value)
        return value_to_count(value)

    def _add_packed_samples(self, time: Instant, value: Any, span: Span) -> None:
        parts = to_elements(value) or []
        samples = [self._convert_sample(part) for part in parts]
        self.is_known = any(sample is not None for sample in samples)
        count = len(samples)
        for index, sample in enumerate(samples, 1):
            if sample is not None:
                self._insert_sample(time - span + span * index // count, sample)

    def _insert_sample(self, time: Instant, value: Number) -> None:
        if self.first_time is None:
            self.first_time = self.newest_time = time
        elif time < self.newest_time:  # type: ignore[operator]
            time = self.newest_time  # type: ignore[assignment]
        self.newest_time = time
        self._append_sample(time, value)
        times, span = self.sample_times, self._span
        if span is None or len(times) > MAX_SAMPLES:
            self._evict_expired(time)
            return
        cutoff = time - span
        while times[0] <= cutoff:
            self._evict_oldest()

    def _evict_expired(self, now: Instant) -> None:
        times, span, last = self.sample_times, self._span, self.shape.last
        if span is not None:
            cutoff = now - span
            while times and times[0] <= cutoff:
                self._evict_oldest()
        else:
            while last is not None and len(times) > last:
                self._evict_oldest()
        if len(times) > MAX_SAMPLES:
            self._evict_oldest()
            self.dropped_count += 1

    def _append_sample(self, time: Instant, value: Number) -> None:
        self.sample_times.append(time)
        self.sample_values.append(value)
        self.sequence += 1
        if self.sums is not None:
            self.sums.add_sample(value)
        if (min_candidates := self.min_candidates) is not None:
            while min_candidates and min_candidates[-1][1] >= value:
                min_candidates.pop()
            min_candidates.append((self.sequence, value))
        if (max_candidates := self.max_candidates) is not None:
            while max_candidates and max_candidates[-1][1] <= value:
                max_candidates.pop()
            max_candidates.append((self.sequence, value))
        if self._has_extra_aggregates:
            self._append_to_extra_aggregates(time, value)

    def _append_to_extra_aggregates(self, time: Instant, value: Number) -> None:
        if self._is_counting:
            self.true_count += value
        if self.slope_moments is not None:
            if self.time_origin is None:
                self.time_origin = time
            self.slope_moments.add_timed(time - self.time_origin, value)
        if self.sorted_values is not None:
            insort(self.sorted_values, value)
        if self.angle_moments is not None:
            self._update_angle_moments(value, 1)

    def _evict_oldest(self) -> None:
        time = self.sample_times.popleft()
        value = self.sample_values.popleft()
        if self.sums is not None:
            self.sums.remove_oldest(value)
        oldest = self.sequence - len(self.sample_times)
        if self.min_candidates and self.min_candidates[0][0] == oldest:
            self.min_candidates.popleft()
        if self.max_candidates and self.max_candidates[0][0] == oldest:
            self.max_candidates.popleft()
        if self._has_extra_aggregates:
            self._evict_from_extra_aggregates(time, value)

    def _evict_from_extra_aggregates(self, time: Instant, value: Number) -> None:
        if self._is_counting:
            self.true_count -= value
        if self.slope_moments is not None and self.time_origin is not None:
            self.slope_moments.add_timed(time - self.time_origin, value, -1)
        if self.sorted_values is not None:
            del self.sorted_values[bisect_left(self.sorted_values, value)]
        if self.angle_moments is not None:
            self._update_angle_moments(value, -1)

    def _update_angle_moments(self, value: Number, sign: int) -> None:
        if self.angle_moments is not None:
            angle = math.radians(value)
            self.angle_moments[0].add(math.sin(angle), sign)
            self.angle_moments[1].add(math.cos(angle), sign)

    # -- aggregates -------------------------------------------------------------------------

    def describe_missing(self, now: Instant) -> str:
        """Returns what is still missing for a known value, in words; empty if nothing is."""
        span, last = self.shape.span, self.shape.last
        if not self.is_known:
            return "not in the last event"
        if span is not None and (self.first_time is None or now < self.first_time + span):
            elapsed = 0 if self.first_time is None else now - self.first_time
            return f"{humanize_duration(elapsed)} of {format_duration(span)} seen"
        if last is not None and len(self.sample_times) < last:
            return f"{len(self.sample_times)} of {last} evaluations seen"
        return ""

    def compute_value(self, function: str, now: Instant, quantile: float) -> float | int | None:
        """Returns an aggregate of the samples in (now − span, now], or of the last evaluations."""
        if not self.is_known or self.newest_time is None:
            return None
        span, last = self.shape.span, self.shape.last
        if span is not None:
            if self.first_time is None or now < self.first_time + span:
                return None
            self._evict_expired(now)
        elif last is not None and len(self.sample_times) < last:
            return None
        return self._compute_aggregate(function, quantile)

    def _compute_aggregate(self, function: str, quantile: float) -> float | int | None:
        if self.sums is not None and function in SUM_FUNCTIONS:
            return self._compute_from_sums(function, self.sums.compute_moments())
        if function == "count":
            return self.true_count
        if function == "rate":
            return self._compute_rate()
        if function == "delta":
            values = self.sample_values
            return to_number(values[-1] - values[0]) if len(values) > 1 else None
        if self.slope_moments is not None and function == "slope":
            return self.slope_moments.fit_slope()
        if self.sorted_values is not None and function in ORDER_FUNCTIONS:
            return compute_percentile(self.sorted_values, quantile)
        if self.angle_moments is not None and function == "mean_angle":
            return compute_mean_angle(*self.angle_moments) if self.sample_times else None
        extreme = self.min_candidates if function == "min_over" else self.max_candidates
        return extreme[0][1] if extreme else None

    def _compute_from_sums(self, function: str, sums: ExactMoments) -> float | None:
        match function:
            case "mean":
                return sums.mean()
            case "sum_over":
                return sums.total() if self.sample_times else None
            case "std":
                return sums.std()
        return sums.rms()

    def _compute_rate(self) -> float | None:
        if self.shape.span is not None:
            return self.true_count * SECOND / self.shape.span
        if len(self.sample_times) < 2:
            return None
        elapsed = self.sample_times[-1] - self.sample_times[0]
        count_after_first = self.true_count - self.sample_values[0]
        return count_after_first * SECOND / elapsed if elapsed else None

    def compute_over_samples(
        self, function: str, quantile: float, times: Iterable[Instant], values: Iterable[Number]
    ) -> float | int | None:
        """Returns the same aggregate of given samples, which replace those held."""
        self._reset_samples()
        for time, value in zip(times, values, strict=True):
            self._append_sample(time, value)
        return self._compute_aggregate(function, quantile)

    # -- sharing ----------------------------------------------------------------------------

    def add_functions(self, functions: Collection[str]) -> None:
        """Supports further functions from now on."""
        all_functions = self.shape.functions | frozenset(functions)
        if all_functions != self.shape.functions:
            self.shape = replace(self.shape, functions=all_functions)
            self.load(self.save())

    def has_same_state(self, other: object) -> bool:
        """True if another one holds the same samples, and will give the same values from now on."""
        if not isinstance(other, Window):
            return False
        own_position, other_position = (
            (self.newest_time, self.is_known),
            (other.newest_time, other.is_known),
        )
        both_full = self._is_full() and other._is_full()
        return (
            own_position == other_position
            and (both_full or self.first_time == other.first_time)
            and self.sample_times == other.sample_times
            and self.sample_values == other.sample_values
        )

    def _is_full(self) -> bool:
        span = self.shape.span
        if span is None or self.first_time is None or self.newest_time is None:
            return span is None
        return self.newest_time >= self.first_time + span

    def find_ready_time(self) -> Instant | None:
        """Returns when aggregates at known samples become known; None while that is open."""
        if self._span is not None:
            return None if self.first_time is None else self.first_time + self._span
        return 0 if len(self.sample_times) >= (self.shape.last or 0) else None

    def get_bounds_check(self, function: str) -> BoundsCheck | None:
        """Returns a check of how long a known aggregate is sure to lie between two limits."""
        has_sums = self.shape.packed is None and self.sums is not None
        return self.sums.get_bounds_check(function) if has_sums and self.sums is not None else None

    # -- saving -----------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {
            "times": list(self.sample_times),
            "values": list(self.sample_values),
            "first": self.first_time,
            "newest": self.newest_time,
            "known": self.is_known,
            "dropped": self.dropped_count,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        self._reset_samples()
        for time, value in zip(state["times"], state["values"], strict=True):
            self._append_sample(int(time), value)
        self.first_time, self.newest_time = state["first"], state["newest"]
        self.is_known, self.dropped_count = bool(state["known"]), int(state["dropped"])
