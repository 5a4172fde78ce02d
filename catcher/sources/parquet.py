"""Recorded streams in Parquet: one topic a file, a column `time`, a typed column for each field.

The topic is the file's metadata `topic`, or else its name without `.parquet`. `time` is a
timestamp (UTC where it names no zone), seconds since the epoch, or ISO 8601 text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catcher.model.event import Event
from catcher.sources.decoding import check_topic, read_time

_ROWS = 4_096


def read_parquet(path: Path, source: str, after: int = 0) -> Iterator[Event | str]:
    """Events by row, from the row after `after` on; words for a row or a file that is none."""
    try:
        with pq.ParquetFile(path) as file:
            topic = _topic(file, path)
            for batch in file.iter_batches(batch_size=_ROWS):
                skipped = min(after, batch.num_rows)
                after -= skipped
                yield from _events(topic, batch.slice(skipped), source)
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).partition("\n")[0]
        yield f"the Parquet file cannot be read further: {first}"


def _topic(file: Any, path: Path) -> str:
    named = (file.schema_arrow.metadata or {}).get(b"topic", b"")
    topic: str = named.decode("utf-8", "replace") or path.name.removesuffix(".parquet")
    check_topic(topic)
    if "time" not in file.schema_arrow.names:
        raise ValueError(f"it has no column 'time', only {', '.join(file.schema_arrow.names)}")
    return topic


def _events(topic: str, batch: Any, source: str) -> Iterator[Event | str]:
    names = [name for name in batch.schema.names if name != "time"]
    columns = [_values(batch.column(name)) for name in names]
    for row, stamp in enumerate(_times(batch.column("time"))):
        try:
            time = read_time(stamp, "time") if not isinstance(stamp, _Nanoseconds) else stamp.value
            fields = {name: column[row] for name, column in zip(names, columns, strict=True)}
            yield Event(topic, time, fields, source)
        except ValueError as error:
            yield f"{topic}: {error}"


class _Nanoseconds:
    """An instant that is exact already."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


def _times(column: Any) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    exact = column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64()).to_pylist()
    return [None if value is None else _Nanoseconds(value) for value in exact]


def _values(column: Any) -> list[Any]:
    """JSON values: what is missing or not finite is None, what has no JSON form is text."""
    kind = column.type
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind))
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_temporal(kind):
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [_json(value) for value in values]
    return values


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
