"""A ledger whose rows are copied into another, for a second facility.

What is copied is over and never changes (a firing, a run with its metrics, fields and index of
artifacts), so that copying is adding what is not there yet. It needs no lease, and disturbs no
engine that works on either ledger.
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

from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Instant, Span, to_seconds
from catcher.stores import ledger_files, schema
from catcher.stores import ledger_opening as opening
from catcher.stores.ledger_lanes import Lane

Answer = TypeVar("Answer")
Kind = Literal["runs", "firings", "artifacts"]
Rows = dict[str, list[dict[str, Any]]]
"""Rows by table."""

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        schema.observations, schema.firings, schema.runs, schema.metrics, schema.fields,
        schema.artifacts,
    )
}  # fmt: skip
"""In the order in which they refer to each other."""
NOT_OVER = ("pending", "running")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the order in which rows are compared: by time, then by id or key."""

    time: Instant = -(2**62)
    id: str = ""


class LedgerCopy:
    """One of the two ledgers; an async context manager. With `into` it is written, made if need be.

    StoreAway where the database does not answer.
    """

    def __init__(self, url: str, into: bool = False, patience: Span = 5 * SECOND) -> None:
        self._url = opening.address(url)
        self._into, self._patience = into, patience
        file = opening.file_of(self._url)
        shown = self._url.set(drivername=self._url.get_backend_name(), query={})
        self.name = f"the ledger {file or shown.render_as_string(hide_password=True)}"
        self._lifetime = AsyncExitStack()
        self._lane: Lane

    async def __aenter__(self) -> Self:
        file = opening.file_of(self._url)
        if file is None and self._url.get_backend_name() == "sqlite":
            raise CatcherError("a ledger in memory cannot be copied", "name a file or a server")
        async with AsyncExitStack() as opened:
            with ExitStack() as alone:
                if file is not None and not file.is_file():
                    if not self._into:
                        raise CatcherError(
                            f"there is no ledger {file} yet", "`catcher run` makes one"
                        )
                    alone.enter_context(opening.lock(file))
                elif file is not None:
                    ledger_files.look(file)
                    async with self._opened(reader=True) as self._lane:
                        await self._ask(lambda found: opening.judge(found, self.name))
                self._lane = await opened.enter_async_context(self._opened(not self._into))
                await self._ask(self._prepare)
            self._lifetime = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._lifetime.aclose()

    def _opened(self, reader: bool) -> Lane:
        engine = opening.connect(self._url, full=False, patience=self._patience, reader=reader)
        return Lane(engine, "ledger-copy")

    def _prepare(self, connection: Connection) -> None:
        version = opening.judge(connection, self.name)
        if self._into and not version:
            opening.upgrade(connection, version)
        else:
            opening.require_present(version, self.name)

    async def page(self, kind: Kind, after: Mark, since: Instant | None, limit: int) -> list[Mark]:
        """What there is beyond a place, in order: since an instant, or ever."""
        return await self._ask(lambda connection: _page(connection, kind, after, since, limit))

    async def count(self, kind: Kind) -> int:
        """How many there are."""
        counted = select(func.count()).select_from(TABLES[kind])
        return await self._ask(lambda connection: int(connection.execute(counted).scalar_one()))

    async def missing(self, kind: Kind, ids: Sequence[str]) -> list[str]:
        """Those of some ids (of artifacts: keys) that are not here."""
        column = _identity(TABLES[kind])
        found = await self._ask(
            lambda connection: set(
                connection.execute(select(column).where(column.in_(ids))).scalars()
            )
        )
        return [one for one in ids if one not in found]

    async def rows(self, kind: Kind, ids: Sequence[str]) -> Rows:
        """Firings; or runs with all that belongs to them, their firings too; or artifacts."""
        return await self._ask(lambda connection: _rows(connection, kind, ids))

    async def add(self, rows: Rows) -> None:
        """Adds what is not there yet, in one transaction."""
        await self._ask(lambda connection: _add(connection, rows))

    async def _ask(self, work: Callable[[Connection], Answer]) -> Answer:
        on_server = self._url.get_backend_name() == "postgresql"
        limit = to_seconds(12 * self._patience) if on_server else None
        try:
            return await self._lane.transact(work, limit)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise opening.explained(error, self.name, self._url) from None


def _identity(table: Table) -> Any:
    return table.c.key if table is schema.artifacts else table.c.id


def _page(
    connection: Connection, kind: Kind, after: Mark, since: Instant | None, limit: int
) -> list[Mark]:
    table = TABLES[kind]
    identity, time = _identity(table), table.c.time
    beyond = or_(time > after.time, and_(time == after.time, identity > after.id))
    wanted = select(time, identity).where(beyond).order_by(time, identity).limit(limit)
    if kind == "runs":
        wanted = wanted.where(table.c.state.not_in(NOT_OVER))
    if since is not None:
        written = table.c.finished if kind == "runs" else table.c.created
        wanted = wanted.where(written >= since)
    return [Mark(*row) for row in connection.execute(wanted)]


def _rows(connection: Connection, kind: Kind, ids: Sequence[str]) -> Rows:
    def found(table: Table, condition: Any) -> list[dict[str, Any]]:
        wanted: Select[Any] = select(table).where(condition)
        return [row._asdict() for row in connection.execute(wanted)]

    table = TABLES[kind]
    rows: Rows = {kind: found(table, _identity(table).in_(ids))}
    if kind != "runs":
        return rows
    firings = {row["firing"] for row in rows["runs"]}
    about = {row["observation"] for row in rows["runs"]} - {""}
    rows["firings"] = found(schema.firings, schema.firings.c.id.in_(firings))
    rows["observations"] = found(schema.observations, schema.observations.c.id.in_(about))
    for part in (schema.metrics, schema.fields, schema.artifacts):
        rows[part.name] = found(part, part.c.run.in_(ids))
    return rows


def _add(connection: Connection, rows: Rows) -> None:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    for name, table in TABLES.items():
        if rows.get(name):
            connection.execute(insert(table).on_conflict_do_nothing(), rows[name])
