"""What a window holds, and for which functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from catcher.expressions.values import to_scalar
from catcher.model.time import Span


def value_to_count(value: Any) -> int | None:
    """Returns what a sample counts for: 1 if true, or known and no truth value; 0 if false."""
    if to_scalar(value) is None:
        return None
    return 0 if value is False else 1


@dataclass(frozen=True, slots=True)
class WindowShape:
    """What a window holds, and for which functions.

    `is_counting` windows count: they hold 1 for a known or true value and 0 for a false one.
    `packed` is the span over which an array's elements are spread.
    """

    span: Span | None = None
    last: int | None = None
    is_counting: bool = False
    packed: Span | None = None
    functions: frozenset[str] = frozenset()
