"""The routes by which a client elsewhere reads: telemetry, what was kept, SQL. None writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from catcher.api import framing
from catcher.client import Asked, Client
from catcher.model.problem import CatcherError, Unknown
from catcher.model.time import MAX_INSTANT, Span
from catcher.ports import Query

Row = dict[str, Any]
CHUNK = 200
MOST = 100_001
"""Entries of one answer, and one more that tells that there are more."""
KINDS = frozenset(
    {"firings", "runs", "metrics", "artifacts", "alerts", "audit", "silences", "shifts",
     "dead_letters"}
)  # fmt: skip


class Samples(BaseModel):
    """Which samples of a topic."""

    topic: str = Field(min_length=1, max_length=1000)
    fields: list[str] = Field(default_factory=list, max_length=10_000)
    index: int | None = None
    index_field: str = Field("salIndex", max_length=200)

    def asked(self) -> Asked:
        """As the client asks."""
        return Asked(self.topic, self.fields, self.index, self.index_field)


class Stretch(Samples):
    """Those of a span of time, nanoseconds since the epoch."""

    start: int = Field(ge=0, le=MAX_INSTANT)
    end: int = Field(ge=0, le=MAX_INSTANT)


class Newest(Samples):
    """The last ones, up to an instant."""

    count: int = Field(ge=1, le=1_000_000)
    end: int | None = Field(None, ge=0, le=MAX_INSTANT)


class Statement(BaseModel):
    """A SELECT over the ledger's views."""

    query: str = Field(min_length=1, max_length=20_000)
    limit: int = Field(10_000, ge=1, le=MOST - 1)
    patience: int = Field(10_000_000_000, ge=1)


def reading(api: FastAPI, client: Client) -> None:
    """Adds the routes."""
    _telemetry(api, client)

    @api.get("/read/records/{kind}")
    async def records(kind: str, query: str = "{}") -> StreamingResponse:
        """What was kept of a kind, exactly, for Catcher's own client."""
        if kind not in KINDS:
            raise Unknown(f"there are no {kind[:60]!r} here", f"ask for {', '.join(sorted(KINDS))}")
        asked = _query(query)
        source = (await client.opened()).records
        found = await getattr(source, kind)(asked)
        return _stream(b"M", _nouns(found))

    @api.post("/read/sql")
    async def sql(body: Statement) -> StreamingResponse:
        """The rows of a SELECT over the ledger's views."""
        patience: Span = body.patience
        answer = await (await client.opened()).sql.ask(body.query, body.limit, patience)
        head = {"names": list(answer.names), "cut": answer.cut}
        return _stream(b"M", _nouns([head, *answer.rows]))


def _telemetry(api: FastAPI, client: Client) -> None:
    @api.get("/read/topics")
    async def topics() -> list[str]:
        """The topics of which telemetry is held."""
        return list(await (await client.opened()).telemetry.topics())

    @api.get("/read/fields")
    async def fields(topic: str) -> list[Row]:
        """The fields of a topic: name, type, unit, description."""
        found = await (await client.opened()).telemetry.fields(topic)
        return [asdict(one) for one in found]

    @api.get("/read/latest")
    async def latest(topic: str) -> dict[str, int | None]:
        """The time of the last sample of a topic, nanoseconds since the epoch."""
        return {"latest": await (await client.opened()).telemetry.latest(topic)}

    @api.post("/read/series")
    async def series(body: Stretch) -> StreamingResponse:
        """Telemetry with start <= time <= end (nanoseconds), in stretches, as Arrow."""
        telemetry = (await client.opened()).telemetry

        async def stretches() -> AsyncIterator[bytes]:
            async for one in telemetry.stretches(body.asked(), body.start, body.end):
                yield await asyncio.to_thread(framing.from_series, one)

        return _stream(b"S", stretches())

    @api.post("/read/newest")
    async def newest(body: Newest) -> StreamingResponse:
        """The last samples of a topic, as Arrow."""
        telemetry = (await client.opened()).telemetry
        found = await telemetry.newest(body.asked(), body.count, body.end)

        async def one() -> AsyncIterator[bytes]:
            yield framing.from_series(found)

        return _stream(b"S", one())


def _query(text: str) -> Query:
    try:
        query = msgspec.json.decode(text, type=Query)
    except msgspec.MsgspecError as error:
        raise CatcherError(
            f"the query cannot be read: {error}", "see catcher.ports.Query"
        ) from None
    if not 0 < query.limit <= MOST:
        raise CatcherError(f"the limit {query.limit} cannot be", f"say 1 to {MOST - 1:,}")
    return query


async def _nouns(found: Sequence[Any]) -> AsyncIterator[bytes]:
    for first in range(0, len(found), CHUNK):
        yield framing.from_nouns(found[first : first + CHUNK])


def _stream(letter: bytes, bodies: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(framing.framed(letter, bodies), media_type=framing.MEDIA)
