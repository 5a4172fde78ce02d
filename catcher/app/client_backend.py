"""What the client reads from: a site's stores, or a remote engine over its API.
If an engine runs on the site, telemetry comes from that engine, which has the latest.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from catcher.app.lazy import LazyRecords
from catcher.app.paths import (
    LazyObjects,
    open_artifact_reader,
    resolve_data_folder,
    resolve_ledger_url,
)
from catcher.app.site import load_site_settings
from catcher.app.telemetry import open_telemetry_reader
from catcher.client import Backend, HistoryTelemetry, SampleQuery, SqlResult
from catcher.client.backend import SqlBackend, TelemetryBackend
from catcher.model.errors import EngineNotRunning
from catcher.model.event import Series
from catcher.model.telemetry import FieldInfo
from catcher.model.time import SECOND, Instant, Span, wall_clock
from catcher.site import Site

if TYPE_CHECKING:
    from catcher.stores.ledger.readonly_sql import LedgerSql

PathOrUrl = str | Path | None
T = TypeVar("T")
TOKEN_VARIABLE = "CATCHER_TOKEN"
MAX_HISTORY_AGE = 10 * SECOND
"""After this age an opened telemetry folder is opened again."""


@asynccontextmanager
async def open_backend(location: PathOrUrl, data: PathOrUrl, token: str) -> AsyncIterator[Backend]:
    """Opens the backend for a location: a URL, or else the folder of a site."""
    if isinstance(location, str) and "://" in location:
        from catcher.client.http_backend import open_http_backend

        async with open_http_backend(
            location, token or os.environ.get(TOKEN_VARIABLE, ""), decode_artifact
        ) as backend:
            yield backend
        return
    site = await asyncio.to_thread(load_site_settings, None if location is None else Path(location))
    folder = resolve_data_folder(site, None if data is None else Path(data))
    async with open_site_backend(site, folder) as backend:
        yield backend


@asynccontextmanager
async def open_site_backend(site: Site, data: Path) -> AsyncIterator[Backend]:
    """Opens everything that a site's engine stores, for reading."""
    async with AsyncExitStack() as exit_stack:
        address = resolve_ledger_url(site, data)
        records = LazyRecords(address, exit_stack)
        token = site.settings.api.token
        telemetry = SiteTelemetry(site, data, token.reveal() if token else "")
        exit_stack.push_async_callback(telemetry.close)
        objects = LazyObjects(lambda: open_artifact_reader(site, data))
        yield Backend(
            records, telemetry, objects, create_lazy_sql_backend(address), decode_artifact
        )


def decode_artifact(name: str, data: bytes) -> Any:
    """Decodes the bytes of an artifact to the value they were made from."""
    from catcher.jobs.artifact_codecs import decode_artifact

    return decode_artifact(name, data)


def create_lazy_sql_backend(address: str) -> SqlBackend:
    """Returns SQL access to the ledger at an address."""
    return _LazySql(address)


class _LazySql:
    """Opens SQL access on first use: its parser is slow to import, and few need it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._sql: LedgerSql | None = None

    async def query(self, statement: str, limit: int, timeout: Span) -> SqlResult:
        """Returns the rows of a SELECT."""
        if self._sql is None:
            from catcher.stores.ledger.readonly_sql import LedgerSql

            self._sql = LedgerSql(self._address)
        return await self._sql.query(statement, limit, timeout)


class _NoRunningEngine(Exception):
    """No engine answers for a site."""


class SiteTelemetry:
    """The telemetry of a site: of its engine if one runs, which has the latest.
    Else that of its archive, or of its folder, which is opened again after `MAX_HISTORY_AGE`: an
    engine may have written to it meanwhile.
    """

    def __init__(self, site: Site, data: Path, token: str) -> None:
        self._site = site
        self._data = data
        self._token = token
        self._telemetry: TelemetryBackend | None = None
        self._opened_at: Instant = 0
        self._reader_count = 0
        self._exit_stack = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Closes the folder."""
        await self._exit_stack.aclose()

    async def list_topics(self) -> Sequence[str]:
        """Returns the topics that have samples."""
        return await self._query_engine_or_history(lambda telemetry: telemetry.list_topics())

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the fields of a topic."""
        return await self._query_engine_or_history(lambda telemetry: telemetry.list_fields(topic))

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last sample."""
        return await self._query_engine_or_history(
            lambda telemetry: telemetry.find_latest_time(topic)
        )

    async def read_latest(self, query: SampleQuery, count: int, end: Instant | None) -> Series:
        """Returns the last samples up to an instant."""
        return await self._query_engine_or_history(
            lambda telemetry: telemetry.read_latest(query, count, end)
        )

    async def iter_chunks(
        self, query: SampleQuery, start: Instant, end: Instant
    ) -> AsyncIterator[Series]:
        """Yields the samples of a time range in chunks."""
        has_yielded = False
        with suppress(_NoRunningEngine):
            async with self._open_engine_telemetry() as engine:
                try:
                    async for series in engine.iter_chunks(query, start, end):
                        has_yielded = True
                        yield series
                    return
                except EngineNotRunning as error:
                    if has_yielded:
                        raise
                    raise _NoRunningEngine from error
        async with self._open_cached_history() as telemetry:
            async for series in telemetry.iter_chunks(query, start, end):
                yield series

    async def _query_engine_or_history(
        self, operation: Callable[[TelemetryBackend], Awaitable[T]]
    ) -> T:
        with suppress(_NoRunningEngine):
            async with self._open_engine_telemetry() as engine:
                try:
                    return await operation(engine)
                except EngineNotRunning as error:
                    raise _NoRunningEngine from error
        async with self._open_cached_history() as telemetry:
            return await operation(telemetry)

    @asynccontextmanager
    async def _open_engine_telemetry(self) -> AsyncIterator[TelemetryBackend]:
        """Opens the engine that is registered here.
        Raises `_NoRunningEngine` if none is. A killed engine could not deregister: what it wrote is
        in its folder.
        """
        from catcher.app.engine_handle import read_engine_url

        url = read_engine_url(self._data)
        if not url:
            raise _NoRunningEngine
        from catcher.client.http_backend import open_http_backend

        async with open_http_backend(url, self._token, decode_artifact) as backend:
            yield backend.telemetry

    @asynccontextmanager
    async def _open_cached_history(self) -> AsyncIterator[TelemetryBackend]:
        async with self._lock:
            is_stale = wall_clock() - self._opened_at > MAX_HISTORY_AGE
            if self._telemetry is None or (is_stale and not self._reader_count):
                await self._exit_stack.aclose()
                self._telemetry = await self._reopen_history()
            telemetry = self._telemetry
            self._reader_count += 1
        try:
            yield telemetry
        finally:
            self._reader_count -= 1

    async def _reopen_history(self) -> TelemetryBackend:
        self._exit_stack = AsyncExitStack()
        self._opened_at = wall_clock()
        folder = self._data / "history"
        return HistoryTelemetry(
            await open_telemetry_reader(self._site, folder, wall_clock, self._exit_stack)
        )
