"""What the client reads from: the reading half of the ports, in-process or over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from catcher.model.alert import Alert, AuditEntry
from catcher.model.alert_operations import Shift, Silence
from catcher.model.event import Series
from catcher.model.queries import SqlResult as SqlResult
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.telemetry import FieldInfo, build_index_predicate
from catcher.model.time import DAY, MINUTE, Instant, Span
from catcher.ports import DeadLetter, History, MetricPoint, Query

INITIAL_SLICE, MAX_SLICE, MIN_SLICE = 10 * MINUTE, DAY, 1_000_000_000
MAX_SLICE_CELLS = 2_000_000
"""Cells (samples times fields) of a chunk above which the next ones are shorter."""


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """Selects samples of a topic: fields, and an index field that must have a value."""

    topic: str
    fields: Sequence[str] = ()
    index: int | None = None
    index_field: str = "salIndex"


class TelemetryBackend(Protocol):
    """Stored samples."""

    async def list_topics(self) -> Sequence[str]: ...
    async def list_fields(self, topic: str) -> Sequence[FieldInfo]: ...
    async def find_latest_time(self, topic: str) -> Instant | None: ...
    def iter_chunks(
        self, query: SampleQuery, start: Instant, end: Instant
    ) -> AsyncIterator[Series]:
        """Yields the samples with start <= time <= end, chunk by chunk."""
        ...

    async def read_latest(self, query: SampleQuery, count: int, end: Instant | None) -> Series: ...


class RecordBackend(Protocol):
    """The reading half of `ports.Ledger`."""

    async def list_firings(self, query: Query) -> Sequence[Firing]: ...
    async def list_runs(self, query: Query) -> Sequence[Run]: ...
    async def list_metrics(self, query: Query) -> Sequence[MetricPoint]: ...
    async def list_artifacts(self, query: Query) -> Sequence[ArtifactRecord]: ...
    async def list_alerts(self, query: Query) -> Sequence[Alert]: ...
    async def list_audit_entries(self, query: Query) -> Sequence[AuditEntry]: ...
    async def list_silences(self, query: Query) -> Sequence[Silence]: ...
    async def list_shifts(self, query: Query) -> Sequence[Shift]: ...
    async def list_dead_letters(self, query: Query) -> Sequence[DeadLetter]: ...


class ArtifactBackend(Protocol):
    """The reading half of `ports.ObjectStore`."""

    async def get(self, key: str) -> bytes: ...


class SqlBackend(Protocol):
    """Answers SELECT statements over the views; any other raises CatcherError."""

    async def query(self, statement: str, limit: int, timeout: Span) -> SqlResult: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """Everything that the client reads. `decode` converts the bytes of an artifact to its value."""

    records: RecordBackend
    telemetry: TelemetryBackend
    objects: ArtifactBackend
    sql: SqlBackend
    decode: Callable[[str, bytes], Any]


class HistoryTelemetry:
    """The telemetry of a `ports.History`."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def list_topics(self) -> Sequence[str]:
        """Returns the topics that have samples."""
        return await self._history.list_topics()

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the fields of a topic."""
        return await self._history.list_fields(topic)

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last sample."""
        return await self._history.find_latest_time(topic)

    async def iter_chunks(
        self, query: SampleQuery, start: Instant, end: Instant
    ) -> AsyncIterator[Series]:
        """Yields the samples of a time range in chunks that fit into memory, at least one."""
        predicate = (
            None if query.index is None else build_index_predicate(query.index, query.index_field)
        )
        length, first, has_yielded = INITIAL_SLICE, start, False
        while first <= end:
            last = min(end, first + length - 1)
            series = await self._history.read(query.topic, query.fields, first, last, predicate)
            if len(series) or (last == end and not has_yielded):
                has_yielded = True
                yield series
            cell_count = len(series) * (1 + len(series.columns))
            if cell_count > MAX_SLICE_CELLS:
                length = max(MIN_SLICE, length // 2)
            elif cell_count < MAX_SLICE_CELLS // 4:
                length = min(MAX_SLICE, length * 2)
            first = last + 1

    async def read_latest(self, query: SampleQuery, count: int, end: Instant | None) -> Series:
        """Returns the last samples up to an instant."""
        predicate = (
            None if query.index is None else build_index_predicate(query.index, query.index_field)
        )
        return await self._history.read_latest(query.topic, query.fields, count, end, predicate)
