"""An exposure, visit or other thing with an id and a span of time, declared by the site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.event import Event
from catcher.model.time import Instant, from_seconds, parse_instant, tai_to_utc


@dataclass(frozen=True, slots=True)
class Observation:
    """One observation. `image` is the pattern of its images' addresses."""

    kind: str
    id: str
    start: Instant
    end: Instant
    image: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObservationSpec:
    """How a site declares a kind of observation: which event, and which fields of it.

    `start` and `length` name fields; without `start` an observation ends at its event's time.
    `columns` maps a name in expressions to a field.
    """

    kind: str
    event: str
    id: str
    start: str = ""
    length: str = ""
    scale: Literal["utc", "tai"] = "utc"
    image: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    def observe(self, event: Event) -> Observation | None:
        """The observation that an event declares; None where the event is another or lacks the id.

        A start or length that cannot be read falls back to the event's own time and to nought.
        """
        name = event.fields.get(self.id)
        if event.topic != self.event or name in (None, ""):
            return None
        length = _span(event.fields.get(self.length)) if self.length else 0
        start = self._start(event, length)
        columns = {new: event.fields.get(old) for new, old in self.columns.items()}
        return Observation(self.kind, str(name), start, start + length, self.image, columns)

    def _start(self, event: Event, length: int) -> Instant:
        value = event.fields.get(self.start) if self.start else None
        try:
            start = parse_instant(value) if isinstance(value, str | int | float) else None
        except ValueError:
            start = None
        if start is None:
            return event.time - length
        return tai_to_utc(start) if self.scale == "tai" else start


def _span(value: object) -> int:
    try:
        return max(0, from_seconds(float(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0
