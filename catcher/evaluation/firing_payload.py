"""The values that a firing or a level change carries: bounded JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.expressions.values import MAX_FLOAT, to_scalar
from catcher.model.event import Event, compute_digest

MAX_NAMES = 300
MAX_ELEMENTS = 64
MAX_TEXT_LENGTH = 500
_NUMBER_TYPES = frozenset((int, float))


def build_firing_values(
    fields: Mapping[str, Any], named_values: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns fields of an event and other names of a rule, shortened if they are long."""
    if not named_values and _is_small_numeric(fields):
        return {name[:MAX_TEXT_LENGTH]: to_scalar(value) for name, value in fields.items()}
    values: dict[str, Any] = {}
    for name, value in named_values.items():
        values[name] = _shorten_value(value, 2)
    for name, value in fields.items():
        if len(values) >= MAX_NAMES:
            break
        if name != "catcher" and name not in values:
            is_plain_number = type(value) is float and -MAX_FLOAT <= value <= MAX_FLOAT
            values[str(name)[:MAX_TEXT_LENGTH]] = (
                value if is_plain_number else _shorten_value(value, 2)
            )
    return values


def _is_small_numeric(fields: Mapping[str, Any]) -> bool:
    is_small = len(fields) <= MAX_NAMES and "catcher" not in fields
    return is_small and _NUMBER_TYPES.issuperset(map(type, fields.values()))


def _shorten_value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT_LENGTH else value[:MAX_TEXT_LENGTH] + "…"
    scalar_value = to_scalar(value)
    if scalar_value is not None or depth == 0:
        return scalar_value
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_ELEMENTS] if len(value) > MAX_ELEMENTS else value.items()
        return {
            str(name)[:MAX_TEXT_LENGTH]: _shorten_value(element, depth - 1)
            for name, element in pairs
        }
    if isinstance(value, list | tuple):
        return [_shorten_value(element, depth - 1) for element in value[:MAX_ELEMENTS]]
    return None


# The identity of an event, whatever its payload.


def compute_event_digest(event: Event) -> str:
    """Returns the digest of topic, time and fields; of the field names if that fails.

    A payload that nests deeper than an encoder can follow has no other digest.
    """
    try:
        return compute_digest(event)
    except (RecursionError, TypeError, ValueError):
        names: dict[str, object] = {str(name): None for name in event.fields}
        return compute_digest(Event(event.topic, event.time, names))


class EventDigests:
    """Caches what is computed once per event, however many rules fire on it."""

    def __init__(self) -> None:
        self._event: Event | None = None
        self._digest = ""
        self._fields: Mapping[str, Any] | None = None
        self._values: dict[str, Any] = {}

    def get_digest(self, event: Event) -> str:
        """Returns the event's digest."""
        if event is not self._event:
            self._event, self._digest = event, compute_event_digest(event)
        return self._digest

    def get_firing_values(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the event's fields, as a firing shows them."""
        if fields is not self._fields:
            self._fields, self._values = fields, build_firing_values(fields, {})
        return self._values
