"""What a history is asked beside a span: its newest samples, and which fields a topic has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from catcher.model.event import Series
from catcher.model.naming import in_order
from catcher.model.problem import CatcherError
from catcher.model.telemetry import FieldInfo, FieldType
from catcher.model.time import HOUR, MINUTE, Instant
from catcher.ports import Predicate
from catcher.stores.history_block import Block
from catcher.stores.history_reading import Part

FURTHEST = 10 * 366 * 24 * HOUR
MOST_NEWEST = 1_000_000


class Read(Protocol):
    """The `read` of a history."""

    async def __call__(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series: ...


async def newest_of(
    read: Read,
    topic: str,
    fields: Sequence[str],
    count: int,
    last: Instant | None,
    where: Predicate | None,
) -> Series:
    """The last `count` samples up to an instant, by reading ever longer spans before it."""
    counted(count)
    if last is None:
        return await read(topic, fields, 0, 0, where)
    span = MINUTE
    while True:
        start = max(0, last - span)
        series = await read(topic, fields, start, last, where)
        if len(series) >= count or start == 0 or span > FURTHEST:
            return ending(series, count)
        span *= 8


def counted(count: int) -> int:
    """A number of samples that may be asked for; CatcherError where it may not."""
    if not 0 < count <= MOST_NEWEST:
        raise CatcherError(
            f"{count} samples cannot be asked for", f"ask for 1 to {MOST_NEWEST:,}, or for a span"
        )
    return count


def ending(series: Series, count: int) -> Series:
    """The last `count` samples of a series."""
    if len(series) <= count:
        return series
    columns = {name: column[-count:] for name, column in series.columns.items()}
    return Series(series.time[-count:], columns, series.units, series.topic)


def fields_of(parts: Iterable[Part]) -> list[FieldInfo]:
    """The fields of the samples of a topic, in the order of their names and numbers."""
    types: dict[str, FieldType] = {}
    for part in parts:
        for name in part.other:
            types.setdefault(name, "string")
        for name in part.numeric:
            if not isinstance(part, Block) and bool(np.all(np.isnan(part.number(name)))):
                continue
            types[name] = "boolean" if name in part.flags else "float"
    return [FieldInfo(name, types[name]) for name in in_order(types)]
