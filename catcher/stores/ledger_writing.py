"""What the ledger writes: one commit, a claim, a settled notice. Each runs in a transaction.

Statements are made once per ledger and reused, since building one costs more than running it.
"Insert what is not there" and "insert or replace" are the same clause in SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Executable, Table, and_, bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from catcher.model.alert import Notice
from catcher.model.commit import Commit
from catcher.model.event import Arrived
from catcher.model.portion import WHOLE, Portion
from catcher.model.run import Firing, Run
from catcher.model.time import Instant
from catcher.stores import ledger_desk, ledger_inbox, ledger_retrying, ledger_states, schema
from catcher.stores.documents import clean, document
from catcher.stores.ledger_results import artifact_rows, field_rows, metric_rows
from catcher.stores.ledger_rows import (
    Cells,
    alert_row,
    audit_row,
    firing_row,
    notice_row,
    observation_row,
    progress_row,
    run_row,
)

REMEMBERED_STARTS = 100
PRUNE_EVERY = 200
"""After so many commits that cover the inbox, its oldest rows are forgotten."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who writes and when; `fence` is the engine's turn at this ledger."""

    now: Instant
    engine: str
    fence: int


class LedgerWriter:
    """The statements of one database, and the transactions made of them."""

    def __init__(self, dialect: str, portion: Portion = WHOLE) -> None:
        self._portion = portion
        inserts: dict[str, Callable[[Table], Any]] = {
            "sqlite": sqlite.insert,
            "postgresql": postgresql.insert,
        }
        self._insert = inserts[dialect]
        self._absent: dict[str, Executable] = {}
        self._covers = 0
        self._upserts: dict[str, Executable] = {}
        runs, notices = schema.runs, schema.notices
        alive = runs.c.state.in_(("pending", "running"))
        mine = runs.c.fence <= bindparam("turn")
        self._progress = update(runs).where(runs.c.id == bindparam("known"), alive, mine)
        # A claim whose answer was lost on the way is the same claim when it is made again.
        again = and_(
            runs.c.fence == bindparam("turn"),
            runs.c.engine == bindparam("claimant"),
            runs.c.started == bindparam("begun"),
        )
        left = or_(runs.c.state == "pending", runs.c.fence < bindparam("turn"), again)
        self._claim = update(runs).where(runs.c.id == bindparam("known"), alive, mine, left)
        self._settle = (
            update(notices)
            .where(notices.c.id == bindparam("known"), notices.c.state == "pending")
            .values(attempts=notices.c.attempts + 1)
        )
        self._unfire = schema.firings.delete().where(schema.firings.c.id == bindparam("known"))

    def commit(self, connection: Connection, commit: Commit, stamp: Stamp) -> Commit:
        """Writes all of a commit; returns it less what was there before."""
        before = ledger_retrying.earlier(connection, commit, stamp.engine)
        if before is not None:
            return before
        written = self._write(connection, commit, stamp)
        ledger_retrying.remember(connection, commit, written, stamp.engine, stamp.now, self._upsert)
        return written

    def _write(self, connection: Connection, commit: Commit, stamp: Stamp) -> Commit:
        inbox = self._write_inbox(connection, commit)
        self._upsert(
            connection, schema.observations, [observation_row(one) for one in commit.observations]
        )
        firings = self._write_firings(connection, commit.firings, stamp)
        runs = self._write_runs(connection, commit, firings, stamp)
        finished = self._write_finished(connection, commit.finished, stamp)
        self._upsert(connection, schema.alerts, [alert_row(one) for one in commit.alerts])
        notices = self._write_notices(connection, commit.notices, stamp)
        if commit.audit:
            connection.execute(schema.audit.insert(), [audit_row(one) for one in commit.audit])
        ledger_desk.write(connection, commit, self._upsert)
        ledger_states.write(connection, commit, stamp.now, self._upsert)
        positions = [
            {
                "source": clean(ledger_inbox.source_key(source, self._portion)),
                "position": clean(position),
                "updated": stamp.now,
            }
            for source, position in commit.positions.items()
        ]
        self._upsert(connection, schema.positions, positions)
        return replace(
            commit, inbox=inbox, firings=firings, runs=runs, finished=finished, notices=notices
        )

    def claim(self, connection: Connection, run: Run, stamp: Stamp) -> bool:
        """Marks a run as running, if it is pending or was left by an engine that is gone."""
        engine = clean(run.engine or stamp.engine)
        changes = {
            "known": run.id,
            "turn": stamp.fence,
            "claimant": engine,
            "begun": run.started,
            "state": "running",
            "engine": engine,
            "attempt": run.attempt,
            "started": stamp.now if run.started is None else run.started,
            "heartbeat": stamp.now,
            "fence": stamp.fence,
        }
        return connection.execute(self._claim, changes).rowcount == 1

    def settle(
        self, connection: Connection, notice: Notice, error: str, dead: bool, stamp: Stamp
    ) -> None:
        """Records a delivery with its receipt, a failed attempt, or the giving up."""
        delivered = not error and not dead
        changes: Cells = {
            "known": notice.id,
            "state": "dead" if dead else "delivered" if delivered else "pending",
            "error": clean(error),
            "settled": None if error and not dead else stamp.now,
        }
        if delivered:
            changes["receipt"] = document(notice.receipt)
        connection.execute(self._settle, changes)
        if delivered and notice.receipt:
            row = {
                "alert": notice.alert.id,
                "sink": clean(notice.sink),
                "receipt": changes["receipt"],
                "updated": stamp.now,
            }
            self._upsert(connection, schema.receipts, [row])

    def enlist(self, connection: Connection, engine: str, started: Instant) -> int:
        """Registers an engine; returns its fence, greater than that of any before it."""
        engines = schema.engines
        fences = connection.execute(select(engines.c.fence)).scalars().all()
        row = {
            "name": clean(engine),
            "id": f"{clean(engine)}-{started}",
            "started": started,
            "heartbeat": started,
            "fence": max(fences, default=0) + 1,
            "address": "",
        }
        self._upsert(connection, engines, [row])
        # Every start has a name of its own: those of long ago, and what nobody can try again, go.
        fence = int(row["fence"])
        connection.execute(engines.delete().where(engines.c.fence < fence - REMEMBERED_STARTS))
        commits, others = schema.commits, select(schema.leases.c.holder)
        gone = commits.c.engine != row["name"], commits.c.engine.not_in(others)
        connection.execute(commits.delete().where(*gone))
        return fence

    def _write_inbox(self, connection: Connection, commit: Commit) -> tuple[Arrived, ...]:
        known = ledger_inbox.write(connection, commit.inbox, self._insert_absent, self._portion)
        if commit.covers:
            ledger_inbox.cover(connection, commit.held, self._portion)
            self._covers += 1
            if self._covers % PRUNE_EVERY == 0:
                ledger_inbox.prune(connection)
        left_out = set(known)
        return tuple(one for place, one in enumerate(commit.inbox) if place not in left_out)

    def _write_firings(
        self, connection: Connection, firings: Sequence[Firing], stamp: Stamp
    ) -> tuple[Firing, ...]:
        fresh = self._insert_absent(
            connection, schema.firings, ("id",), [firing_row(one, stamp.now) for one in firings]
        )
        new = [firing for firing in firings if _take(fresh, (firing.id,))]
        once = [
            _once_row(firing) for firing in new if firing.once is not None and not firing.manual
        ]
        if not once:
            return tuple(new)
        first = self._insert_absent(connection, schema.once_values, ("firing",), once)
        repeated = {row["firing"] for row in once if (row["firing"],) not in first}
        if repeated:
            connection.execute(self._unfire, [{"known": id} for id in sorted(repeated)])
        return tuple(firing for firing in new if firing.id not in repeated)

    def _write_runs(
        self, connection: Connection, commit: Commit, firings: Sequence[Firing], stamp: Stamp
    ) -> tuple[Run, ...]:
        left_out = {one.id for one in commit.firings} - {one.id for one in firings}
        wanted = {run.id: run for run in commit.runs if run.firing.id not in left_out}
        rows = [run_row(run, stamp.now, stamp.fence) for run in wanted.values()]
        new = self._insert_absent(connection, schema.runs, ("id",), rows)
        return tuple(
            run
            for run in wanted.values()
            if (run.id,) in new or self._update_run(connection, run, stamp)
        )

    def _write_finished(
        self, connection: Connection, finished: Sequence[Run], stamp: Stamp
    ) -> tuple[Run, ...]:
        made = self._write_parts(connection, finished, stamp)
        new = tuple(
            run for run in finished if run.id in made or self._finish(connection, run, stamp)
        )
        metrics = [row for run in new for row in metric_rows(run)]
        if metrics:
            connection.execute(schema.metrics.insert(), metrics)
        fields = [row for run in new for row in field_rows(run)]
        if fields:
            connection.execute(schema.fields.insert(), fields)
        artifacts = [row for run in new for row in artifact_rows(run, stamp.now)]
        self._upsert(connection, schema.artifacts, artifacts)
        return new

    def _write_parts(
        self, connection: Connection, finished: Sequence[Run], stamp: Stamp
    ) -> set[str]:
        """Parts, nearly all of which the ledger has never heard of: all in one statement.

        Those that it knows as pending are left to be updated, one by one.
        """
        parts = {run.id: run for run in finished if run.parent}
        if not parts:
            return set()
        firings = {run.firing.id: run.firing for run in parts.values()}
        known = [firing_row(one, stamp.now) for one in firings.values()]
        self._insert_absent(connection, schema.firings, ("id",), known)
        rows = [run_row(run, stamp.now, stamp.fence) for run in parts.values()]
        return {id for (id,) in self._insert_absent(connection, schema.runs, ("id",), rows)}

    def _finish(self, connection: Connection, run: Run, stamp: Stamp) -> bool:
        if self._update_run(connection, run, stamp):
            return True
        # A part, or a run made and finished in one step, has not been written as pending.
        self._insert_absent(
            connection, schema.firings, ("id",), [firing_row(run.firing, stamp.now)]
        )
        row = run_row(run, stamp.now, stamp.fence)
        return bool(self._insert_absent(connection, schema.runs, ("id",), [row]))

    def _update_run(self, connection: Connection, run: Run, stamp: Stamp) -> bool:
        changes = {**progress_row(run), "known": run.id, "turn": stamp.fence}
        return connection.execute(self._progress, changes).rowcount == 1

    def _write_notices(
        self, connection: Connection, notices: Sequence[Notice], stamp: Stamp
    ) -> tuple[Notice, ...]:
        rows = [notice_row(notice, stamp.now) for notice in notices]
        new = self._insert_absent(connection, schema.notices, ("id",), rows)
        return tuple(notice for notice in notices if _take(new, (notice.id,)))

    def _insert_absent(
        self, connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[Cells]
    ) -> set[tuple[Any, ...]]:
        if not rows:
            return set()
        statement = self._absent.get(table.name)
        if statement is None:
            columns = [table.c[name] for name in names]
            statement = self._insert(table).on_conflict_do_nothing().returning(*columns)
            self._absent[table.name] = statement
        parameters = rows if len(rows) > 1 else rows[0]
        return {tuple(row) for row in connection.execute(statement, parameters)}

    def _upsert(self, connection: Connection, table: Table, rows: Sequence[Cells]) -> None:
        if not rows:
            return
        statement = self._upserts.get(table.name)
        if statement is None:
            insert = self._insert(table)
            keys = [column.name for column in table.primary_key]
            others = [column.name for column in table.c if column.name in rows[0]]
            changes = {name: insert.excluded[name] for name in others if name not in keys}
            statement = insert.on_conflict_do_update(index_elements=keys, set_=changes)
            self._upserts[table.name] = statement
        connection.execute(statement, rows)


def _take(new: set[tuple[Any, ...]], key: tuple[Any, ...]) -> bool:
    """Whether a key is new; of two alike in one commit only the first is."""
    if key not in new:
        return False
    new.remove(key)
    return True


def _once_row(firing: Firing) -> Cells:
    return {
        "rule": clean(firing.rule),
        "value": clean(firing.once or ""),
        "firing": firing.id,
        "time": firing.time,
    }
