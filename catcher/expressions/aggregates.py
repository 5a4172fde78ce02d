"""The sums of a window: computed exactly on demand, with close bounds available at any time.

A condition seldom needs an exact value, only on which side of a limit it is. Float sums about a
centre, recomputed at bounded intervals, answer that with a bound on their error; the exact sums
are updated only if the bounds leave it open. Errors are bounded as in N. J. Higham, "Accuracy and
Stability of Numerical Algorithms", 2nd ed., chapter 4, all of them rounded up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

# Exact sums, so that a value depends on what is in a window and not on what has left it.


Number = float | int
MIN_VECTORIZED = 100
"""From this many numbers on, adding up arrays is faster."""
MAX_EXPONENT_RANGE = 64


def _divide_or_none(numerator: int, denominator: int) -> float | None:
    try:
        return numerator / denominator
    except (OverflowError, ZeroDivisionError):
        return None


class ExactMoments:
    """The exact sums of some numbers, of their squares, and with their times."""

    __slots__ = (
        "count",
        "first",
        "second",
        "shift",
        "time_products",
        "time_square_sum",
        "time_sum",
    )

    def __init__(self, values: Iterable[Number] = ()) -> None:
        self.count = 0
        self.shift = 0
        self.first = 0
        self.second = 0
        self.time_sum = 0
        self.time_square_sum = 0
        self.time_products = 0
        for value in values:
            self.add(value)

    @classmethod
    def from_values(cls, values: Sequence[Number]) -> ExactMoments:
        """Returns the sums of many numbers: floats of one power of two together, as integers."""
        if len(values) < MIN_VECTORIZED or set(map(type, values)) != {float}:
            return cls(values)
        fractions, exponents = np.frexp(np.fromiter(values, np.float64, len(values)))
        if int(exponents.max()) - int(exponents.min()) > MAX_EXPONENT_RANGE:
            return cls(values)
        distinct_exponents = (
            np.flatnonzero(np.bincount(exponents - exponents.min())) + exponents.min()
        )
        moments, integers = cls(), (fractions * 2.0**53).astype(np.int64)
        moments.count, moments.shift = len(values), max(0, 53 - int(distinct_exponents[0]))
        for exponent in distinct_exponents.tolist():
            first, second = _sum_and_sum_squares(integers[exponents == exponent])
            offset = moments.shift + exponent - 53
            moments.first += first << offset
            moments.second += second << (2 * offset)
        return moments

    def add(self, value: Number, sign: int = 1) -> int:
        """Adds a number, or removes it with sign -1; returns it over the common power."""
        numerator, denominator = value.as_integer_ratio()
        power = denominator.bit_length() - 1
        if power > self.shift:
            self._rescale(power)
        scaled = numerator << (self.shift - power)
        self.count += sign
        self.first += sign * scaled
        self.second += sign * scaled * scaled
        return scaled

    def add_timed(self, time: int, value: Number, sign: int = 1) -> None:
        """Adds or removes a number at a time (nanoseconds from some origin)."""
        scaled = self.add(value, sign)
        self.time_sum += sign * time
        self.time_square_sum += sign * time * time
        self.time_products += sign * time * scaled

    def _rescale(self, power: int) -> None:
        extra_bits = power - self.shift
        self.first <<= extra_bits
        self.time_products <<= extra_bits
        self.second <<= 2 * extra_bits
        self.shift = power

    def total(self) -> float | None:
        """Returns Σx, correctly rounded."""
        return _divide_or_none(self.first, 1 << self.shift)

    def mean(self) -> float | None:
        """Returns Σx / n, correctly rounded."""
        return _divide_or_none(self.first, self.count << self.shift)

    def std(self) -> float | None:
        """Returns the sample standard deviation √((Σx² − (Σx)²/n) / (n − 1))."""
        n = self.count
        if n < 2:
            return None
        scaled_variance = n * self.second - self.first * self.first
        variance = _divide_or_none(scaled_variance, (n * (n - 1)) << (2 * self.shift))
        return None if variance is None else math.sqrt(variance)

    def rms(self) -> float | None:
        """Returns √(Σx² / n)."""
        square = _divide_or_none(self.second, self.count << (2 * self.shift))
        return None if square is None else math.sqrt(square)

    def fit_slope(self) -> float | None:
        """Returns the least-squares slope per second: (nΣtx − ΣtΣx) / (nΣt² − (Σt)²)."""
        n = self.count
        time_variance = n * self.time_square_sum - self.time_sum * self.time_sum
        covariance = n * self.time_products - self.time_sum * self.first
        return (
            _divide_or_none(covariance * 1_000_000_000, time_variance << self.shift)
            if time_variance
            else None
        )


def _sum_and_sum_squares(integers: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Returns Σx and Σx² of 53-bit integers; of at most 512 products of halves no sum overflows."""
    starts = np.arange(0, len(integers), 512)
    high, low = integers >> 27, integers & (2**27 - 1)
    first, square, cross, low_square = (
        sum(np.add.reduceat(part, starts).tolist())
        for part in (integers, high * high, high * low, low * low)
    )
    return first, (square << 54) + (cross << 28) + low_square


def compute_mean_angle(sines: ExactMoments, cosines: ExactMoments) -> float | None:
    """Returns the direction of the sum of unit vectors, in degrees from 0 to 360."""
    y, x = sines.total(), cosines.total()
    if y is None or x is None or math.hypot(x, y) <= 1e-9 * sines.count:
        return None
    angle = math.degrees(math.atan2(y, x)) % 360.0
    return 0.0 if angle >= 360.0 else angle


def compute_percentile(ordered: list[Number], quantile: float) -> float | int | None:
    """Returns a percentile of sorted numbers, linear between neighbours (Hyndman and Fan 7)."""
    if not ordered:
        return None
    rank = (len(ordered) - 1) * quantile / 100
    low = math.floor(rank)
    if low + 1 >= len(ordered):
        return ordered[-1]
    a, b = ordered[low], ordered[low + 1]
    fraction = rank - low
    value = (a + b) / 2 if fraction == 0.5 else a + (b - a) * fraction
    return value if math.isfinite(value) else None


UNIT_ROUNDOFF = 2.0**-53
MIN_REBASE_INTERVAL = 64
MAX_EXACT_INTEGER = 2**53
ROUNDING_MARGIN = 1e-14
"""More than the relative error of a square root and of its argument."""
INVALIDATE_BOUNDS = 10**9
BoundsCheck = Callable[[float, float], int]
UNDERFLOW_MARGIN = 1e-290
"""More than what is lost if a product is too small for a float."""


class IncrementalSums:
    """The sums over the samples of a window, which reports each sample that enters or has left."""

    __slots__ = (
        "_centre",
        "_first",
        "_first_error",
        "_magnitude_error",
        "_max_deviation",
        "_moments",
        "_operations_left",
        "_pending_additions",
        "_pending_removals",
        "_second",
        "_second_error",
        "_values",
        "operation_count",
    )  # fmt: skip

    def __init__(self, values: deque[Number]) -> None:
        self._values = values
        self._moments: ExactMoments | None = None
        self._pending_removals: list[Number] = []
        self._pending_additions = 0
        self._centre = self._first = self._second = 0.0
        self._first_error = self._second_error = self._magnitude_error = 0.0
        self._max_deviation = -1.0
        self._operations_left = 0
        self.operation_count = 0
        """How many samples have entered or left; it jumps when earlier bounds become invalid."""

    # -- samples ----------------------------------------------------------------------------

    def add_sample(self, value: Number) -> None:
        """Adds a sample at the end."""
        self._pending_additions += 1
        self._operations_left -= 1
        self.operation_count += 1
        max_deviation = self._max_deviation
        if max_deviation >= 0.0:
            deviation = value - self._centre
            self._first += deviation
            self._second += deviation * deviation
            if not -max_deviation <= deviation <= max_deviation:
                self._max_deviation, self._operations_left = -1.0, 0
                self.operation_count += INVALIDATE_BOUNDS

    def remove_oldest(self, value: Number) -> None:
        """Removes the oldest sample."""
        if self._pending_additions > len(self._values):
            self._pending_additions -= 1
        elif self._moments is not None:
            self._pending_removals.append(value)
            if len(self._pending_removals) > len(self._values) + MIN_REBASE_INTERVAL:
                self._moments = None
                self._pending_removals.clear()
        self._operations_left -= 1
        self.operation_count += 1
        if self._max_deviation >= 0.0:
            deviation = value - self._centre
            self._first -= deviation
            self._second -= deviation * deviation
            if self._operations_left <= 0:
                self._max_deviation = -1.0

    def compute_moments(self) -> ExactMoments:
        """Returns the exact sums of the samples."""
        moments, values = self._moments, self._values
        max_pending = (
            len(values) // 16
            if len(values) > MIN_VECTORIZED and type(values[-1]) is float
            else len(values)
        )
        if moments is None or len(self._pending_removals) + self._pending_additions > max_pending:
            moments = self._moments = ExactMoments.from_values(values)
        else:
            for value in self._pending_removals:
                moments.add(value, -1)
            for value in islice(reversed(values), self._pending_additions):
                moments.add(value)
        self._pending_removals.clear()
        self._pending_additions = 0
        return moments

    # -- bounds -----------------------------------------------------------------------------

    def get_bounds_check(self, function: str) -> BoundsCheck | None:
        """Returns a check up to which `operation_count` a value is sure to lie between two limits.

        The check returns 0 if that is open now. Each sample that enters or leaves moves a mean of n
        by at most 2m / (n − 1) and a variance by at most 4m²n / ((n − 1)(n − 2)), where no sample
        is further than m from the centre; as many operations are granted as the distance allows.
        """
        return {
            "mean": self._check_mean_bounds,
            "sum_over": self._check_sum_bounds,
            "std": self._check_std_bounds,
            "rms": self._check_rms_bounds,
        }.get(function)

    def _cannot_rebase(self, count: int) -> bool:
        """True if there are no bounds at present."""
        return count < 2 or self._operations_left > 0 or not self._rebase_sums(count)

    def _compute_valid_until(self, count: int, steps: float) -> int:
        return self.operation_count + 1 + (int(min(steps, count // 8)) if steps > 0.0 else 0)

    def _check_mean_bounds(self, low: float, high: float) -> int:
        count = len(self._values)
        if self._max_deviation < 0.0 and self._cannot_rebase(count):
            return 0
        value = self._centre + self._first / count
        error = self._first_error / count + self._magnitude_error
        margin = min(value - low, high - value) - error
        return (
            self._compute_valid_until(count, margin * self._mean_steps_per_margin(count))
            if margin > 0.0
            else 0
        )

    def _mean_steps_per_margin(self, count: int) -> float:
        return (0.87 * count - 1) / (2.1 * self._max_deviation + UNDERFLOW_MARGIN)

    def _check_sum_bounds(self, low: float, high: float) -> int:
        count = len(self._values)
        if self._max_deviation < 0.0 and self._cannot_rebase(count):
            return 0
        value = self._centre * count + self._first
        error = self._first_error + self._magnitude_error * count
        return self.operation_count + 1 if low < value - error and value + error < high else 0

    def _check_std_bounds(self, low: float, high: float) -> int:
        count = len(self._values)
        if count < 2 or (self._max_deviation < 0.0 and self._cannot_rebase(count)):
            return 0
        first, second, first_error = self._first, self._second, self._first_error
        square = first * first / count
        error = (2 * abs(first) + first_error) * first_error / count
        error += self._second_error + 8 * UNIT_ROUNDOFF * (second + square)
        margin = _compute_root_margin(second - square, error, count - 1, low, high)
        steps = (0.87 * count - 3) / (
            4.5 * self._max_deviation * self._max_deviation + UNDERFLOW_MARGIN
        )
        return self._compute_valid_until(count, margin * steps) if margin > 0.0 else 0

    def _check_rms_bounds(self, low: float, high: float) -> int:
        count = len(self._values)
        if self._max_deviation < 0.0 and self._cannot_rebase(count):
            return 0
        centre, first = self._centre, self._first
        size = abs(centre) + self._max_deviation
        total = self._second + 2 * centre * first + count * centre * centre
        error = self._second_error + 2 * abs(centre) * self._first_error
        error += 16 * UNIT_ROUNDOFF * count * size * size
        return (
            self.operation_count + 1
            if _compute_root_margin(total, error, count, low, high) > 0.0
            else 0
        )

    def _rebase_sums(self, count: int) -> bool:
        """Recomputes the sums about the mean, valid for twice as many samples to come and go.

        False if floats cannot do it, until as many have come and gone.
        """
        values, self._operations_left = self._values, 2 * max(count, MIN_REBASE_INTERVAL)
        try:
            centre = math.fsum(values) / count
            deviations = [value - centre for value in values]
            squares = math.fsum([deviation * deviation for deviation in deviations])
        except OverflowError:
            return False
        max_deviation = 1.5 * max(map(abs, deviations))
        if not abs(centre) + max_deviation < MAX_EXACT_INTEGER:
            return False
        self.operation_count += INVALIDATE_BOUNDS
        self._centre, self._max_deviation = centre, max_deviation
        self._first, self._second = math.fsum(deviations), squares
        bound = 2 * UNIT_ROUNDOFF * (count + self._operations_left) * (self._operations_left + 8)
        self._first_error = bound * max_deviation + UNDERFLOW_MARGIN
        self._magnitude_error = 8 * UNIT_ROUNDOFF * (abs(centre) + max_deviation)
        self._second_error = bound * max_deviation * max_deviation + UNDERFLOW_MARGIN
        return True


def _compute_root_margin(total: float, error: float, count: int, low: float, high: float) -> float:
    """Returns how far a mean is inside the squares of two limits of its root; 0 if that is open."""
    lower_margin = (
        total - error - low * low * count * (1 + ROUNDING_MARGIN) if low >= 0.0 else math.inf
    )
    upper_margin = (
        high * high * count * (1 - ROUNDING_MARGIN) - total - error if high > 0.0 else 0.0
    )
    return max(0.0, min(lower_margin, upper_margin)) / count
