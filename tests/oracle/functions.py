"""The functions of the expression language, written down as their definitions say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from catcher.model.time import SECOND


class UnknownType:
    """The third truth; also the value of whatever is missing, NaN or stale."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = UnknownType()


def _clip_value(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _compute_angle_diff(a: float, b: float) -> float:
    return (a - b + 180) % 360 - 180


SCALAR_FUNCTIONS: dict[str, Callable[..., Any]] = {
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
    "clip": _clip_value,
    "angle_diff": _compute_angle_diff,
}

Points = Sequence[tuple[int, Any]]
"""The known samples of a window in their order: time in nanoseconds, value."""


def _to_fractions(points: Points) -> list[Fraction]:
    return [Fraction(value) for _, value in points]


def _compute_mean(points: Points) -> Fraction:
    return sum(_to_fractions(points), Fraction()) / len(points)


def _compute_slope(points: Points) -> Any:
    times = [Fraction(time - points[0][0], SECOND) for time, _ in points]
    mean_time, mean_value = sum(times, Fraction()) / len(times), _compute_mean(points)
    squared_deviation = sum((t - mean_time) ** 2 for t in times)
    if squared_deviation == 0:
        return UNKNOWN
    return (
        sum(
            (t - mean_time) * (v - mean_value)
            for t, v in zip(times, _to_fractions(points), strict=True)
        )
        / squared_deviation
    )


def _compute_percentile(points: Points, q: float) -> Any:
    """Linear between the closest ranks, as numpy's default."""
    if not 0 <= q <= 100:
        return UNKNOWN
    ordered = sorted(_to_fractions(points))
    rank = Fraction(q) / 100 * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


def _compute_mean_angle(points: Points) -> Any:
    radians = [math.radians(value) for _, value in points]
    x, y = math.fsum(map(math.cos, radians)), math.fsum(map(math.sin, radians))
    if math.hypot(x, y) < 1e-7:
        return UNKNOWN
    return math.degrees(math.atan2(y, x)) % 360


WINDOW_FUNCTIONS: dict[str, tuple[int, Callable[[Points], Any]]] = {
    "mean": (1, _compute_mean),
    "min_over": (1, lambda points: min(_to_fractions(points))),
    "max_over": (1, lambda points: max(_to_fractions(points))),
    "sum_over": (1, lambda points: sum(_to_fractions(points), Fraction())),
    "std": (2, lambda points: statistics.stdev(_to_fractions(points))),
    "rms": (1, lambda points: math.sqrt(_compute_mean([(t, v * v) for t, v in points]))),
    "median": (1, lambda points: statistics.median(_to_fractions(points))),
    "delta": (2, lambda points: _to_fractions(points)[-1] - _to_fractions(points)[0]),
    "slope": (2, _compute_slope),
    "mean_angle": (1, _compute_mean_angle),
}
"""By name: the least number of samples, and the function of the window's known samples."""

NUMERIC_FUNCTIONS = {*WINDOW_FUNCTIONS, "percentile"}
"""Functions to which a value that is no number is as good as missing."""


def reduce_window(
    name: str, points: Points, arguments: Sequence[Any], span: int, is_count_based: bool
) -> Any:
    """The function `name` of a window's points; `span` is the window's length in nanoseconds.

    A window that is `is_count_based` (`last=N`) is as long as its points lie apart.
    """
    if name == "count":
        return _count_points(points)
    if name == "rate":
        number = _count_points(points[1:] if is_count_based else points)
        return UNKNOWN if span == 0 else number / Fraction(span, SECOND)
    if name == "percentile":
        return _compute_percentile(points, arguments[0]) if points else UNKNOWN
    min_points, function = WINDOW_FUNCTIONS[name]
    return function(points) if len(points) >= min_points else UNKNOWN


def _count_points(points: Points) -> int:
    return sum(value is not False for _, value in points)


TIME_FUNCTIONS = {*NUMERIC_FUNCTIONS, "count", "rate", "previous", "changed", "streak"}

ARRAY_FUNCTIONS: dict[str, Callable[[Points], Any]] = {
    "mean_of": _compute_mean,
    "max_of": lambda points: max(_to_fractions(points)),
    "min_of": lambda points: min(_to_fractions(points)),
    "std_of": lambda points: (
        statistics.stdev(_to_fractions(points)) if len(points) > 1 else UNKNOWN
    ),
    "any_of": lambda points: any(value is True for _, value in points),
    "count_of": _count_points,
}


def reduce_array(name: str, values: Any) -> Any:
    """A function of the known elements of an array."""
    if not isinstance(values, list):
        return UNKNOWN
    elements = [
        element for element in values if isinstance(element, int | float) and math.isfinite(element)
    ]
    return ARRAY_FUNCTIONS[name]([(0, value) for value in elements]) if elements else UNKNOWN
