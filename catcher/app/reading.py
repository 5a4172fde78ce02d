"""What lies behind the client's door: a site's stores, or an engine elsewhere over its API.

Of a site on which an engine runs the telemetry comes from that engine, which has the latest.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from catcher.app.late_records import LateRecords
from catcher.app.places import (
    LateObjects,
    data_folder,
    ledger_address,
    readable_objects,
)
from catcher.app.sites import settings_of
from catcher.app.telemetry import open_archive
from catcher.client import Answer, Asked, HistoryTelemetry, Reading
from catcher.client.reading import Sql, Telemetry
from catcher.model.event import Series
from catcher.model.problem import NoEngine
from catcher.model.telemetry import FieldInfo
from catcher.model.time import SECOND, Instant, Span, wall_clock
from catcher.site import Site

if TYPE_CHECKING:
    from catcher.stores.ledger_sql import LedgerSql

Where = str | Path | None
T = TypeVar("T")
TOKEN = "CATCHER_TOKEN"
FRESH = 10 * SECOND
"""For so long an opened folder of telemetry is taken to hold what there is."""


@asynccontextmanager
async def opened(where: Where, data: Where, token: str) -> AsyncIterator[Reading]:
    """What is asked for; what is no address is the folder of a site."""
    if isinstance(where, str) and "://" in where:
        from catcher.api.remote_reading import open_remote

        async with open_remote(where, token or os.environ.get(TOKEN, ""), decoded) as reading:
            yield reading
        return
    site = await asyncio.to_thread(settings_of, None if where is None else Path(where))
    folder = data_folder(site, None if data is None else Path(data))
    async with open_reading(site, folder) as reading:
        yield reading


@asynccontextmanager
async def open_reading(site: Site, data: Path) -> AsyncIterator[Reading]:
    """Everything that a site's engine keeps or kept, to read."""
    async with AsyncExitStack() as lifetimes:
        address = ledger_address(site, data)
        records = LateRecords(address, lifetimes)
        token = site.settings.api.token
        telemetry = SiteTelemetry(site, data, token.reveal() if token else "")
        lifetimes.push_async_callback(telemetry.close)
        objects = LateObjects(lambda: readable_objects(site, data))
        yield Reading(records, telemetry, objects, late_sql(address), decoded)


def decoded(name: str, data: bytes) -> Any:
    """The bytes of an artifact as what they were."""
    from catcher.working.forms import decode

    return decode(name, data)


def late_sql(address: str) -> Sql:
    """SQL over the ledger at an address."""
    return _LateSql(address)


class _LateSql:
    """Its parser is slow to import, and few ask."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._sql: LedgerSql | None = None

    async def ask(self, statement: str, limit: int, patience: Span) -> Answer:
        """The rows of a SELECT."""
        if self._sql is None:
            from catcher.stores.ledger_sql import LedgerSql

            self._sql = LedgerSql(self._address)
        return await self._sql.ask(statement, limit, patience)


class _Nobody(Exception):
    """No engine answers for a site."""


class SiteTelemetry:
    """The telemetry of a site: of its engine if one runs, which has the latest.

    Else it is that of its archive, or of its folder, which is read anew when a while has passed: an
    engine may have written to it meanwhile.
    """

    def __init__(self, site: Site, data: Path, token: str) -> None:
        self._site = site
        self._data = data
        self._token = token
        self._folder: Telemetry | None = None
        self._opened: Instant = 0
        self._readers = 0
        self._lifetimes = AsyncExitStack()
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Closes the folder."""
        await self._lifetimes.aclose()

    async def topics(self) -> Sequence[str]:
        """The topics of which there are samples."""
        return await self._ask(lambda telemetry: telemetry.topics())

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """What can be asked of a topic."""
        return await self._ask(lambda telemetry: telemetry.fields(topic))

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample."""
        return await self._ask(lambda telemetry: telemetry.latest(topic))

    async def newest(self, asked: Asked, count: int, end: Instant | None) -> Series:
        """The last samples up to an instant."""
        return await self._ask(lambda telemetry: telemetry.newest(asked, count, end))

    async def stretches(self, asked: Asked, start: Instant, end: Instant) -> AsyncIterator[Series]:
        """The samples of a span."""
        begun = False
        with suppress(_Nobody):
            async with self._engine() as engine:
                try:
                    async for series in engine.stretches(asked, start, end):
                        begun = True
                        yield series
                    return
                except NoEngine as error:
                    if begun:
                        raise
                    raise _Nobody from error
        async with self._history() as folder:
            async for series in folder.stretches(asked, start, end):
                yield series

    async def _ask(self, question: Callable[[Telemetry], Awaitable[T]]) -> T:
        with suppress(_Nobody):
            async with self._engine() as engine:
                try:
                    return await question(engine)
                except NoEngine as error:
                    raise _Nobody from error
        async with self._history() as folder:
            return await question(folder)

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[Telemetry]:
        """The engine that says it runs here; _Nobody where none does.

        One that was killed could not say that it is gone: what it wrote is in its folder.
        """
        from catcher.app.running import announced_at

        url = announced_at(self._data)
        if not url:
            raise _Nobody
        from catcher.api.remote_reading import open_remote

        async with open_remote(url, self._token, decoded) as reading:
            yield reading.telemetry

    @asynccontextmanager
    async def _history(self) -> AsyncIterator[Telemetry]:
        async with self._turn:
            old = wall_clock() - self._opened > FRESH
            if self._folder is None or (old and not self._readers):
                await self._lifetimes.aclose()
                self._folder = await self._reopened()
            folder = self._folder
            self._readers += 1
        try:
            yield folder
        finally:
            self._readers -= 1

    async def _reopened(self) -> Telemetry:
        self._lifetimes = AsyncExitStack()
        self._opened = wall_clock()
        place = self._data / "history"
        return HistoryTelemetry(await open_archive(self._site, place, wall_clock, self._lifetimes))
