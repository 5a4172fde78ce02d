"""What is known of a stream's fields before any message of it was seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One field of a stream: its type, unit and meaning, as whoever publishes it says."""

    name: str
    kind: str = ""
    unit: str = ""
    about: str = ""
