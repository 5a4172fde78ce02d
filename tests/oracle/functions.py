"""The functions of the expression language, written down as their definitions say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from catcher.model.time import SECOND


class Unknown:
    """The third truth; also the value of whatever is missing, NaN or stale."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _angle_diff(a: float, b: float) -> float:
    return (a - b + 180) % 360 - 180


PLAIN: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "sqrt": math.sqrt,
    "hypot": math.hypot,
    "exp": math.exp,
    "log": math.log,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "atan2": math.atan2,
    "radians": math.radians,
    "degrees": math.degrees,
    "floor": math.floor,
    "round": round,
    "clip": _clip,
    "angle_diff": _angle_diff,
}

Points = Sequence[tuple[int, Any]]
"""The known samples of a window in their order: time in nanoseconds, value."""


def _exact(points: Points) -> list[Fraction]:
    return [Fraction(value) for _, value in points]


def _mean(points: Points) -> Fraction:
    return sum(_exact(points), Fraction()) / len(points)


def _slope(points: Points) -> Any:
    times = [Fraction(time - points[0][0], SECOND) for time, _ in points]
    middle, mean = sum(times, Fraction()) / len(times), _mean(points)
    spread = sum((t - middle) ** 2 for t in times)
    if spread == 0:
        return UNKNOWN
    return (
        sum((t - middle) * (v - mean) for t, v in zip(times, _exact(points), strict=True)) / spread
    )


def _percentile(points: Points, q: float) -> Any:
    """Linear between the closest ranks, as numpy's default."""
    if not 0 <= q <= 100:
        return UNKNOWN
    ordered = sorted(_exact(points))
    rank = Fraction(q) / 100 * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


def _mean_angle(points: Points) -> Any:
    radians = [math.radians(value) for _, value in points]
    x, y = math.fsum(map(math.cos, radians)), math.fsum(map(math.sin, radians))
    if math.hypot(x, y) < 1e-7:
        return UNKNOWN
    return math.degrees(math.atan2(y, x)) % 360


WINDOWED: dict[str, tuple[int, Callable[[Points], Any]]] = {
    "mean": (1, _mean),
    "min_over": (1, lambda points: min(_exact(points))),
    "max_over": (1, lambda points: max(_exact(points))),
    "sum_over": (1, lambda points: sum(_exact(points), Fraction())),
    "std": (2, lambda points: statistics.stdev(_exact(points))),
    "rms": (1, lambda points: math.sqrt(_mean([(t, v * v) for t, v in points]))),
    "median": (1, lambda points: statistics.median(_exact(points))),
    "delta": (2, lambda points: _exact(points)[-1] - _exact(points)[0]),
    "slope": (2, _slope),
    "mean_angle": (1, _mean_angle),
}
"""By name: the least number of samples, and the function of the window's known samples."""

NUMERIC = {*WINDOWED, "percentile"}
"""Functions to which a value that is no number is as good as missing."""


def reduced(name: str, points: Points, rest: Sequence[Any], span: int, counted: bool) -> Any:
    """The function `name` of a window's points; `span` is the window's length in nanoseconds.

    A window that is `counted` (`last=N`) is as long as its points lie apart.
    """
    if name == "count":
        return _count(points)
    if name == "rate":
        number = _count(points[1:] if counted else points)
        return UNKNOWN if span == 0 else number / Fraction(span, SECOND)
    if name == "percentile":
        return _percentile(points, rest[0]) if points else UNKNOWN
    least, function = WINDOWED[name]
    return function(points) if len(points) >= least else UNKNOWN


def _count(points: Points) -> int:
    return sum(value is not False for _, value in points)


OVER_TIME = {*NUMERIC, "count", "rate", "previous", "changed", "streak"}

OVER_ARRAYS: dict[str, Callable[[Points], Any]] = {
    "mean_of": _mean,
    "max_of": lambda points: max(_exact(points)),
    "min_of": lambda points: min(_exact(points)),
    "std_of": lambda points: statistics.stdev(_exact(points)) if len(points) > 1 else UNKNOWN,
    "any_of": lambda points: any(value is True for _, value in points),
    "count_of": _count,
}


def over_array(name: str, values: Any) -> Any:
    """A function of the known elements of an array."""
    if not isinstance(values, list):
        return UNKNOWN
    usable = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
    return OVER_ARRAYS[name]([(0, value) for value in usable]) if usable else UNKNOWN
