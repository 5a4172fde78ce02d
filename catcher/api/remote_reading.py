"""A running engine's records and telemetry over its API, as the client reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from catcher.api import framing
from catcher.api.link import Link
from catcher.client import Answer, Asked, Reading
from catcher.model.alert import Alert, AuditEntry
from catcher.model.desk import Shift, Silence
from catcher.model.event import Series
from catcher.model.problem import CatcherError
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.telemetry import FieldInfo
from catcher.model.time import Instant, Span, to_seconds
from catcher.ports import DeadLetter, MetricPoint, Query

Decode = Callable[[str, bytes], Any]
SLACK = 5.0
"""Seconds that a statement may take on its way beside its own patience."""


@asynccontextmanager
async def open_remote(url: str, token: str, decode: Decode) -> AsyncIterator[Reading]:
    """What the engine or board at an address has to read."""
    async with Link(checked_url(url), token) as link:
        yield Reading(
            RemoteRecords(link), RemoteTelemetry(link), RemoteObjects(link), RemoteSql(link),
            decode,
        )  # fmt: skip


def checked_url(url: str) -> str:
    """An address of HTTP; CatcherError for any other."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise CatcherError(f"{url[:200]!r} is no address", "write it like http://host:8787")
    return url.rstrip("/")


class RemoteRecords:
    """What was kept, by queries."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def _found(self, kind: str, noun: Any, query: Query) -> list[Any]:
        asked = {"query": msgspec.json.encode(query).decode()}
        found: list[Any] = []
        async with self._link.stream("GET", f"/read/records/{kind}", params=asked) as chunks:
            async for body in framing.bodies(chunks):
                found += framing.to_nouns(body, noun)
        return found

    async def firings(self, query: Query) -> Sequence[Firing]:
        """Decisions of triggers."""
        return await self._found("firings", Firing, query)

    async def runs(self, query: Query) -> Sequence[Run]:
        """Executions of jobs."""
        return await self._found("runs", Run, query)

    async def metrics(self, query: Query) -> Sequence[MetricPoint]:
        """Values of metrics."""
        return await self._found("metrics", MetricPoint, query)

    async def artifacts(self, query: Query) -> Sequence[ArtifactRecord]:
        """The index of what was kept."""
        return await self._found("artifacts", ArtifactRecord, query)

    async def alerts(self, query: Query) -> Sequence[Alert]:
        """Alerts."""
        return await self._found("alerts", Alert, query)

    async def audit(self, query: Query) -> Sequence[AuditEntry]:
        """Who did what when."""
        return await self._found("audit", AuditEntry, query)

    async def silences(self, query: Query) -> Sequence[Silence]:
        """Silences."""
        return await self._found("silences", Silence, query)

    async def shifts(self, query: Query) -> Sequence[Shift]:
        """Who was on shift."""
        return await self._found("shifts", Shift, query)

    async def dead_letters(self, query: Query) -> Sequence[DeadLetter]:
        """Notices that were given up."""
        return await self._found("dead_letters", DeadLetter, query)


class RemoteTelemetry:
    """Samples, in stretches."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def topics(self) -> Sequence[str]:
        """The topics of which there are samples."""
        found: list[str] = await self._link.json("/read/topics")
        return found

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """What can be asked of a topic."""
        rows: list[Mapping[str, Any]] = await self._link.json("/read/fields", {"topic": topic})
        return [FieldInfo(**row) for row in rows]

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample."""
        found: Instant | None = (await self._link.json("/read/latest", {"topic": topic}))["latest"]
        return found

    async def stretches(self, asked: Asked, start: Instant, end: Instant) -> AsyncIterator[Series]:
        """The samples of a span, as they come in."""
        body = {**asdict(asked), "start": start, "end": end}
        async with self._link.stream("POST", "/read/series", json=body) as chunks:
            async for one in framing.bodies(chunks):
                yield framing.to_series(one)

    async def newest(self, asked: Asked, count: int, end: Instant | None) -> Series:
        """The last samples up to an instant."""
        body = {**asdict(asked), "count": count, "end": end}
        async with self._link.stream("POST", "/read/newest", json=body) as chunks:
            found = [framing.to_series(one) async for one in framing.bodies(chunks)]
        if len(found) != 1:
            raise CatcherError("the engine's answer is of another form", "ask again")
        return found[0]


class RemoteObjects:
    """Artifacts by key."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, key: str) -> bytes:
        """The bytes under a key."""
        if ".." in key.split("/") or not key:
            raise CatcherError(f"the key {key[:200]!r} leads elsewhere", "take it from `artifacts`")
        return await self._link.whole(f"/artifacts/{quote(key)}")


class RemoteSql:
    """SELECT statements over the views of the engine's ledger."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def ask(self, statement: str, limit: int, patience: Span) -> Answer:
        """The rows of a SELECT."""
        body = {"query": statement, "limit": limit, "patience": patience}
        most = to_seconds(patience) + SLACK
        rows: list[Any] = []
        async with self._link.stream("POST", "/read/sql", most, json=body) as chunks:
            async for one in framing.bodies(chunks):
                rows += framing.to_nouns(one, Any)
        head = rows[0] if rows and isinstance(rows[0], dict) else {}
        if "names" not in head:
            raise CatcherError("the engine's answer is of another form", "ask again")
        return Answer(head["names"], rows[1:], bool(head.get("cut")))
