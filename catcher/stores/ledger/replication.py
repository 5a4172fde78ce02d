"""Copies the rows of a ledger into another, for a second facility.

What is copied is final and never changes (a firing, a run with its metrics, fields and index of
artifacts), so copying means adding what is missing. It needs no lease, and disturbs no engine that
works on either ledger.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from sqlalchemy import Connection, Select, Table, and_, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, Instant, Span, nanoseconds_to_seconds
from catcher.stores.ledger import connect as opening
from catcher.stores.ledger import schema, sqlite_files
from catcher.stores.ledger.connection_thread import ConnectionThread

ResultT = TypeVar("ResultT")
RecordKind = Literal["runs", "firings", "artifacts"]
TableRows = dict[str, list[dict[str, Any]]]
"""Rows by table."""

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        schema.observations, schema.firings, schema.runs, schema.metrics, schema.fields,
        schema.artifacts,
    )
}  # fmt: skip
"""In the order in which they refer to each other."""
UNFINISHED_STATES = ("pending", "running")


@dataclass(frozen=True, slots=True)
class PageCursor:
    """A position in the order in which rows are compared: by time, then by id or key."""

    time: Instant = -(2**62)
    id: str = ""


class LedgerCopy:
    """One of the two ledgers; an async context manager.

    With `writable` it can be written, and is created if missing. Raises StoreUnavailable if the
    database does not answer.
    """

    def __init__(self, url: str, writable: bool = False, lock_timeout: Span = 5 * SECOND) -> None:
        self._url = opening.parse_ledger_url(url)
        self._writable, self._lock_timeout = writable, lock_timeout
        file = opening.get_sqlite_path(self._url)
        display_url = self._url.set(drivername=self._url.get_backend_name(), query={})
        self.name = f"the ledger {file or display_url.render_as_string(hide_password=True)}"
        self._exit_stack = AsyncExitStack()
        self._thread: ConnectionThread

    async def __aenter__(self) -> Self:
        file = opening.get_sqlite_path(self._url)
        if file is None and self._url.get_backend_name() == "sqlite":
            raise CatcherError("a ledger in memory cannot be copied", "name a file or a server")
        async with AsyncExitStack() as stack:
            with ExitStack() as lock_stack:
                if file is not None and not file.is_file():
                    if not self._writable:
                        raise CatcherError(
                            f"there is no ledger {file} yet", "`catcher run` makes one"
                        )
                    lock_stack.enter_context(opening.acquire_file_lock(file))
                elif file is not None:
                    sqlite_files.check_sqlite_files(file)
                    async with self._create_thread(read_only=True) as self._thread:
                        await self._run_transaction(
                            lambda connection: opening.check_schema_version(connection, self.name)
                        )
                self._thread = await stack.enter_async_context(
                    self._create_thread(not self._writable)
                )
                await self._run_transaction(self._prepare_schema)
            self._exit_stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exit_stack.aclose()

    def _create_thread(self, read_only: bool) -> ConnectionThread:
        engine = opening.create_database_engine(
            self._url, full_sync=False, lock_timeout=self._lock_timeout, read_only=read_only
        )
        return ConnectionThread(engine, "ledger-copy")

    def _prepare_schema(self, connection: Connection) -> None:
        version = opening.check_schema_version(connection, self.name)
        if self._writable and not version:
            opening.upgrade_schema(connection, version)
        else:
            opening.require_current_version(version, self.name)

    async def read_cursor_page(
        self, kind: RecordKind, after: PageCursor, since: Instant | None, limit: int
    ) -> list[PageCursor]:
        """Returns the cursors after a position, in order; only those written since `since`, if
        given.
        """
        return await self._run_transaction(
            lambda connection: _query_cursor_page(connection, kind, after, since, limit)
        )

    async def count_records(self, kind: RecordKind) -> int:
        """Returns the number of records of a kind."""
        statement = select(func.count()).select_from(TABLES[kind])
        return await self._run_transaction(
            lambda connection: int(connection.execute(statement).scalar_one())
        )

    async def find_missing_ids(self, kind: RecordKind, ids: Sequence[str]) -> list[str]:
        """Returns those of some ids (of artifacts: keys) that are missing here."""
        column = _get_key_column(TABLES[kind])
        existing = await self._run_transaction(
            lambda connection: set(
                connection.execute(select(column).where(column.in_(ids))).scalars()
            )
        )
        return [item for item in ids if item not in existing]

    async def read_rows(self, kind: RecordKind, ids: Sequence[str]) -> TableRows:
        """Returns firings; or runs with their firings, observations and outputs; or artifacts."""
        return await self._run_transaction(lambda connection: _query_rows(connection, kind, ids))

    async def insert_missing_rows(self, rows: TableRows) -> None:
        """Adds the missing rows, in one transaction."""
        await self._run_transaction(lambda connection: _insert_missing_rows(connection, rows))

    async def _run_transaction(self, operation: Callable[[Connection], ResultT]) -> ResultT:
        is_server = self._url.get_backend_name() == "postgresql"
        timeout = nanoseconds_to_seconds(12 * self._lock_timeout) if is_server else None
        try:
            return await self._thread.run_transaction(operation, timeout)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise opening.translate_error(error, self.name, self._url) from None


def _get_key_column(table: Table) -> Any:
    return table.c.key if table is schema.artifacts else table.c.id


def _query_cursor_page(
    connection: Connection, kind: RecordKind, after: PageCursor, since: Instant | None, limit: int
) -> list[PageCursor]:
    table = TABLES[kind]
    key_column, time = _get_key_column(table), table.c.time
    is_after = or_(time > after.time, and_(time == after.time, key_column > after.id))
    statement = select(time, key_column).where(is_after).order_by(time, key_column).limit(limit)
    if kind == "runs":
        statement = statement.where(table.c.state.not_in(UNFINISHED_STATES))
    if since is not None:
        written_at = table.c.finished if kind == "runs" else table.c.created
        statement = statement.where(written_at >= since)
    return [PageCursor(*row) for row in connection.execute(statement)]


def _query_rows(connection: Connection, kind: RecordKind, ids: Sequence[str]) -> TableRows:
    def select_rows(table: Table, condition: Any) -> list[dict[str, Any]]:
        statement: Select[Any] = select(table).where(condition)
        return [row._asdict() for row in connection.execute(statement)]

    table = TABLES[kind]
    rows: TableRows = {kind: select_rows(table, _get_key_column(table).in_(ids))}
    if kind != "runs":
        return rows
    firing_ids = {row["firing"] for row in rows["runs"]}
    observation_ids = {row["observation"] for row in rows["runs"]} - {""}
    rows["firings"] = select_rows(schema.firings, schema.firings.c.id.in_(firing_ids))
    rows["observations"] = select_rows(
        schema.observations, schema.observations.c.id.in_(observation_ids)
    )
    for output_table in (schema.metrics, schema.fields, schema.artifacts):
        rows[output_table.name] = select_rows(output_table, output_table.c.run.in_(ids))
    return rows


def _insert_missing_rows(connection: Connection, rows: TableRows) -> None:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    for name, table in TABLES.items():
        if rows.get(name):
            connection.execute(insert(table).on_conflict_do_nothing(), rows[name])
