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
NOTHING_HOLDS = 10**9
Sure = Callable[[float, float], int]
TINY = 1e-290
"""More than what is lost where a product is too small for a float."""


class Running:
    """The sums over the samples of a window, which tells it of each that enters or has left."""

    __slots__ = (
        "_centre", "_exact", "_first", "_first_error", "_gone", "_most", "_new", "_rest",
        "_second", "_second_error", "_size_error", "_values", "operations",
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
        self.operations = 0
        """How many samples have entered or left; a leap where what was sure is so no longer."""

    # -- samples ----------------------------------------------------------------------------

    def entered(self, value: Number) -> None:
        """A sample has entered at the end."""
        self._new += 1
        self._rest -= 1
        self.operations += 1
        most = self._most
        if most >= 0.0:
            apart = value - self._centre
            self._first += apart
            self._second += apart * apart
            if not -most <= apart <= most:
                self._most, self._rest = -1.0, 0
                self.operations += NOTHING_HOLDS

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
        self.operations += 1
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

    def sure(self, figure: str) -> Sure | None:
        """What tells up to how many `operations` a figure is sure to lie between two limits.

        0 where that is open even now. Each sample that enters or leaves moves a mean of n by at
        most 2m / (n − 1) and a variance by at most 4m²n / ((n − 1)(n − 2)), where no sample is
        further than m from the centre; as many operations are granted as the distance allows.
        """
        return {
            "mean": self._sure_of_mean,
            "sum_over": self._sure_of_sum,
            "std": self._sure_of_std,
            "rms": self._sure_of_rms,
        }.get(figure)

    def _open(self, count: int) -> bool:
        """Whether there are no bounds at present."""
        return count < 2 or self._rest > 0 or not self._begin(count)

    def _granted(self, count: int, steps: float) -> int:
        return self.operations + 1 + (int(min(steps, count // 8)) if steps > 0.0 else 0)

    def _sure_of_mean(self, low: float, high: float) -> int:
        count = len(self._values)
        if self._most < 0.0 and self._open(count):
            return 0
        value = self._centre + self._first / count
        error = self._first_error / count + self._size_error
        room = min(value - low, high - value) - error
        return self._granted(count, room * self._mean_steps(count)) if room > 0.0 else 0

    def _mean_steps(self, count: int) -> float:
        return (0.87 * count - 1) / (2.1 * self._most + TINY)

    def _sure_of_sum(self, low: float, high: float) -> int:
        count = len(self._values)
        if self._most < 0.0 and self._open(count):
            return 0
        value = self._centre * count + self._first
        error = self._first_error + self._size_error * count
        return self.operations + 1 if low < value - error and value + error < high else 0

    def _sure_of_std(self, low: float, high: float) -> int:
        count = len(self._values)
        if count < 2 or (self._most < 0.0 and self._open(count)):
            return 0
        first, second, slip = self._first, self._second, self._first_error
        square = first * first / count
        error = (2 * abs(first) + slip) * slip / count
        error += self._second_error + 8 * UNIT * (second + square)
        room = _room(second - square, error, count - 1, low, high)
        steps = (0.87 * count - 3) / (4.5 * self._most * self._most + TINY)
        return self._granted(count, room * steps) if room > 0.0 else 0

    def _sure_of_rms(self, low: float, high: float) -> int:
        count = len(self._values)
        if self._most < 0.0 and self._open(count):
            return 0
        centre, first = self._centre, self._first
        size = abs(centre) + self._most
        total = self._second + 2 * centre * first + count * centre * centre
        error = self._second_error + 2 * abs(centre) * self._first_error
        error += 16 * UNIT * count * size * size
        return self.operations + 1 if _room(total, error, count, low, high) > 0.0 else 0

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
        most = 1.5 * max(map(abs, apart))
        if not abs(centre) + most < LARGEST_WHOLE:
            return False
        self.operations += NOTHING_HOLDS
        self._centre, self._most = centre, most
        self._first, self._second = math.fsum(apart), squares
        bound = 2 * UNIT * (count + self._rest) * (self._rest + 8)
        self._first_error = bound * most + TINY
        self._size_error = 8 * UNIT * (abs(centre) + most)
        self._second_error = bound * most * most + TINY
        return True


def _room(total: float, error: float, count: int, low: float, high: float) -> float:
    """How far a mean lies between the squares of two limits of its root; 0 where that is open."""
    above = total - error - low * low * count * (1 + ROUNDED) if low >= 0.0 else math.inf
    below = high * high * count * (1 - ROUNDED) - total - error if high > 0.0 else 0.0
    return max(0.0, min(above, below)) / count
