"""Tables of other services as telemetry: each row is a sample at its time, `NAME.TABLE` its topic.

    stores:
      records:
        consdb: {consdb: {url: "https://rsp.example/consdb", token: "${RSP_TOKEN}"}}
        exposures: {exposurelog: {url: "https://rsp.example/exposurelog"}}
        night: {narrativelog: {url: "https://rsp.example/narrativelog"}}
        scheduler: {database: {url: "sqlite:////data/opsim.db", time: observationStartMJD}}

So inputs, the client and `catcher query` read `consdb.cdb_lsstcam.visit1_quicklook` like any topic.
Nothing is ever written there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from catcher.model.errors import CatcherError
from catcher.model.event import Event, Series
from catcher.model.health import Health, HealthState
from catcher.model.suggestions import (
    build_unknown_field_error,
    build_unknown_topic_error,
    sort_naturally,
)
from catcher.model.telemetry import FieldInfo, list_numbered_columns
from catcher.model.time import SECOND, Clock, Instant
from catcher.ports import History, Predicate, Row, StoreUnavailable
from catcher.stores.history.columns import events_to_table
from catcher.stores.history.merge_read import merge_batches_to_series
from catcher.stores.history.queries import select_last_samples, validate_sample_count

ResultT = TypeVar("ResultT")
MAX_ROWS = 100_000
CACHE_TTL = 300 * SECOND
"""How long the names of tables and columns are cached."""
MAX_THREADS = 2


class ExternalTableClient(Protocol):
    """Tables that are queried in a thread. `display_name` names them in errors."""

    @property
    def display_name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    def list_tables(self) -> list[str]:
        """Returns the tables that have a time."""
        ...

    def list_columns(self, table: str) -> list[FieldInfo]:
        """Returns the columns of a table from `list_tables`."""
        ...

    def read_rows(
        self, table: str, fields: Sequence[str], start: Instant, end: Instant, max_rows: int,
        newest_first: bool,
    ) -> list[tuple[Instant, Row]]:  # fmt: skip
        """Returns at most `max_rows` rows with start <= time <= end, the oldest or the newest.

        A few rows just outside, because of rounded times, are allowed.
        """
        ...

    def close(self) -> None: ...


class ExternalTableHistory:
    """`ports.Archive` over the tables of one service; an async context manager."""

    def __init__(self, name: str, client: ExternalTableClient, clock: Clock) -> None:
        self._name, self._client, self._clock = name, client, clock
        self._tables_cache: tuple[Instant, list[str]] | None = None
        self._columns_cache: dict[str, tuple[Instant, list[FieldInfo]]] = {}
        self._state: HealthState = "starting"
        self._problem = ""
        self._since = clock()
        self._last: Instant | None = None
        self._counts = {"queries": 0, "rows": 0, "failures": 0}

    async def __aenter__(self) -> Self:
        self._thread_pool = ThreadPoolExecutor(
            MAX_THREADS, thread_name_prefix=f"records-{self._name}"
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread_pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()
        self._set_state("ended", "")

    async def append(self, events: Sequence[Event]) -> None:
        """Does nothing: the tables are read-only."""

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """Returns rows with start <= time <= end in time order; all numeric columns if none is
        named.
        """
        events = await self._read_row_events(topic, fields, start, end, where)
        return merge_batches_to_series(
            topic, [events_to_table(events)] if events else [], fields, start, end, where
        )

    async def read_latest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """Returns the last `count` matching rows (with time <= end), in time order."""
        last_time = self._clock() if end is None else end
        # A predicate is applied here, so more rows are needed than match.
        row_limit = (
            validate_sample_count(count)
            if where is None
            else min(MAX_ROWS, 50 * validate_sample_count(count))
        )
        events = await self._read_row_events(topic, fields, 0, last_time, where, row_limit)
        series = merge_batches_to_series(
            topic, [events_to_table(events)] if events else [], fields, 0, last_time, where
        )
        return select_last_samples(series, count)

    async def read_events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]:
        """Yields the rows with start <= time <= end, including text."""
        yield await self._read_row_events(topic, [], start, end, None)

    async def list_topics(self) -> Sequence[str]:
        """Returns `NAME.TABLE` for each table."""
        return [f"{self._name}.{table}" for table in await self._list_tables()]

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the columns of a table, with the service's descriptions."""
        table = await self._resolve_table_name(topic)
        cached = self._columns_cache.get(table)
        if cached is None or self._is_stale(cached[0]):
            columns_by_name = {
                column.name: column
                for column in await self._run_in_thread(lambda: self._client.list_columns(table))
            }
            columns = [columns_by_name[name] for name in sort_naturally(columns_by_name)]
            cached = self._columns_cache[table] = (self._clock(), columns)
        return cached[1]

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last row; None if there is none."""
        events = await self._read_row_events(topic, [], 0, self._clock(), None, 1)
        return events[-1].time if events else None

    async def get_watermark(self, topic: str) -> Instant | None:
        """Returns the current time: late entries of a log are not waited for."""
        return self._clock()

    def health(self) -> Health:
        """Returns the health: unavailable while the service does not answer."""
        return Health(
            self._name, self._client.kind, self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    async def _read_row_events(
        self, topic: str, fields: Sequence[str], start: Instant, end: Instant,
        where: Predicate | None, newest_count: int = 0,
    ) -> list[Event]:  # fmt: skip
        table = await self._resolve_table_name(topic)
        columns = await self._select_columns(topic, fields, where)
        max_rows = newest_count or MAX_ROWS + 1
        samples = await self._run_in_thread(
            lambda: self._client.read_rows(table, columns, start, end, max_rows, newest_count > 0)
        )
        if len(samples) > MAX_ROWS:
            raise CatcherError(
                f"{topic} has more than {MAX_ROWS:,} rows in this span", "ask for a shorter one"
            )
        self._counts["rows"] += len(samples)
        in_span = sorted(
            (sample for sample in samples if start <= sample[0] <= end),
            key=lambda sample: sample[0],
        )
        return [Event(topic, time, row) for time, row in in_span]

    async def _select_columns(
        self, topic: str, fields: Sequence[str], where: Predicate | None
    ) -> list[str]:
        """Returns the required columns: all if there is a predicate, which may read any."""
        available = [info.name for info in await self.list_fields(topic)]
        for field in fields:
            if field not in available and not list_numbered_columns(field, available):
                raise build_unknown_field_error(field, topic, available)
        if not fields or where is not None:
            return available
        return [
            name
            for field in fields
            for name in ([field] if field in available else list_numbered_columns(field, available))
        ]

    async def _resolve_table_name(self, topic: str) -> str:
        table, tables = topic.removeprefix(f"{self._name}."), await self._list_tables()
        if table not in tables:
            raise build_unknown_topic_error(
                topic, [f"{self._name}.{name}" for name in tables], self._client.display_name
            )
        return table

    async def _list_tables(self) -> list[str]:
        if self._tables_cache is None or self._is_stale(self._tables_cache[0]):
            self._tables_cache = (
                self._clock(),
                sorted(await self._run_in_thread(self._client.list_tables)),
            )
        return self._tables_cache[1]

    def _is_stale(self, cached_at: Instant) -> bool:
        return not 0 <= self._clock() - cached_at < CACHE_TTL

    async def _run_in_thread(self, query: Callable[[], ResultT]) -> ResultT:
        self._counts["queries"] += 1
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._thread_pool, query)
        except StoreUnavailable as error:
            self._counts["failures"] += 1
            self._set_state("away", error.message)
            raise
        self._last = self._clock()
        self._set_state("ok", "")
        return result

    def _set_state(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


def to_json_value(value: Any) -> Any:
    """Converts a cell to a JSON value that an event may hold; anything else becomes text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json_value(item) for key, item in value.items()}
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


class NamespacedHistory:
    """`ports.History` of telemetry and external tables, by the name before a topic's first dot."""

    def __init__(
        self, telemetry: History, external_tables: Mapping[str, ExternalTableHistory]
    ) -> None:
        self._telemetry, self._external_tables = telemetry, external_tables

    def _select_history(self, topic: str) -> History:
        return self._external_tables.get(topic.partition(".")[0], self._telemetry)

    async def append(self, events: Sequence[Event]) -> None:
        """Stores telemetry."""
        await self._telemetry.append(events)

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """Returns the samples or rows of a time range."""
        return await self._select_history(topic).read(topic, fields, start, end, where)

    async def read_latest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """Returns the last samples or rows."""
        return await self._select_history(topic).read_latest(topic, fields, count, end, where)

    async def list_topics(self) -> Sequence[str]:
        """Returns all topics, sorted; an unavailable service is left out, as its health shows."""
        topics = set(await self._telemetry.list_topics())
        for tables in self._external_tables.values():
            try:
                topics.update(await tables.list_topics())
            except StoreUnavailable:
                continue
        return sorted(topics)

    async def list_fields(self, topic: str) -> Sequence[FieldInfo]:
        """Returns the fields of a topic."""
        return await self._select_history(topic).list_fields(topic)

    async def find_latest_time(self, topic: str) -> Instant | None:
        """Returns the time of the last sample or row."""
        return await self._select_history(topic).find_latest_time(topic)

    async def get_watermark(self, topic: str) -> Instant | None:
        """Returns the time up to which the samples can be assumed to be complete."""
        return await self._select_history(topic).get_watermark(topic)

    def health(self) -> Health:
        """Returns the health of the telemetry; each external table has its own."""
        return self._telemetry.health()
