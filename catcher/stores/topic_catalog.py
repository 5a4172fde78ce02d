"""Metadata of streams' fields from their publishers: types, units, descriptions.

An engine writes it to `DATA/catalogue.json` as schemas arrive; other commands read that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from catcher.model.event import Series
from catcher.model.telemetry import FieldInfo

CATALOG_FILE = "catalogue.json"
MAX_TOPICS = 20_000
_decode = msgspec.json.Decoder(dict[str, list[FieldInfo]]).decode


class TopicCatalog:
    """The fields of streams by topic; without a path it is not saved."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._topics: dict[str, dict[str, FieldInfo]] = {}
        if path is not None:
            # An unreadable file is rewritten: it only repeats what schemas say.
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                for topic, fields in _decode(path.read_bytes()).items():
                    self._topics[topic] = {field.name: field for field in fields}

    def __len__(self) -> int:
        return len(self._topics)

    def add_topics(self, topic_fields: Mapping[str, Sequence[FieldInfo]]) -> bool:
        """Adds the fields of streams; True if any was new."""
        is_new = False
        for topic, fields in list(topic_fields.items()):
            fields_by_name = {field.name: field for field in fields}
            if fields_by_name != self._topics.get(topic) and len(self._topics) < MAX_TOPICS:
                self._topics[topic] = fields_by_name
                is_new = True
        return is_new

    def save(self) -> None:
        """Writes the catalogue atomically. Raises OSError if that fails."""
        if self._path is None:
            return
        rows = {topic: list(fields.values()) for topic, fields in self._topics.items()}
        temp_path = self._path.with_suffix(".new")
        temp_path.write_bytes(msgspec.json.encode(rows))
        temp_path.replace(self._path)

    def list_fields_by_topic(self) -> dict[str, list[FieldInfo]]:
        """Returns all known fields, by topic."""
        return {topic: list(fields.values()) for topic, fields in sorted(self._topics.items())}

    def enrich_fields(self, topic: str, fields: Sequence[FieldInfo]) -> list[FieldInfo]:
        """Returns fields with their known units and descriptions; array elements have their
        array's.
        """
        return [self._enrich_field(topic, field) for field in fields]

    def add_series_units(self, series: Series) -> Series:
        """Returns a series with the known units of its columns."""
        if series.topic not in self._topics:
            return series
        units_by_name = {name: self._find_unit(series.topic, name) for name in series.columns}
        units = {name: unit for name, unit in units_by_name.items() if unit}
        return replace(series, units={**units, **series.units})

    def _enrich_field(self, topic: str, field: FieldInfo) -> FieldInfo:
        catalog_field = self._find_field(topic, field.name)
        if catalog_field is None:
            return field
        return replace(
            field, unit=field.unit or catalog_field.unit, about=field.about or catalog_field.about
        )

    def _find_unit(self, topic: str, name: str) -> str:
        catalog_field = self._find_field(topic, name)
        return catalog_field.unit if catalog_field is not None else ""

    def _find_field(self, topic: str, name: str) -> FieldInfo | None:
        topic_fields = self._topics.get(topic, {})
        return topic_fields.get(name) or topic_fields.get(name.rstrip("0123456789"))
