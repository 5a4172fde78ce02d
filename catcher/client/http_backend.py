"""A running engine's records and telemetry over its API, as a backend of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from catcher.client import Backend, SampleQuery, SqlResult, stream_framing
from catcher.client.engine_http import EngineHttp
from catcher.model.alert import Alert, AuditEntry
from catcher.model.alert_operations import Shift, Silence
from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.telemetry import FieldInfo
from catcher.model.time import Instant, Span, nanoseconds_to_seconds
from catcher.ports import DeadLetter, MetricPoint, Query

ArtifactDecoder = Callable[[str, bytes], Any]
TRANSFER_TIMEOUT = 5.0
"""Seconds of transfer that a statement may take beyond its own timeout."""


@asynccontextmanager
async def open_http_backend(
    url: str, token: str, decode: ArtifactDecoder
) -> AsyncIterator[Backend]:
    """Opens the backend of the engine or board at an address."""
    async with EngineHttp(normalize_http_url(url), token) as engine:
        yield Backend(
            HttpRecords(engine), HttpTelemetry(engine), HttpArtifacts(engine), HttpSql(engine),
            decode,
        )  # fmt: skip


def normalize_http_url(url: str) -> str:
    """Checks that an address is one of HTTP. Raises CatcherError for any other."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise CatcherError(f"{url[:200]!r} is no address", "write it like http://host:8787")
    return url.rstrip("/")


class HttpRecords:
    """Stored records, by queries."""

    def __init__(self, engine: EngineHttp) -> None:
        self._engine = engine

    async def _fetch_records(self, kind: str, record_type: Any, query: Query) -> list[Any]:
        parameters = {"query": msgspec.json.encode(query).decode()}
        records: list[Any] = []
        async with self._engine.stream_response(
            "GET", f"/read/records/{kind}", params=parameters
        ) as chunks:
            async for body in stream_framing.decode_frames(chunks):
                records += stream_framing.decode_objects(body, record_type)
        return records

    async def list_firings(self, query: Query) -> Sequence[Firing]:
        """Returns firings of triggers."""
        return await self._fetch_records("firings", Firing, query)

    async def list_runs(self, query: Query) -> Sequence[Run]:
        """Returns runs of jobs."""
        return await self._fetch_records("runs", Run, query)

    async def list_metrics(self, query: Query) -> Sequence[MetricPoint]:
        """Returns values of metrics."""
        return await self._fetch_records("metrics", MetricPoint, query)

    async def list_artifacts(self, query: Query) -> Sequence[ArtifactRecord]:
        """Returns the index entries of artifacts."""
        return await self._fetch_records("artifacts", ArtifactRecord, query)

    async def list_alerts(self, query: Query) -> Sequence[Alert]:
        """Returns alerts."""
        return await self._fetch_records("alerts", Alert, query)

    async def list_audit_entries(self, query: Query) -> Sequence[AuditEntry]:
        """Returns entries of the audit log."""
        return await self._fetch_records("audit", AuditEntry, query)

    async def list_silences(self, query: Query) -> Sequence[Silence]:
        """Returns silences."""
        return await self._fetch_records("silences", Silence, query)

    async def list_shifts(self, query: Query) -> Sequence[Shift]:
        """Returns shifts."""
        return await self._fetch_records("shifts", Shift, query)

    async def list_dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Returns notifications that were given up."""
        return await self._fetch_records("dead_letters", DeadLetter, query)


class HttpTelemetry:
    """Samples, in chunks."""

    def __init__(self, engine: EngineHttp) -> None:
        self._engine = engine

    async def list_topics(self) -> Sequence[str]:
        """Returns the topics that have samples."""
        topics: list[str] = await self._engine.get_json("/read/topics")
        return topics

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the fields of a topic."""
        rows: list[Mapping[str, Any]] = await self._engine.get_json(
            "/read/fields", {"topic": topic}
        )
        return [FieldInfo(**row) for row in rows]

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last sample."""
        latest_time: Instant | None = (
            await self._engine.get_json("/read/latest", {"topic": topic})
        )["latest"]
        return latest_time

    async def iter_chunks(
        self, query: SampleQuery, start: Instant, end: Instant
    ) -> AsyncIterator[Series]:
        """Yields the samples of a time range as they arrive."""
        body = {**asdict(query), "start": start, "end": end}
        async with self._engine.stream_response("POST", "/read/series", json=body) as chunks:
            async for frame in stream_framing.decode_frames(chunks):
                yield stream_framing.decode_series(frame)

    async def read_latest(self, query: SampleQuery, count: int, end: Instant | None) -> Series:
        """Returns the last samples up to an instant."""
        body = {**asdict(query), "count": count, "end": end}
        async with self._engine.stream_response("POST", "/read/newest", json=body) as chunks:
            series_chunks = [
                stream_framing.decode_series(frame)
                async for frame in stream_framing.decode_frames(chunks)
            ]
        if len(series_chunks) != 1:
            raise CatcherError("the engine's answer is of another form", "ask again")
        return series_chunks[0]


class HttpArtifacts:
    """Artifacts by key."""

    def __init__(self, engine: EngineHttp) -> None:
        self._engine = engine

    async def get(self, key: str) -> bytes:
        """Returns the bytes under a key."""
        if ".." in key.split("/") or not key:
            raise CatcherError(f"the key {key[:200]!r} leads elsewhere", "take it from `artifacts`")
        return await self._engine.get_bytes(f"/artifacts/{quote(key)}")


class HttpSql:
    """SELECT statements over the views of the engine's ledger."""

    def __init__(self, engine: EngineHttp) -> None:
        self._engine = engine

    async def query(self, statement: str, limit: int, timeout: Span) -> SqlResult:
        """Returns the rows of a SELECT."""
        body = {"query": statement, "limit": limit, "patience": timeout}
        request_timeout = nanoseconds_to_seconds(timeout) + TRANSFER_TIMEOUT
        rows: list[Any] = []
        async with self._engine.stream_response(
            "POST", "/read/sql", request_timeout, json=body
        ) as chunks:
            async for frame in stream_framing.decode_frames(chunks):
                rows += stream_framing.decode_objects(frame, Any)
        header = rows[0] if rows and isinstance(rows[0], dict) else {}
        if "names" not in header:
            raise CatcherError("the engine's answer is of another form", "ask again")
        return SqlResult(header["names"], rows[1:], bool(header.get("cut")))
