"""The values that a firing or a level change carries: bounded, and of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.watching.values import LARGEST, scalar

MOST_NAMES = 300
MOST_ELEMENTS = 64
LONGEST_TEXT = 500
_NUMBERS = frozenset((int, float))


def shown_values(fields: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an event and other names of a rule, shortened where they are long."""
    if not others and _few_numbers(fields):
        return {name[:LONGEST_TEXT]: scalar(value) for name, value in fields.items()}
    found: dict[str, Any] = {}
    for name, value in others.items():
        found[name] = _short(value, 2)
    for name, value in fields.items():
        if len(found) >= MOST_NAMES:
            break
        if name != "catcher" and name not in found:
            usual = type(value) is float and -LARGEST <= value <= LARGEST
            found[str(name)[:LONGEST_TEXT]] = value if usual else _short(value, 2)
    return found


def _few_numbers(fields: Mapping[str, Any]) -> bool:
    few = len(fields) <= MOST_NAMES and "catcher" not in fields
    return few and _NUMBERS.issuperset(map(type, fields.values()))


def _short(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
    known = scalar(value)
    if known is not None or depth == 0:
        return known
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MOST_ELEMENTS] if len(value) > MOST_ELEMENTS else value.items()
        return {str(name)[:LONGEST_TEXT]: _short(one, depth - 1) for name, one in pairs}
    if isinstance(value, list | tuple):
        return [_short(one, depth - 1) for one in value[:MOST_ELEMENTS]]
    return None
