"""Functions over the elements of an array: unknown elements are skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from catcher.watching.sums import Moments
from catcher.watching.values import numbers_of, truth


def _numbers(value: Any) -> list[float | int]:
    return numbers_of(value) if type(value) is list else []


def _mean_of(value: Any) -> float | None:
    return Moments(_numbers(value)).mean()


def _std_of(value: Any) -> float | None:
    return Moments(_numbers(value)).deviation()


def _max_of(value: Any) -> float | int | None:
    return max(_numbers(value), default=None)


def _min_of(value: Any) -> float | int | None:
    return min(_numbers(value), default=None)


def _any_of(value: Any) -> bool | None:
    known = _truths(value)
    return any(known) if known else None


def _count_of(value: Any) -> int | None:
    if type(value) is not list:
        return None
    known = [one for one in value if one is not None]
    return sum(one is not False for one in known) if known else None


def _truths(value: Any) -> list[bool]:
    if type(value) is not list:
        return []
    return [known for known in map(truth, value) if known is not None]


REDUCERS: dict[str, Callable[[Any], Any]] = {
    "mean_of": _mean_of,
    "max_of": _max_of,
    "min_of": _min_of,
    "std_of": _std_of,
    "any_of": _any_of,
    "count_of": _count_of,
}
"""By the name of the function."""
