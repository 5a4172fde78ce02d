"""Exact sums, so that a value depends on what is in a window and not on what has left it.

A float is an integer times a power of two; the sums are kept as such integers over a common
power and rounded once, when asked for. The results are those of Python's `statistics` module
over the samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Number = float | int
MANY = 100
"""From so many numbers on it pays to add up arrays."""
MOST_SIZES = 64


def _divided(numerator: int, denominator: int) -> float | None:
    try:
        return numerator / denominator
    except (OverflowError, ZeroDivisionError):
        return None


class Moments:
    """The exact sums of some numbers, of their squares, and with their times."""

    __slots__ = ("count", "first", "second", "shift", "timed", "times", "times_squared")

    def __init__(self, values: Iterable[Number] = ()) -> None:
        self.count = 0
        self.shift = 0
        self.first = 0
        self.second = 0
        self.times = 0
        self.times_squared = 0
        self.timed = 0
        for value in values:
            self.add(value)

    @classmethod
    def of(cls, values: Sequence[Number]) -> Moments:
        """The sums of many numbers: floats of one power of two together, as whole numbers."""
        if len(values) < MANY or set(map(type, values)) != {float}:
            return cls(values)
        parts, powers = np.frexp(np.fromiter(values, np.float64, len(values)))
        if int(powers.max()) - int(powers.min()) > MOST_SIZES:
            return cls(values)
        sizes = np.flatnonzero(np.bincount(powers - powers.min())) + powers.min()
        made, whole = cls(), (parts * 2.0**53).astype(np.int64)
        made.count, made.shift = len(values), max(0, 53 - int(sizes[0]))
        for size in sizes.tolist():
            first, second = _whole_sums(whole[powers == size])
            up = made.shift + size - 53
            made.first += first << up
            made.second += second << (2 * up)
        return made

    def add(self, value: Number, sign: int = 1) -> int:
        """Takes a number in, or out with sign -1; returns it over the common power."""
        numerator, denominator = value.as_integer_ratio()
        power = denominator.bit_length() - 1
        if power > self.shift:
            self._widen(power)
        scaled = numerator << (self.shift - power)
        self.count += sign
        self.first += sign * scaled
        self.second += sign * scaled * scaled
        return scaled

    def add_timed(self, time: int, value: Number, sign: int = 1) -> None:
        """Takes a number at a time (nanoseconds from some origin) in or out."""
        scaled = self.add(value, sign)
        self.times += sign * time
        self.times_squared += sign * time * time
        self.timed += sign * time * scaled

    def _widen(self, power: int) -> None:
        more = power - self.shift
        self.first <<= more
        self.timed <<= more
        self.second <<= 2 * more
        self.shift = power

    def sum(self) -> float | None:
        """Σx, correctly rounded."""
        return _divided(self.first, 1 << self.shift)

    def mean(self) -> float | None:
        """Σx / n, correctly rounded."""
        return _divided(self.first, self.count << self.shift)

    def deviation(self) -> float | None:
        """The sample standard deviation √((Σx² − (Σx)²/n) / (n − 1))."""
        n = self.count
        if n < 2:
            return None
        spread = n * self.second - self.first * self.first
        variance = _divided(spread, (n * (n - 1)) << (2 * self.shift))
        return None if variance is None else math.sqrt(variance)

    def rms(self) -> float | None:
        """√(Σx² / n)."""
        square = _divided(self.second, self.count << (2 * self.shift))
        return None if square is None else math.sqrt(square)

    def slope(self) -> float | None:
        """The slope of the least-squares line, per second: (nΣtx − ΣtΣx) / (nΣt² − (Σt)²)."""
        n = self.count
        spread = n * self.times_squared - self.times * self.times
        rise = n * self.timed - self.times * self.first
        return _divided(rise * 1_000_000_000, spread << self.shift) if spread else None


def _whole_sums(whole: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Σx and Σx² of integers of 53 bits; of at most 512 halves' products no sum overflows."""
    starts = np.arange(0, len(whole), 512)
    high, low = whole >> 27, whole & (2**27 - 1)
    first, square, cross, rest = (
        sum(np.add.reduceat(part, starts).tolist())
        for part in (whole, high * high, high * low, low * low)
    )
    return first, (square << 54) + (cross << 28) + rest


def mean_angle(sines: Moments, cosines: Moments) -> float | None:
    """The direction of the sum of unit vectors, in degrees from 0 to 360."""
    y, x = sines.sum(), cosines.sum()
    if y is None or x is None or math.hypot(x, y) <= 1e-9 * sines.count:
        return None
    angle = math.degrees(math.atan2(y, x)) % 360.0
    return 0.0 if angle >= 360.0 else angle


def percentile(ordered: list[Number], quantile: float) -> float | int | None:
    """Percentile of sorted numbers, linear between neighbours (Hyndman and Fan's type 7)."""
    if not ordered:
        return None
    rank = (len(ordered) - 1) * quantile / 100
    low = math.floor(rank)
    if low + 1 >= len(ordered):
        return ordered[-1]
    a, b = ordered[low], ordered[low + 1]
    part = rank - low
    value = (a + b) / 2 if part == 0.5 else a + (b - a) * part
    return value if math.isfinite(value) else None
