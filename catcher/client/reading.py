"""What the door reads from: the reading half of the ports, in a process or over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from catcher.model.alert import Alert, AuditEntry
from catcher.model.desk import Shift, Silence
from catcher.model.event import Series
from catcher.model.kept import Answer as Answer
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.telemetry import FieldInfo, indexed
from catcher.model.time import DAY, MINUTE, Instant, Span
from catcher.ports import DeadLetter, History, MetricPoint, Query

FIRST_SLICE, LONGEST_SLICE, SHORTEST_SLICE = 10 * MINUTE, DAY, 1_000_000_000
FULL_SLICE = 2_000_000
"""Cells (samples times fields) of a stretch after which the next ones are shorter."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which samples of a topic: fields, and an index field that has to have a value."""

    topic: str
    fields: Sequence[str] = ()
    index: int | None = None
    index_field: str = "salIndex"


class Telemetry(Protocol):
    """Samples at rest."""

    async def topics(self) -> Sequence[str]: ...
    async def fields(self, topic: str) -> Sequence[FieldInfo]: ...
    async def latest(self, topic: str) -> Instant | None: ...
    def stretches(self, asked: Asked, start: Instant, end: Instant) -> AsyncIterator[Series]:
        """The samples with start <= time <= end, stretch after stretch."""
        ...

    async def newest(self, asked: Asked, count: int, end: Instant | None) -> Series: ...


class Records(Protocol):
    """The reading half of `ports.Ledger`."""

    async def firings(self, query: Query) -> Sequence[Firing]: ...
    async def runs(self, query: Query) -> Sequence[Run]: ...
    async def metrics(self, query: Query) -> Sequence[MetricPoint]: ...
    async def artifacts(self, query: Query) -> Sequence[ArtifactRecord]: ...
    async def alerts(self, query: Query) -> Sequence[Alert]: ...
    async def audit(self, query: Query) -> Sequence[AuditEntry]: ...
    async def silences(self, query: Query) -> Sequence[Silence]: ...
    async def shifts(self, query: Query) -> Sequence[Shift]: ...
    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]: ...


class Objects(Protocol):
    """The reading half of `ports.ObjectStore`."""

    async def get(self, key: str) -> bytes: ...


class Sql(Protocol):
    """Answers SELECT statements over the views; every other one is a CatcherError."""

    async def ask(self, statement: str, limit: int, patience: Span) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that the door reads. `decode` makes the bytes of an artifact what it was."""

    records: Records
    telemetry: Telemetry
    objects: Objects
    sql: Sql
    decode: Callable[[str, bytes], Any]


class HistoryTelemetry:
    """The telemetry of a `ports.History`."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def topics(self) -> Sequence[str]:
        """The topics of which there are samples."""
        return await self._history.topics()

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """What can be asked of a topic."""
        return await self._history.fields(topic)

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample."""
        return await self._history.latest(topic)

    async def stretches(self, asked: Asked, start: Instant, end: Instant) -> AsyncIterator[Series]:
        """The samples of a span, so many at once that memory bears them; never none at all."""
        where = None if asked.index is None else indexed(asked.index, asked.index_field)
        length, first, told = FIRST_SLICE, start, False
        while first <= end:
            last = min(end, first + length - 1)
            series = await self._history.read(asked.topic, asked.fields, first, last, where)
            if len(series) or (last == end and not told):
                told = True
                yield series
            cells = len(series) * (1 + len(series.columns))
            if cells > FULL_SLICE:
                length = max(SHORTEST_SLICE, length // 2)
            elif cells < FULL_SLICE // 4:
                length = min(LONGEST_SLICE, length * 2)
            first = last + 1

    async def newest(self, asked: Asked, count: int, end: Instant | None) -> Series:
        """The last samples up to an instant."""
        where = None if asked.index is None else indexed(asked.index, asked.index_field)
        return await self._history.newest(asked.topic, asked.fields, count, end, where)
