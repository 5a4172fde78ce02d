"""What makes an event itself, whatever its payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.event import Event, digest
from catcher.watching.showing import shown_values


def mark_of(event: Event) -> str:
    """The digest of topic, time and fields; of the names of the fields where they defeat it.

    A payload that nests deeper than an encoder can follow has no other digest.
    """
    try:
        return digest(event)
    except (RecursionError, TypeError, ValueError):
        names: dict[str, object] = {str(name): None for name in event.fields}
        return digest(Event(event.topic, event.time, names))


class Marks:
    """What is worked out of an event once, however many rules fire at it."""

    def __init__(self) -> None:
        self._event: Event | None = None
        self._mark = ""
        self._fields: Mapping[str, Any] | None = None
        self._shown: dict[str, Any] = {}

    def of(self, event: Event) -> str:
        """Its mark."""
        if event is not self._event:
            self._event, self._mark = event, mark_of(event)
        return self._mark

    def shown(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Its fields, as a firing shows them."""
        if fields is not self._fields:
            self._fields, self._shown = fields, shown_values(fields, {})
        return self._shown
