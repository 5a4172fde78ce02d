"""An exposure, visit or other thing with an id and a time span, declared by the site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.event import Event
from catcher.model.time import Instant, instant_from_seconds, parse_instant, tai_to_utc


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

    def observation_from_event(self, event: Event) -> Observation | None:
        """Returns the observation that an event declares; None for another event or without id.

        A start or length that cannot be read falls back to the event's own time and to 0.
        """
        observation_id = event.fields.get(self.id)
        if event.topic != self.event or observation_id in (None, ""):
            return None
        length = _parse_length(event.fields.get(self.length)) if self.length else 0
        start = self._parse_start(event, length)
        columns = {
            column: event.fields.get(field_name) for column, field_name in self.columns.items()
        }
        return Observation(
            self.kind, str(observation_id), start, start + length, self.image, columns
        )

    def _parse_start(self, event: Event, length: int) -> Instant:
        value = event.fields.get(self.start) if self.start else None
        try:
            start = parse_instant(value) if isinstance(value, str | int | float) else None
        except ValueError:
            start = None
        if start is None:
            return event.time - length
        return tai_to_utc(start) if self.scale == "tai" else start


def _parse_length(value: object) -> int:
    try:
        return max(0, instant_from_seconds(float(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0
