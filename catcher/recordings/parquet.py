"""Recorded streams in Parquet: one topic per file, a column `time`, a typed column per field.

The topic is the file's metadata `topic`, or else its name without `.parquet`. `time` is a timestamp
(UTC if it has no zone), seconds since the epoch, or ISO 8601 text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catcher.model.event import Event
from catcher.transport.event_decoder import check_topic, parse_time

_BATCH_ROWS = 4_096


def iter_parquet_events(path: Path, source: str, after: int = 0) -> Iterator[Event | str]:
    """Yields events by row, starting after row `after`; a problem text for an invalid row."""
    try:
        with pq.ParquetFile(path) as file:
            topic = _read_topic(file, path)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                skipped = min(after, batch.num_rows)
                after -= skipped
                yield from _iter_events(topic, batch.slice(skipped), source)
    except (pa.ArrowException, OSError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        yield f"the Parquet file cannot be read further: {first_line}"


def _read_topic(file: Any, path: Path) -> str:
    metadata_topic = (file.schema_arrow.metadata or {}).get(b"topic", b"")
    topic: str = metadata_topic.decode("utf-8", "replace") or path.name.removesuffix(".parquet")
    check_topic(topic)
    if "time" not in file.schema_arrow.names:
        raise ValueError(f"it has no column 'time', only {', '.join(file.schema_arrow.names)}")
    return topic


def _iter_events(topic: str, batch: Any, source: str) -> Iterator[Event | str]:
    names = [name for name in batch.schema.names if name != "time"]
    columns = [_column_to_json_values(batch.column(name)) for name in names]
    for index, timestamp in enumerate(_column_to_timestamps(batch.column("time"))):
        try:
            time = (
                parse_time(timestamp, "time")
                if not isinstance(timestamp, _ExactInstant)
                else timestamp.value
            )
            fields = {name: column[index] for name, column in zip(names, columns, strict=True)}
            yield Event(topic, time, fields, source)
        except ValueError as error:
            yield f"{topic}: {error}"


class _ExactInstant:
    """An instant that is already exact."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


def _column_to_timestamps(column: Any) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    exact = column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64()).to_pylist()
    return [None if value is None else _ExactInstant(value) for value in exact]


def _column_to_json_values(column: Any) -> list[Any]:
    """Returns JSON values: missing or non-finite ones are None, unsupported ones are text."""
    column_type = column.type
    if pa.types.is_floating(column_type):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column_type))
    elif pa.types.is_decimal(column_type):
        column = column.cast(pa.float64())
    elif pa.types.is_temporal(column_type):
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    if (
        pa.types.is_nested(column_type)
        or pa.types.is_binary(column_type)
        or pa.types.is_large_binary(column_type)
    ):
        return [_to_json_value(value) for value in values]
    return values


def _to_json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _to_json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
