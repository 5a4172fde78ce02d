"""Tables of other services as telemetry: each row is a sample at its time, `NAME.TABLE` its topic.

    stores:
      records:
        consdb: {consdb: {url: "https://rsp.example/consdb", token: "${RSP_TOKEN}"}}
        exposures: {exposurelog: {url: "https://rsp.example/exposurelog"}}
        night: {narrativelog: {url: "https://rsp.example/narrativelog"}}
        scheduler: {database: {url: "sqlite:////data/opsim.db", time: observationStartMJD}}

So inputs, the client and `catcher query` ask for `consdb.cdb_lsstcam.visit1_quicklook` as for any
topic. Nothing is ever written there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from catcher.model.event import Event, Series
from catcher.model.health import Health, HealthState
from catcher.model.naming import in_order, unknown_field, unknown_topic
from catcher.model.problem import CatcherError
from catcher.model.telemetry import FieldInfo, numbered
from catcher.model.time import SECOND, Clock, Instant
from catcher.ports import History, Predicate, Row, StoreAway
from catcher.stores.history_looking import counted, ending
from catcher.stores.history_reading import series_of
from catcher.stores.history_table import table_of

Answer = TypeVar("Answer")
MOST_ROWS = 100_000
REMEMBERED = 300 * SECOND
"""How long the names of tables and columns are believed."""
SIDE_BY_SIDE = 2


class Tables(Protocol):
    """Tables that are asked in a thread. `who` names them in errors."""

    @property
    def who(self) -> str: ...
    @property
    def kind(self) -> str: ...
    def names(self) -> list[str]:
        """The tables that have a time."""
        ...

    def fields(self, table: str) -> list[FieldInfo]:
        """The columns of a table that `names` has."""
        ...

    def rows(
        self, table: str, fields: Sequence[str], start: Instant, end: Instant, most: int,
        newest: bool,
    ) -> list[tuple[Instant, Row]]:  # fmt: skip
        """At most so many rows with start <= time <= end, the first or the newest of them.

        A few just outside, where times are rounded there, do no harm.
        """
        ...

    def close(self) -> None: ...


class Records:
    """`ports.Archive` over the tables of one service; an async context manager."""

    def __init__(self, name: str, tables: Tables, clock: Clock) -> None:
        self._name, self._tables, self._clock = name, tables, clock
        self._names: tuple[Instant, list[str]] | None = None
        self._fields: dict[str, tuple[Instant, list[FieldInfo]]] = {}
        self._state: HealthState = "starting"
        self._problem = ""
        self._since = clock()
        self._last: Instant | None = None
        self._counts = {"queries": 0, "rows": 0, "failures": 0}

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix=f"records-{self._name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._tables.close()
        self._turn("ended", "")

    async def append(self, events: Sequence[Event]) -> None:
        """Nothing is written here."""

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """The rows with start <= time <= end in time order; all numeric columns if none named."""
        found = await self._rows(topic, fields, start, end, where)
        return series_of(topic, [table_of(found)] if found else [], fields, start, end, where)

    async def newest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """The last `count` rows (with time <= end) that pass, in time order."""
        last = self._clock() if end is None else end
        # A predicate is asked here, so that more rows are needed than pass.
        many = counted(count) if where is None else min(MOST_ROWS, 50 * counted(count))
        found = await self._rows(topic, fields, 0, last, where, many)
        series = series_of(topic, [table_of(found)] if found else [], fields, 0, last, where)
        return ending(series, count)

    async def events(
        self, topic: str, start: Instant, end: Instant
    ) -> AsyncIterator[Sequence[Event]]:
        """The rows with start <= time <= end, text and all."""
        yield await self._rows(topic, [], start, end, None)

    async def topics(self) -> Sequence[str]:
        """`NAME.TABLE` for each table."""
        return [f"{self._name}.{table}" for table in await self._known()]

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """The columns of a table, with what the service says of them."""
        table = await self._table(topic)
        known = self._fields.get(table)
        if known is None or self._stale(known[0]):
            found = {one.name: one for one in await self._ask(lambda: self._tables.fields(table))}
            told = [found[name] for name in in_order(found)]
            known = self._fields[table] = (self._clock(), told)
        return known[1]

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last row; None where there is none."""
        found = await self._rows(topic, [], 0, self._clock(), None, 1)
        return found[-1].time if found else None

    async def watermark(self, topic: str) -> Instant | None:
        """Now: who fills in a log is not waited for."""
        return self._clock()

    def health(self) -> Health:
        """`away` while the service does not answer."""
        return Health(
            self._name, self._tables.kind, self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    async def _rows(
        self, topic: str, fields: Sequence[str], start: Instant, end: Instant,
        where: Predicate | None, newest: int = 0,
    ) -> list[Event]:  # fmt: skip
        table = await self._table(topic)
        wanted = await self._columns(topic, fields, where)
        most = newest or MOST_ROWS + 1
        found = await self._ask(
            lambda: self._tables.rows(table, wanted, start, end, most, newest > 0)
        )
        if len(found) > MOST_ROWS:
            raise CatcherError(
                f"{topic} has more than {MOST_ROWS:,} rows in this span", "ask for a shorter one"
            )
        self._counts["rows"] += len(found)
        within = sorted((one for one in found if start <= one[0] <= end), key=lambda one: one[0])
        return [Event(topic, time, row) for time, row in within]

    async def _columns(
        self, topic: str, fields: Sequence[str], where: Predicate | None
    ) -> list[str]:
        """Which columns are needed: all, where a predicate may look at any."""
        known = [one.name for one in await self.fields(topic)]
        for field in fields:
            if field not in known and not numbered(field, known):
                raise unknown_field(field, topic, known)
        if not fields or where is not None:
            return known
        return [
            name
            for field in fields
            for name in ([field] if field in known else numbered(field, known))
        ]

    async def _table(self, topic: str) -> str:
        table, known = topic.removeprefix(f"{self._name}."), await self._known()
        if table not in known:
            raise unknown_topic(topic, [f"{self._name}.{one}" for one in known], self._tables.who)
        return table

    async def _known(self) -> list[str]:
        if self._names is None or self._stale(self._names[0]):
            self._names = (self._clock(), sorted(await self._ask(self._tables.names)))
        return self._names[1]

    def _stale(self, told: Instant) -> bool:
        return not 0 <= self._clock() - told < REMEMBERED

    async def _ask(self, work: Callable[[], Answer]) -> Answer:
        self._counts["queries"] += 1
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except StoreAway as error:
            self._counts["failures"] += 1
            self._turn("away", error.message)
            raise
        self._last = self._clock()
        self._turn("ok", "")
        return found

    def _turn(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


def moderate(value: Any) -> Any:
    """A cell as an event may hold it: JSON's values; what is none of them as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [moderate(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): moderate(one) for key, one in value.items()}
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


class RoutedHistory:
    """`ports.History` of telemetry and records: the name before the first dot says whose it is."""

    def __init__(self, telemetry: History, records: Mapping[str, Records]) -> None:
        self._telemetry, self._records = telemetry, records

    def _of(self, topic: str) -> History:
        return self._records.get(topic.partition(".")[0], self._telemetry)

    async def append(self, events: Sequence[Event]) -> None:
        """Keeps telemetry."""
        await self._telemetry.append(events)

    async def read(
        self,
        topic: str,
        fields: Sequence[str],
        start: Instant,
        end: Instant,
        where: Predicate | None = None,
    ) -> Series:
        """The samples or rows of a span."""
        return await self._of(topic).read(topic, fields, start, end, where)

    async def newest(
        self,
        topic: str,
        fields: Sequence[str],
        count: int,
        end: Instant | None = None,
        where: Predicate | None = None,
    ) -> Series:
        """The last samples or rows."""
        return await self._of(topic).newest(topic, fields, count, end, where)

    async def topics(self) -> Sequence[str]:
        """Of all, sorted; a service that is away is left out, which its health tells."""
        found = set(await self._telemetry.topics())
        for records in self._records.values():
            try:
                found.update(await records.topics())
            except StoreAway:
                continue
        return sorted(found)

    async def fields(self, topic: str) -> Sequence[FieldInfo]:
        """What can be asked of a topic."""
        return await self._of(topic).fields(topic)

    async def latest(self, topic: str) -> Instant | None:
        """The time of the last sample or row."""
        return await self._of(topic).latest(topic)

    async def watermark(self, topic: str) -> Instant | None:
        """Up to when the samples can be taken to be here."""
        return await self._of(topic).watermark(topic)

    def health(self) -> Health:
        """That of the telemetry; each of the records has its own."""
        return self._telemetry.health()
