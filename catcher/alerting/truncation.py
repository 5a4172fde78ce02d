"""Truncates event values to a size that can be stored with an alert and shown in a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.text import ELLIPSIS, sanitize_single_line

MAX_NUMBER = 10**15
_MAX_ITEMS, _MAX_NAMES, _MAX_DEPTH, _MAX_TEXT_LENGTH = 100, 300, 4, 2_000
_MAX_TOTAL_VALUES = 5_000


def truncate_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of JSON values with long lists, mappings and texts truncated."""
    budget = [_MAX_TOTAL_VALUES]
    return {
        name: _truncate_value(values[name], _MAX_DEPTH, budget)
        for name in list(values)[:_MAX_NAMES]
    }


def _truncate_value(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if isinstance(value, str):
        return value[:_MAX_TEXT_LENGTH]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < MAX_NUMBER else float(value) if abs(value) < 1e300 else None
    if depth == 0 or budget[0] <= 0:
        return ELLIPSIS
    if isinstance(value, Mapping):
        names = list(value)[:_MAX_ITEMS]
        return {str(name)[:200]: _truncate_value(value[name], depth - 1, budget) for name in names}
    if isinstance(value, list | tuple):
        return [_truncate_value(item, depth - 1, budget) for item in value[:_MAX_ITEMS]]
    return sanitize_single_line(value)
