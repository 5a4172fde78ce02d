"""The routes by which a remote client reads: telemetry, records, SQL. None writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from catcher.client import Client, SampleQuery, stream_framing
from catcher.client.backend import RecordBackend
from catcher.model.errors import CatcherError, NotFound
from catcher.model.time import MAX_INSTANT, Span
from catcher.ports import Query

Row = dict[str, Any]
CHUNK_RECORDS = 200
MAX_RECORDS = 100_001
"""Records of one answer, and one more that shows that there are more."""
RECORD_READERS: Mapping[str, Callable[[RecordBackend, Query], Awaitable[Sequence[Any]]]] = {
    "alerts": lambda records, query: records.list_alerts(query),
    "artifacts": lambda records, query: records.list_artifacts(query),
    "audit": lambda records, query: records.list_audit_entries(query),
    "dead_letters": lambda records, query: records.list_dead_letters(query),
    "firings": lambda records, query: records.list_firings(query),
    "metrics": lambda records, query: records.list_metrics(query),
    "runs": lambda records, query: records.list_runs(query),
    "shifts": lambda records, query: records.list_shifts(query),
    "silences": lambda records, query: records.list_silences(query),
}
"""The reader of each kind of record, by its name in the path."""


class SampleRequest(BaseModel):
    """Which samples of a topic."""

    topic: str = Field(min_length=1, max_length=1000)
    fields: list[str] = Field(default_factory=list, max_length=10_000)
    index: int | None = None
    index_field: str = Field("salIndex", max_length=200)

    def to_sample_query(self) -> SampleQuery:
        """Converts the request to the query of the backend."""
        return SampleQuery(self.topic, self.fields, self.index, self.index_field)


class TimeRangeRequest(SampleRequest):
    """Those of a span of time, nanoseconds since the epoch."""

    start: int = Field(ge=0, le=MAX_INSTANT)
    end: int = Field(ge=0, le=MAX_INSTANT)


class NewestRequest(SampleRequest):
    """The last ones, up to an instant."""

    count: int = Field(ge=1, le=1_000_000)
    end: int | None = Field(None, ge=0, le=MAX_INSTANT)


class SqlRequest(BaseModel):
    """A SELECT over the ledger's views."""

    query: str = Field(min_length=1, max_length=20_000)
    limit: int = Field(10_000, ge=1, le=MAX_RECORDS - 1)
    patience: int = Field(10_000_000_000, ge=1)


def add_query_routes(api: FastAPI, client: Client) -> None:
    """Adds the routes."""
    _add_telemetry_routes(api, client)

    @api.get("/read/records/{kind}")
    async def records(kind: str, query: str = "{}") -> StreamingResponse:
        """What was kept of a kind, exactly, for Catcher's own client."""
        if kind not in RECORD_READERS:
            raise NotFound(
                f"there are no {kind[:60]!r} here", f"ask for {', '.join(sorted(RECORD_READERS))}"
            )
        record_query = _parse_record_query(query)
        backend_records = (await client.open_backend()).records
        rows = await RECORD_READERS[kind](backend_records, record_query)
        return _build_frame_response(b"M", _encode_record_chunks(rows))

    @api.post("/read/sql")
    async def sql(body: SqlRequest) -> StreamingResponse:
        """The rows of a SELECT over the ledger's views."""
        timeout: Span = body.patience
        result = await (await client.open_backend()).sql.query(body.query, body.limit, timeout)
        header = {"names": list(result.names), "cut": result.cut}
        return _build_frame_response(b"M", _encode_record_chunks([header, *result.rows]))


def _add_telemetry_routes(api: FastAPI, client: Client) -> None:
    @api.get("/read/topics")
    async def topics() -> list[str]:
        """The topics of which telemetry is held."""
        return list(await (await client.open_backend()).telemetry.list_topics())

    @api.get("/read/fields")
    async def fields(topic: str) -> list[Row]:
        """The fields of a topic: name, type, unit, description."""
        field_infos = await (await client.open_backend()).telemetry.list_fields(topic)
        return [asdict(info) for info in field_infos]

    @api.get("/read/latest")
    async def latest(topic: str) -> dict[str, int | None]:
        """The time of the last sample of a topic, nanoseconds since the epoch."""
        return {"latest": await (await client.open_backend()).telemetry.find_latest_time(topic)}

    @api.post("/read/series")
    async def series(body: TimeRangeRequest) -> StreamingResponse:
        """Telemetry with start <= time <= end (nanoseconds), in stretches, as Arrow."""
        telemetry = (await client.open_backend()).telemetry

        async def encode_chunks() -> AsyncIterator[bytes]:
            async for chunk in telemetry.iter_chunks(body.to_sample_query(), body.start, body.end):
                yield await asyncio.to_thread(stream_framing.encode_series, chunk)

        return _build_frame_response(b"S", encode_chunks())

    @api.post("/read/newest")
    async def newest(body: NewestRequest) -> StreamingResponse:
        """The last samples of a topic, as Arrow."""
        telemetry = (await client.open_backend()).telemetry
        latest_series = await telemetry.read_latest(body.to_sample_query(), body.count, body.end)

        async def encode_chunk() -> AsyncIterator[bytes]:
            yield stream_framing.encode_series(latest_series)

        return _build_frame_response(b"S", encode_chunk())


def _parse_record_query(text: str) -> Query:
    try:
        query = msgspec.json.decode(text, type=Query)
    except msgspec.MsgspecError as error:
        raise CatcherError(
            f"the query cannot be read: {error}", "see catcher.ports.Query"
        ) from None
    if not 0 < query.limit <= MAX_RECORDS:
        raise CatcherError(f"the limit {query.limit} cannot be", f"say 1 to {MAX_RECORDS - 1:,}")
    return query


async def _encode_record_chunks(records: Sequence[Any]) -> AsyncIterator[bytes]:
    for first in range(0, len(records), CHUNK_RECORDS):
        yield stream_framing.encode_objects(records[first : first + CHUNK_RECORDS])


def _build_frame_response(frame_type: bytes, bodies: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(
        stream_framing.encode_frames(frame_type, bodies), media_type=stream_framing.MEDIA_TYPE
    )
