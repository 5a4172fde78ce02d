"""What makes an event itself, whatever its payload."""

from __future__ import annotations

from catcher.model.event import Event, digest


def mark_of(event: Event) -> str:
    """The digest of topic, time and fields; of the names of the fields where they defeat it.

    A payload that nests deeper than an encoder can follow has no other digest.
    """
    try:
        return digest(event)
    except (RecursionError, TypeError, ValueError):
        names: dict[str, object] = {str(name): None for name in event.fields}
        return digest(Event(event.topic, event.time, names))
