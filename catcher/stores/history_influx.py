"""Telemetry in InfluxDB, read with InfluxQL over HTTP, which 1.x, 2.x and 3.x all answer.

    stores:
      history:
        influxdb: {url: "https://efd.example:8086", database: efd, username: reader,
                   password: "${EFD_PASSWORD}"}
        # influxdb: {url: "http://influx.example:8086", database: efd, token: "${INFLUX_TOKEN}"}

A topic is a measurement (`lsst.sal.ESS.airFlow`), the index of a component a field (`salIndex`),
an array a field for each of its places (`force0 … force11`), `time` is UTC. In 2.x a database
mapping (`influx v1 dbrp create`) gives a bucket the name of a database. What an engine is sent
is not written here: telemetry has its own way into an InfluxDB.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from catcher.model.event import Event, Series
from catcher.model.health import Health, HealthState
from catcher.model.naming import in_order, meant, unknown_topic
from catcher.model.problem import CatcherError
from catcher.model.telemetry import FieldInfo, Where
from catcher.model.text import plain
from catcher.model.time import SECOND, Clock, Instant, Span, wall_clock
from catcher.ports import Predicate, StoreAway
from catcher.stores.history_looking import counted, newest_of
from catcher.stores.influx_reading import Asked, Gathering, asked_of, events_of
from catcher.stores.influx_wire import JSON, MSGPACK, Chunk, Refused, chunks
from catcher.stores.influxql import measurement, name, select
from catcher.stores.web import Web, basic, checked_url

Answer = TypeVar("Answer")
TYPES = {"float": "float", "integer": "integer", "unsigned": "integer", "boolean": "boolean"}
ROWS_OF_A_CHUNK = 10_000
REMEMBERED = 60 * SECOND
"""How long the names of topics and fields are believed."""
SIDE_BY_SIDE = 4
UNTYPED = ("400", "406", "415")
"""How a server refuses a form of answer that it does not know."""


@dataclass(frozen=True, slots=True)
class InfluxSettings:
    """Where telemetry is read: a database (in 2.x its mapping), by name and password or token.

    `lag` is how late a row may become readable, `rows` how many one question may bring,
    `timeout` how long the server may be silent. `source` names it to readers.
    """

    url: str
    database: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    retention: str = ""
    timeout: Span = 60 * SECOND
    lag: Span = 30 * SECOND
    rows: int = 5_000_000
    compress: bool = False

    def __post_init__(self) -> None:
        checked_url(self.url)
        if self.token and self.username:
            raise CatcherError("it has both a token and a username", "give one of them")
        if self.rows < 1:
            raise CatcherError("`rows` is less than one", "leave it out, or allow more")


class InfluxHistory:
    """`ports.Archive` over an InfluxDB; an async context manager."""

    def __init__(self, settings: InfluxSettings, clock: Clock = wall_clock) -> None:
        self._settings = settings
        self._clock = clock
        self._who = f"the InfluxDB at {settings.url}"
        headers = {"Authorization": f"Token {settings.token}"} if settings.token else {}
        if settings.username:
            headers = basic(settings.username, settings.password)
        headers |= {"Accept-Encoding": "gzip"} if settings.compress else {}
        self._web = Web(settings.url, headers, settings.timeout, self._who)
        self._form = MSGPACK
        self._names: tuple[Instant, list[str]] | None = None
        self._fields: dict[str, tuple[Instant, list[FieldInfo]]] = {}
        self._counts = {"queries": 0, "rows": 0, "failures": 0}
        self._state: HealthState = "starting"
        self._problem = ""
        self._since: Instant = 0
        self._last: Instant | None = None
        self._closed = threading.Event()

    async def __aenter__(self) -> Self:
        self._since = self._clock()
        self._threads = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="history-influx")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._state = "ended"
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._web.close()

    async def append(self, events: Sequence[Event]) -> None:
        """Nothing is written here: telemetry comes into an InfluxDB by its own way."""

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """The samples with start <= time <= end in time order; all numeric fields if none named.

        Unknown where the topic or a field is not there, with what was probably meant.
        """
        asked = asked_of(topic, fields, await self.fields(topic), where)
        place = measurement(topic, self._settings.retention)
        most = self._settings.rows + 1
        statement = select(place, asked.columns, start, end, asked.equal, limit=most)
        return await self._series(statement, topic, asked, where)

    async def newest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """The last `count` samples (with time <= end) that pass, in time order."""
        if where is not None and not (isinstance(where, Where) and where.exact):
            latest = await self.latest(topic)
            last = latest if end is None or latest is None else min(latest, end)
            return await newest_of(self.read, topic, fields, count, last, where)
        asked = asked_of(topic, fields, await self.fields(topic), where)
        place, count = measurement(topic, self._settings.retention), counted(count)
        statement = select(place, asked.columns, None, end, asked.equal, "desc", count)
        return await self._series(statement, topic, asked, None)

    async def events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]:
        """The samples with start <= time <= end, text and all, in time order, in batches."""
        await self.fields(topic)
        statement = select(measurement(topic, self._settings.retention), [], start, end)
        with closing(self._chunks(statement)) as found:
            while (chunk := await self._in_thread(lambda: next(found, None))) is not None:
                yield events_of(topic, chunk)

    async def topics(self) -> Sequence[str]:
        """The measurements of the database, sorted."""
        if self._names is None or self._stale(self._names[0]):
            found = await self._listed("SHOW MEASUREMENTS", "name")
            if not found:
                # Of a database that is not there the server shows no measurements, either.
                await self._listed(select(name("none"), [], limit=1), "time")
            self._names = (self._clock(), sorted(map(str, found)))
        return self._names[1]

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """What can be asked of a topic, arrays place by place; Unknown where there is none."""
        known = self._fields.get(topic)
        if known is None or self._stale(known[0]):
            rows = await self._rows(f"SHOW FIELD KEYS FROM {name(topic)}", "fieldKey", "fieldType")
            types = {str(key): TYPES.get(str(kind), "string") for key, kind in rows}
            if not types:
                raise unknown_topic(topic, await self.topics(), self._place)
            made = [FieldInfo(key, types[key]) for key in in_order(types)]  # type: ignore[arg-type]
            known = self._fields[topic] = (self._clock(), made)
        return known[1]

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample that can be read; None where there is none."""
        statement = select(measurement(topic, self._settings.retention), [], order="desc", limit=1)
        times = await self._listed(statement, "time")
        return int(times[0]) if times else None

    async def watermark(self, topic: str) -> Instant | None:
        """Its last sample that can be read, or what must be readable by now."""
        latest = await self.latest(topic)
        return max(latest or 0, self._clock() - self._settings.lag)

    def health(self) -> Health:
        """`away` while the server does not answer."""
        return Health(
            "history", "influxdb", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    # -- inside -----------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        return f"the database {plain(self._settings.database, 60)} of {self._who}"

    def _stale(self, told: Instant) -> bool:
        return not 0 <= self._clock() - told < REMEMBERED

    async def _series(
        self, statement: str, topic: str, asked: Asked, where: Predicate | None
    ) -> Series:
        gathering = Gathering(topic, asked, where, self._settings.rows)
        given_up = threading.Event()

        def gather() -> Series:
            with closing(self._chunks(statement)) as found:
                for chunk in found:
                    if given_up.is_set() or self._closed.is_set():
                        raise StoreAway("the question was given up")
                    gathering.take(chunk)
            return gathering.series()

        try:
            series = await self._in_thread(gather)
        finally:
            given_up.set()
        self._counts["rows"] += len(series)
        return series

    async def _listed(self, statement: str, column: str) -> list[Any]:
        return [cell for (cell,) in await self._rows(statement, column)]

    async def _rows(self, statement: str, *columns: str) -> list[tuple[Any, ...]]:
        """Columns of a short answer, row by row."""

        def collect() -> list[tuple[Any, ...]]:
            with closing(self._chunks(statement)) as found:
                some = [
                    list(zip(*(one.column(name) for name in columns), strict=True)) for one in found
                ]
            return [row for rows in some for row in rows]

        return await self._in_thread(collect)

    def _chunks(self, statement: str) -> Generator[Chunk, None, None]:
        """The answer to a statement, in the most compact form that the server knows."""
        came = False
        try:
            for chunk in self._asked(statement, self._form):
                came = True
                yield chunk
        except Refused as error:
            if came or self._form == JSON or not error.reason.startswith(UNTYPED):
                raise
            yield from self._asked(statement, JSON)
            self._form = JSON

    def _asked(self, statement: str, form: str) -> Generator[Chunk, None, None]:
        settings = self._settings
        fields = {
            "db": settings.database, "q": statement, "epoch": "ns", "chunked": "true",
            "chunk_size": str(ROWS_OF_A_CHUNK),
        }  # fmt: skip
        with self._web.ask("GET", "/query", fields, {"Accept": form}) as answer:
            yield from chunks(answer, self._who)

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Asks the server; its health says how that went."""
        self._counts["queries"] += 1
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except StoreAway as error:
            self._counts["failures"] += 1
            self._turn("away", error.message)
            raise
        except Refused as error:
            raise await self._explained(error) from None
        self._last = self._clock()
        self._turn("ok", "")
        return found

    async def _explained(self, error: Refused) -> CatcherError:
        """A database that is not there, with what was probably meant."""
        if "database not found" not in error.reason.lower():
            return error
        wanted, loop = self._settings.database, asyncio.get_running_loop()
        known = await loop.run_in_executor(self._threads, self._databases)
        near = meant(wanted, known)
        hint = f"did you mean {' or '.join(near)}?" if near else "mend `database`"
        return CatcherError(f"{self._who} has no database {plain(wanted, 60)!r}", hint)

    def _databases(self) -> list[str]:
        try:
            with closing(self._asked("SHOW DATABASES", self._form)) as found:
                return [str(cell) for chunk in found for cell in chunk.column("name")]
        except (CatcherError, ValueError):
            return []

    def _turn(self, state: HealthState, problem: str) -> None:
        if self._state != "ended":
            self._since = self._clock() if state != self._state else self._since
            self._state, self._problem = state, problem
