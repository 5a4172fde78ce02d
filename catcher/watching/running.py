"""The sums of a window: worked out exactly when asked for, and close bounds at any time.

A condition seldom needs a figure itself, only on which side of a limit it lies. Float sums about
a centre, added up anew at bounded intervals, answer that with a bound on their error; the exact
sums are brought up to date where the bounds leave it open. Errors are bounded as in N. J. Higham,
"Accuracy and Stability of Numerical Algorithms", 2nd ed., chapter 4, all of them rounded up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import islice

from catcher.watching.sums import MANY, Moments, Number

UNIT = 2.0**-53
FEWEST = 64
LARGEST_WHOLE = 2**53
ROUNDED = 1e-14
"""More than the relative error of a square root and of what it is taken of."""
TINY = 1e-290
"""More than what is lost where a product is too small for a float."""


class Running:
    """The sums over the samples of a window, which tells it of each that enters or has left."""

    __slots__ = (
        "_centre", "_exact", "_first", "_first_error", "_gone", "_most", "_new", "_rest",
        "_second", "_second_error", "_size_error", "_values",
    )  # fmt: skip

    def __init__(self, values: deque[Number]) -> None:
        self._values = values
        self._exact: Moments | None = None
        self._gone: list[Number] = []
        self._new = 0
        self._centre = self._first = self._second = 0.0
        self._first_error = self._second_error = self._size_error = 0.0
        self._most = -1.0
        self._rest = 0

    # -- samples ----------------------------------------------------------------------------

    def entered(self, value: Number) -> None:
        """A sample has entered at the end."""
        self._new += 1
        self._rest -= 1
        most = self._most
        if most >= 0.0:
            apart = value - self._centre
            self._first += apart
            self._second += apart * apart
            if not -most <= apart <= most:
                self._most, self._rest = -1.0, 0

    def left(self, value: Number) -> None:
        """The oldest sample has left."""
        if self._new > len(self._values):
            self._new -= 1
        elif self._exact is not None:
            self._gone.append(value)
            if len(self._gone) > len(self._values) + FEWEST:
                self._exact = None
                self._gone.clear()
        self._rest -= 1
        if self._most >= 0.0:
            apart = value - self._centre
            self._first -= apart
            self._second -= apart * apart
            if self._rest <= 0:
                self._most = -1.0

    def exact(self) -> Moments:
        """The exact sums of the samples."""
        exact, values = self._exact, self._values
        few = len(values) // 16 if len(values) > MANY and type(values[-1]) is float else len(values)
        if exact is None or len(self._gone) + self._new > few:
            exact = self._exact = Moments.of(values)
        else:
            for value in self._gone:
                exact.add(value, -1)
            for value in islice(reversed(values), self._new):
                exact.add(value)
        self._gone.clear()
        self._new = 0
        return exact

    # -- bounds -----------------------------------------------------------------------------

    def between(self, figure: str) -> Callable[[float, float], bool] | None:
        """What tells whether a figure is sure to lie between two limits.

        Where it says no, it may yet.
        """
        return {
            "mean": self._mean_between,
            "sum_over": self._sum_between,
            "std": self._std_between,
            "rms": self._rms_between,
        }.get(figure)

    def _open(self, count: int) -> bool:
        """Whether there are no bounds at present."""
        return count < 2 or self._rest > 0 or not self._begin(count)

    def _mean_between(self, low: float, high: float) -> bool:
        count = len(self._values)
        if self._most < 0.0 and self._open(count):
            return False
        value = self._centre + self._first / count
        error = self._first_error / count + self._size_error
        return low < value - error and value + error < high

    def _sum_between(self, low: float, high: float) -> bool:
        count = len(self._values)
        if self._most < 0.0 and self._open(count):
            return False
        value = self._centre * count + self._first
        error = self._first_error + self._size_error * count
        return low < value - error and value + error < high

    def _std_between(self, low: float, high: float) -> bool:
        count = len(self._values)
        if count < 2 or (self._most < 0.0 and self._open(count)):
            return False
        first, second, slip = self._first, self._second, self._first_error
        square = first * first / count
        error = (2 * abs(first) + slip) * slip / count
        error += self._second_error + 8 * UNIT * (second + square)
        return _root_between(second - square, error, count - 1, low, high)

    def _rms_between(self, low: float, high: float) -> bool:
        count = len(self._values)
        if self._most < 0.0 and self._open(count):
            return False
        centre, first = self._centre, self._first
        size = abs(centre) + self._most
        total = self._second + 2 * centre * first + count * centre * centre
        error = self._second_error + 2 * abs(centre) * self._first_error
        error += 16 * UNIT * count * size * size
        return _root_between(total, error, count, low, high)

    def _begin(self, count: int) -> bool:
        """Adds up anew about the present mean, good for twice as many samples to come and go.

        False where floats cannot do it, until as many have come and gone.
        """
        values, self._rest = self._values, 2 * max(count, FEWEST)
        try:
            centre = math.fsum(values) / count
            apart = [value - centre for value in values]
            squares = math.fsum([one * one for one in apart])
        except OverflowError:
            return False
        most = 4 * max(map(abs, apart))
        if not abs(centre) + most < LARGEST_WHOLE:
            return False
        self._centre, self._most = centre, most
        self._first, self._second = math.fsum(apart), squares
        bound = 2 * UNIT * (count + self._rest) * (self._rest + 8)
        self._first_error = bound * most + TINY
        self._size_error = 8 * UNIT * (abs(centre) + most)
        self._second_error = bound * most * most + TINY
        return True


def _root_between(total: float, error: float, count: int, low: float, high: float) -> bool:
    """Whether the square root of a mean lies between two limits; compared by their squares."""
    if low >= 0.0 and not total - error > low * low * count * (1 + ROUNDED):
        return False
    return high > 0.0 and total + error < high * high * count * (1 - ROUNDED)
