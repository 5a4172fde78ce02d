"""What is known of streams' fields from whoever publishes them: types, units, meanings.

An engine writes it into `DATA/catalogue.json` as schemas come; commands beside it read that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from catcher.model.event import Series
from catcher.model.telemetry import FieldInfo

NAME = "catalogue.json"
MOST_TOPICS = 20_000
_decode = msgspec.json.Decoder(dict[str, list[FieldInfo]]).decode


class Catalogue:
    """The fields of streams by their topics; without a path it is forgotten in the end."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._topics: dict[str, dict[str, FieldInfo]] = {}
        if path is not None:
            # What cannot be read is written anew: it is no more than what schemas say.
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                for topic, fields in _decode(path.read_bytes()).items():
                    self._topics[topic] = {one.name: one for one in fields}

    def __len__(self) -> int:
        return len(self._topics)

    def learn(self, described: Mapping[str, Sequence[FieldInfo]]) -> bool:
        """Takes over what streams say of their fields; whether that was new."""
        new = False
        for topic, fields in list(described.items()):
            known = {one.name: one for one in fields}
            if known != self._topics.get(topic) and len(self._topics) < MOST_TOPICS:
                self._topics[topic] = known
                new = True
        return new

    def save(self) -> None:
        """Writes it, whole or not at all; OSError where that cannot be."""
        if self._path is None:
            return
        rows = {topic: list(fields.values()) for topic, fields in self._topics.items()}
        draft = self._path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(rows))
        draft.replace(self._path)

    def topics(self) -> dict[str, list[FieldInfo]]:
        """All that is known, by topic."""
        return {topic: list(fields.values()) for topic, fields in sorted(self._topics.items())}

    def described(self, topic: str, fields: Sequence[FieldInfo]) -> list[FieldInfo]:
        """Fields with the units and meanings that are known; places of an array have its."""
        return [self._of(topic, one) for one in fields]

    def with_units(self, series: Series) -> Series:
        """A series with the units that are known of its columns."""
        if series.topic not in self._topics:
            return series
        known = {name: self._unit(series.topic, name) for name in series.columns}
        units = {name: unit for name, unit in known.items() if unit}
        return replace(series, units={**units, **series.units})

    def _of(self, topic: str, field: FieldInfo) -> FieldInfo:
        told = self._told(topic, field.name)
        if told is None:
            return field
        return replace(field, unit=field.unit or told.unit, about=field.about or told.about)

    def _unit(self, topic: str, name: str) -> str:
        told = self._told(topic, name)
        return told.unit if told is not None else ""

    def _told(self, topic: str, name: str) -> FieldInfo | None:
        known = self._topics.get(topic, {})
        return known.get(name) or known.get(name.rstrip("0123456789"))
