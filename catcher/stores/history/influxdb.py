"""Telemetry in InfluxDB, read with InfluxQL over HTTP, which 1.x, 2.x and 3.x all answer.

    stores:
      history:
        influxdb: {url: "https://efd.example:8086", database: efd, username: reader,
                   password: "${EFD_PASSWORD}"}
        # influxdb: {url: "http://influx.example:8086", database: efd, token: "${INFLUX_TOKEN}"}

A topic is a measurement (`lsst.sal.ESS.airFlow`), the index of a component a field (`salIndex`), an
array a field for each element (`force0 … force11`), `time` is UTC. In 2.x a database mapping
(`influx v1 dbrp create`) gives a bucket the name of a database. Received events are not written
here: telemetry has its own way into an InfluxDB.
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

from catcher.model.errors import CatcherError
from catcher.model.event import Event, Series
from catcher.model.health import Health, HealthState
from catcher.model.suggestions import build_unknown_topic_error, sort_naturally, suggest_names
from catcher.model.telemetry import FieldInfo, PushdownPredicate
from catcher.model.text import sanitize_single_line
from catcher.model.time import SECOND, Clock, Instant, Span, wall_clock
from catcher.ports import Predicate, StoreUnavailable
from catcher.stores.history.influx_response import (
    JSON,
    MSGPACK,
    Chunk,
    QueryRefused,
    iter_response_chunks,
)
from catcher.stores.history.influx_series import (
    ColumnSelection,
    SeriesBuilder,
    chunk_to_events,
    select_columns,
)
from catcher.stores.history.influxql import build_select, quote_measurement, quote_name
from catcher.stores.history.queries import read_newest_samples, validate_sample_count
from catcher.transport.http import HttpClient, build_basic_auth_header, normalize_url

ResultT = TypeVar("ResultT")
FIELD_TYPES = {"float": "float", "integer": "integer", "unsigned": "integer", "boolean": "boolean"}
CHUNK_ROWS = 10_000
CACHE_TTL = 60 * SECOND
"""How long the names of topics and fields are cached."""
MAX_THREADS = 4
UNSUPPORTED_FORMAT_STATUSES = ("400", "406", "415")
"""Statuses with which a server refuses a response format that it does not know."""


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
        normalize_url(self.url)
        if self.token and self.username:
            raise CatcherError("it has both a token and a username", "give one of them")
        if self.rows < 1:
            raise CatcherError("`rows` is less than one", "leave it out, or allow more")


class InfluxHistory:
    """`ports.Archive` over an InfluxDB; an async context manager."""

    def __init__(self, settings: InfluxSettings, clock: Clock = wall_clock) -> None:
        self._settings = settings
        self._clock = clock
        self._display_name = f"the InfluxDB at {settings.url}"
        headers = {"Authorization": f"Token {settings.token}"} if settings.token else {}
        if settings.username:
            headers = build_basic_auth_header(settings.username, settings.password)
        headers |= {"Accept-Encoding": "gzip"} if settings.compress else {}
        self._client = HttpClient(settings.url, headers, settings.timeout, self._display_name)
        self._media_type = MSGPACK
        self._topics_cache: tuple[Instant, list[str]] | None = None
        self._fields_cache: dict[str, tuple[Instant, list[FieldInfo]]] = {}
        self._counts = {"queries": 0, "rows": 0, "failures": 0}
        self._state: HealthState = "starting"
        self._problem = ""
        self._since: Instant = 0
        self._last: Instant | None = None
        self._closed = threading.Event()

    async def __aenter__(self) -> Self:
        self._since = self._clock()
        self._thread_pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="history-influx")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._state = "ended"
        self._thread_pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def append(self, events: Sequence[Event]) -> None:
        """Does nothing: telemetry has its own way into an InfluxDB."""

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """Returns samples with start <= time <= end in time order; all numeric fields if none is
        named.

        Raises an error with suggestions if the topic or a field is unknown.
        """
        selection = select_columns(topic, fields, await self.list_fields(topic), where)
        measurement = quote_measurement(topic, self._settings.retention)
        limit = self._settings.rows + 1
        statement = build_select(
            measurement, selection.columns, start, end, selection.equal, limit=limit
        )
        return await self._query_series(statement, topic, selection, where)

    async def read_latest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """Returns the last `count` matching samples (with time <= end), in time order."""
        if where is not None and not (isinstance(where, PushdownPredicate) and where.exact):
            latest = await self.find_latest_time(topic)
            last_time = latest if end is None or latest is None else min(latest, end)
            return await read_newest_samples(self.read, topic, fields, count, last_time, where)
        selection = select_columns(topic, fields, await self.list_fields(topic), where)
        measurement, count = (
            quote_measurement(topic, self._settings.retention),
            validate_sample_count(count),
        )
        statement = build_select(
            measurement, selection.columns, None, end, selection.equal, "desc", count
        )
        return await self._query_series(statement, topic, selection, None)

    async def read_events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]:
        """Yields samples with start <= time <= end, including text, in time order, in batches."""
        await self.list_fields(topic)
        statement = build_select(quote_measurement(topic, self._settings.retention), [], start, end)
        with closing(self._query_with_format_fallback(statement)) as chunks:
            while (chunk := await self._run_in_thread(lambda: next(chunks, None))) is not None:
                yield chunk_to_events(topic, chunk)

    async def list_topics(self) -> Sequence[str]:
        """Returns the measurements of the database, sorted."""
        if self._topics_cache is None or self._is_stale(self._topics_cache[0]):
            names = await self._query_column("SHOW MEASUREMENTS", "name")
            if not names:
                # The server shows no measurements for a missing database either; this query raises
                # for it.
                await self._query_column(build_select(quote_name("none"), [], limit=1), "time")
            self._topics_cache = (self._clock(), sorted(map(str, names)))
        return self._topics_cache[1]

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the fields of a topic, one per array element.

        Raises an unknown-topic error if it does not exist.
        """
        cached = self._fields_cache.get(topic)
        if cached is None or self._is_stale(cached[0]):
            rows = await self._query_rows(
                f"SHOW FIELD KEYS FROM {quote_name(topic)}", "fieldKey", "fieldType"
            )
            types = {str(key): FIELD_TYPES.get(str(kind), "string") for key, kind in rows}
            if not types:
                raise build_unknown_topic_error(
                    topic, await self.list_topics(), self._database_label
                )
            field_infos = [FieldInfo(key, types[key]) for key in sort_naturally(types)]  # type: ignore[arg-type]
            cached = self._fields_cache[topic] = (self._clock(), field_infos)
        return cached[1]

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last readable sample; None if there is none."""
        statement = build_select(
            quote_measurement(topic, self._settings.retention), [], order="desc", limit=1
        )
        times = await self._query_column(statement, "time")
        return int(times[0]) if times else None

    async def get_watermark(self, topic: str) -> Instant | None:
        """Returns the time of its last readable sample, or `lag` before now if that is later."""
        latest = await self.find_latest_time(topic)
        return max(latest or 0, self._clock() - self._settings.lag)

    def health(self) -> Health:
        """Returns the health: unavailable while the server does not answer."""
        return Health(
            "history", "influxdb", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    # -- internals --------------------------------------------------------------------------

    @property
    def _database_label(self) -> str:
        return (
            f"the database {sanitize_single_line(self._settings.database, 60)} "
            f"of {self._display_name}"
        )

    def _is_stale(self, cached_at: Instant) -> bool:
        return not 0 <= self._clock() - cached_at < CACHE_TTL

    async def _query_series(
        self, statement: str, topic: str, selection: ColumnSelection, where: Predicate | None
    ) -> Series:
        builder = SeriesBuilder(topic, selection, where, self._settings.rows)
        cancelled = threading.Event()

        def fetch_series() -> Series:
            with closing(self._query_with_format_fallback(statement)) as chunks:
                for chunk in chunks:
                    if cancelled.is_set() or self._closed.is_set():
                        raise StoreUnavailable("the question was given up")
                    builder.add_chunk(chunk)
            return builder.build()

        try:
            series = await self._run_in_thread(fetch_series)
        finally:
            cancelled.set()
        self._counts["rows"] += len(series)
        return series

    async def _query_column(self, statement: str, column: str) -> list[Any]:
        return [cell for (cell,) in await self._query_rows(statement, column)]

    async def _query_rows(self, statement: str, *columns: str) -> list[tuple[Any, ...]]:
        """Returns columns of a short response, row by row."""

        def collect_rows() -> list[tuple[Any, ...]]:
            with closing(self._query_with_format_fallback(statement)) as chunks:
                row_lists = [
                    list(zip(*(chunk.get_column(column) for column in columns), strict=True))
                    for chunk in chunks
                ]
            return [row for rows in row_lists for row in rows]

        return await self._run_in_thread(collect_rows)

    def _query_with_format_fallback(self, statement: str) -> Generator[Chunk, None, None]:
        """Yields the response to a statement, in the most compact format that the server knows."""
        has_chunks = False
        try:
            for chunk in self._query_chunks(statement, self._media_type):
                has_chunks = True
                yield chunk
        except QueryRefused as error:
            if (
                has_chunks
                or self._media_type == JSON
                or not error.reason.startswith(UNSUPPORTED_FORMAT_STATUSES)
            ):
                raise
            yield from self._query_chunks(statement, JSON)
            self._media_type = JSON

    def _query_chunks(self, statement: str, media_type: str) -> Generator[Chunk, None, None]:
        settings = self._settings
        parameters = {
            "db": settings.database, "q": statement, "epoch": "ns", "chunked": "true",
            "chunk_size": str(CHUNK_ROWS),
        }  # fmt: skip
        with self._client.stream_request(
            "GET", "/query", parameters, {"Accept": media_type}
        ) as response:
            yield from iter_response_chunks(response, self._display_name)

    async def _run_in_thread(self, func: Callable[[], ResultT]) -> ResultT:
        """Queries the server in a thread and updates the health."""
        self._counts["queries"] += 1
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread_pool, func)
        except StoreUnavailable as error:
            self._counts["failures"] += 1
            self._set_state("away", error.message)
            raise
        except QueryRefused as error:
            raise await self._build_refusal_error(error) from None
        self._last = self._clock()
        self._set_state("ok", "")
        return result

    async def _build_refusal_error(self, error: QueryRefused) -> CatcherError:
        """Returns an error with suggestions if the database does not exist."""
        if "database not found" not in error.reason.lower():
            return error
        database, loop = self._settings.database, asyncio.get_running_loop()
        databases = await loop.run_in_executor(self._thread_pool, self._list_databases)
        suggestions = suggest_names(database, databases)
        hint = f"did you mean {' or '.join(suggestions)}?" if suggestions else "mend `database`"
        return CatcherError(
            f"{self._display_name} has no database {sanitize_single_line(database, 60)!r}", hint
        )

    def _list_databases(self) -> list[str]:
        try:
            with closing(self._query_chunks("SHOW DATABASES", self._media_type)) as chunks:
                return [str(cell) for chunk in chunks for cell in chunk.get_column("name")]
        except (CatcherError, ValueError):
            return []

    def _set_state(self, state: HealthState, problem: str) -> None:
        if self._state != "ended":
            self._since = self._clock() if state != self._state else self._since
            self._state, self._problem = state, problem
