"""Values of events cut to a size that can be kept with an alert and shown in a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.text import ELLIPSIS, plain

HUGE = 10**15
_MOST_ITEMS, _MOST_NAMES, _DEEPEST, _LONGEST_TEXT = 100, 300, 4, 2_000
_MOST_OF_ALL = 5_000


def bounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of JSON values cut to a size that can be kept and shown: long lists and texts end."""
    allowance = [_MOST_OF_ALL]
    return {
        name: _bounded(values[name], _DEEPEST, allowance) for name in list(values)[:_MOST_NAMES]
    }


def _bounded(value: Any, depth: int, allowance: list[int]) -> Any:
    allowance[0] -= 1
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < HUGE else float(value) if abs(value) < 1e300 else None
    if depth == 0 or allowance[0] <= 0:
        return ELLIPSIS
    if isinstance(value, Mapping):
        names = list(value)[:_MOST_ITEMS]
        return {str(name)[:200]: _bounded(value[name], depth - 1, allowance) for name in names}
    if isinstance(value, list | tuple):
        return [_bounded(one, depth - 1, allowance) for one in value[:_MOST_ITEMS]]
    return plain(value)
