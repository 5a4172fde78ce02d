"""Queries of a history besides a time range: its newest samples, and the fields of a topic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.suggestions import sort_naturally
from catcher.model.telemetry import FieldInfo, FieldType
from catcher.model.time import HOUR, MINUTE, Instant
from catcher.ports import Predicate
from catcher.stores.history.block import Block
from catcher.stores.history.merge_read import SampleBatch

MAX_SEARCH_SPAN = 10 * 366 * 24 * HOUR
MAX_NEWEST = 1_000_000


class ReadSeries(Protocol):
    """The `read` of a history."""

    async def __call__(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series: ...


async def read_newest_samples(
    read: ReadSeries,
    topic: str,
    fields: Sequence[str],
    count: int,
    last_time: Instant | None,
    where: Predicate | None,
) -> Series:
    """Returns the last `count` samples up to an instant, by reading ever longer ranges."""
    validate_sample_count(count)
    if last_time is None:
        return await read(topic, fields, 0, 0, where)
    span = MINUTE
    while True:
        start = max(0, last_time - span)
        series = await read(topic, fields, start, last_time, where)
        if len(series) >= count or start == 0 or span > MAX_SEARCH_SPAN:
            return select_last_samples(series, count)
        span *= 8


def validate_sample_count(count: int) -> int:
    """Returns an allowed number of samples. Raises CatcherError if it is not allowed."""
    if not 0 < count <= MAX_NEWEST:
        raise CatcherError(
            f"{count} samples cannot be asked for", f"ask for 1 to {MAX_NEWEST:,}, or for a span"
        )
    return count


def select_last_samples(series: Series, count: int) -> Series:
    """Returns the last `count` samples of a series."""
    if len(series) <= count:
        return series
    columns = {name: column[-count:] for name, column in series.columns.items()}
    return Series(series.time[-count:], columns, series.units, series.topic)


def infer_fields(batches: Iterable[SampleBatch]) -> list[FieldInfo]:
    """Returns the fields of a topic's samples, sorted by name and number."""
    types: dict[str, FieldType] = {}
    for batch in batches:
        for name in batch.other_columns:
            types.setdefault(name, "string")
        for name in batch.numeric_columns:
            if not isinstance(batch, Block) and bool(np.all(np.isnan(batch.get_numbers(name)))):
                continue
            types[name] = "boolean" if name in batch.flags else "float"
    return [FieldInfo(name, types[name]) for name in sort_naturally(types)]
