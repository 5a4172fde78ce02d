"""Telemetry queries of the client: checks names, joins chunks, unpacks packed rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from catcher.client.backend import SampleQuery, TelemetryBackend
from catcher.model.errors import CatcherError, NotFound
from catcher.model.event import Series
from catcher.model.suggestions import build_unknown_field_error, suggest_names
from catcher.model.telemetry import FieldInfo, list_numbered_columns, unpack_series
from catcher.model.time import SECOND, Instant, instant_from_seconds, tai_to_utc, utc_to_tai

MAX_CELLS = 100_000_000
"""Samples times fields of one answer (800 MB); beyond, they must be streamed."""
MAX_TOP_N = 1_000_000
Fields = str | bytes | Sequence[str] | None
TimeScale = Literal["tai", "utc"]
_SCALES: Mapping[str, TimeScale] = {"unix_tai": "tai", "unix": "utc"}


def normalize_field_names(fields: Fields) -> list[str]:
    """Returns field names from one or several; an empty list (None or `*`) is all numeric ones."""
    if fields is None:
        return []
    if isinstance(fields, bytes):
        fields = fields.decode()
    if isinstance(fields, str):
        fields = [fields]
    if not all(isinstance(field, str) for field in fields):
        raise CatcherError("a field's name is text", 'name them like ["speed", "direction"]')
    return [] if list(fields) == ["*"] else list(fields)


def replace_surrogates(text: str) -> str:
    """Replaces lone surrogates in a text, so that it can be sent: no name contains them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def get_index_field_name(topic: str, use_old_name: bool) -> str:
    """Returns the field that distinguishes the instances of a component.
    With `use_old_name` it is the one of the old indexing.
    """
    parts = topic.split(".")
    return f"{parts[-2]}ID" if use_old_name and len(parts) > 1 else "salIndex"


class TopicQuery:
    """Queries of one topic, their field names checked against the existing ones."""

    def __init__(
        self, telemetry: TelemetryBackend, topic: str, fields: Sequence[FieldInfo]
    ) -> None:
        self._telemetry = telemetry
        self.topic = topic
        self.units = {field.name: field.unit for field in fields if field.unit}
        self._names = [field.name for field in fields]
        self._numeric_names = [field.name for field in fields if field.type != "string"]

    @classmethod
    async def for_topic(cls, telemetry: TelemetryBackend, topic: str) -> TopicQuery:
        """Creates the queries of a topic. Raises NotFound, with the nearest name, if unknown."""
        if not isinstance(topic, str) or not topic:
            raise CatcherError(f"{topic!r} is no topic", "name it like lsst.sal.ESS.airFlow")
        return cls(telemetry, topic, await telemetry.list_fields(replace_surrogates(topic)))

    def expand_fields_to_columns(self, fields: Fields) -> list[str]:
        """Returns the columns of these fields: an array stands for all of its elements."""
        columns: dict[str, None] = {}
        for name in normalize_field_names(fields) or self._numeric_names:
            matches = [name] if name in self._names else list_numbered_columns(name, self._names)
            if not matches:
                raise self._build_unknown_field_error(name)
            columns.update(dict.fromkeys(matches))
        return list(columns)

    def build_sample_query(
        self, fields: Fields, index: int | None, use_old_name: bool
    ) -> SampleQuery:
        """Builds the query for the store."""
        query = SampleQuery(
            self.topic,
            self.expand_fields_to_columns(fields),
            index,
            get_index_field_name(self.topic, use_old_name),
        )
        if index is not None and query.index_field not in self._names:
            hint = f"ask without index; it has {', '.join(self._names[:8])}"
            raise CatcherError(f"{self.topic} has no field {query.index_field!r}", hint)
        return query

    def resolve_packed_columns(self, fields: Fields, clock: str) -> tuple[list[str], list[str]]:
        """Returns the packed fields, and the columns that are needed to unpack them."""
        base_names = normalize_field_names(fields)
        if not base_names:
            raise CatcherError("no packed field is named", "name it without its number")
        missing = [name for name in base_names if not list_numbered_columns(name, self._names)]
        if missing:
            array_names = sorted(
                {column.rstrip("0123456789") for column in self._names} - set(self._names)
            )
            suggestions = suggest_names(missing[0], array_names, 1)
            hint = (
                f"did you mean {suggestions[0]!r}?"
                if suggestions
                else "it stands as name0, name1, …"
            )
            raise NotFound(f"{self.topic} has no packed field {missing[0]!r}", hint)
        if clock not in self._names:
            raise self._build_unknown_field_error(clock)
        return base_names, [
            *(
                column
                for base_name in base_names
                for column in list_numbered_columns(base_name, self._names)
            ),
            clock,
        ]

    async def iter_chunks(
        self, query: SampleQuery, start: Instant, end: Instant
    ) -> AsyncIterator[Series]:
        """Yields the samples of a time range in chunks, with their units."""
        async for series in self._telemetry.iter_chunks(query, start, end):
            yield self.with_units(series)

    async def read_time_range(self, query: SampleQuery, start: Instant, end: Instant) -> Series:
        """Returns the samples of a time range at once. Raises CatcherError for too many."""
        chunks, cell_count = [], 0
        async for series in self.iter_chunks(query, start, end):
            cell_count += len(series) * (1 + len(series.columns))
            if cell_count > MAX_CELLS:
                raise CatcherError(
                    f"{self.topic} has more than {MAX_CELLS:,} values in this span",
                    "ask for fewer fields or a shorter span, or take it in stretches: "
                    "stream_time_series",
                )
            chunks.append(series)
        return concat_series(chunks, query)

    async def read_latest(self, query: SampleQuery, count: int, end: Instant | None) -> Series:
        """Returns the last samples up to an instant."""
        if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MAX_TOP_N:
            raise CatcherError(f"{count!r} is no number of samples", f"say 1 to {MAX_TOP_N:,}")
        return self.with_units(await self._telemetry.read_latest(query, count, end))

    def with_units(self, series: Series) -> Series:
        """Returns the series with the units of the topic's fields."""
        units = {name: self.units[name] for name in series.columns if name in self.units}
        return replace(series, units={**units, **series.units}, topic=self.topic)

    def _build_unknown_field_error(self, name: str) -> NotFound:
        return build_unknown_field_error(name, self.topic, self._names)


def concat_series(chunks: Sequence[Series], query: SampleQuery) -> Series:
    """Joins chunks to one series; a column that one of them lacks is NaN there."""
    if len(chunks) == 1:
        return chunks[0]
    names = dict.fromkeys(name for chunk in chunks for name in chunk.columns) or query.fields
    time = np.concatenate([chunk.time for chunk in chunks]) if chunks else np.empty(0)
    columns = {
        name: np.concatenate(
            [chunk.columns.get(name, np.full(len(chunk), np.nan)) for chunk in chunks]
        )
        if chunks
        else np.empty(0)
        for name in names
    }
    units = {name: unit for chunk in chunks for name, unit in chunk.units.items()}
    return Series(time, columns, units, query.topic)


def unpack_packed_rows(
    series: Series, bases: Sequence[str], clock: str, clock_format: str, scale: str
) -> Series:
    """Unpacks packed rows to samples. `clock_format` and `scale` say what the clock counts."""
    known_scale = _SCALES.get(clock_format)
    if known_scale is None or scale not in ("tai", "utc"):
        raise CatcherError(
            f"a clock of the form {clock_format!r} and the scale {scale!r} is not known",
            'say ref_timestamp_fmt="unix_tai", or "unix" with ref_timestamp_scale="utc"',
        )
    return unpack_series(
        series, bases, clock, "utc" if known_scale == "utc" and scale == "utc" else "tai"
    )


def utc_range_to_tai(start: Instant, end: Instant) -> tuple[Instant, Instant]:
    """Converts a time range of UTC for a store whose times are TAI."""
    return utc_to_tai(start), utc_to_tai(end)


def series_tai_to_utc(series: Series) -> Series:
    """Converts a series of such a store to times of UTC."""
    time = [tai_to_utc(instant_from_seconds(seconds)) / SECOND for seconds in series.time.tolist()]
    return replace(series, time=np.array(time, dtype=np.float64))
