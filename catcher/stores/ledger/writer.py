"""The ledger's writes: a commit, a claim, a delivery outcome. Each runs in a transaction.

Statements are built once per ledger and reused, because building one costs more than running it.
"Insert what is missing" and "insert or replace" are the same clause in SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Executable, Table, and_, bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from catcher.model.alert import Notification
from catcher.model.commit import Commit
from catcher.model.event import ReceivedEvent
from catcher.model.rule_subset import ALL_RULES, RuleSubset
from catcher.model.run import Firing, Run
from catcher.model.time import Instant
from catcher.stores.ledger import (
    alert_operations,
    checkpoints,
    idempotency,
    schema,
)
from catcher.stores.ledger import (
    inbox as ledger_inbox,
)
from catcher.stores.ledger.mappers import (
    RowValues,
    alert_to_row,
    artifacts_to_rows,
    audit_entry_to_row,
    encode_json,
    fields_to_rows,
    firing_to_row,
    metrics_to_rows,
    notification_to_row,
    observation_to_row,
    run_progress_to_row,
    run_to_row,
    sanitize_text,
)

MAX_ENGINE_ROWS = 100
PRUNE_INTERVAL = 200
"""After this many commits that cover the inbox, its oldest rows are deleted."""


@dataclass(frozen=True, slots=True)
class WriteStamp:
    """Who writes and when; `fencing_token` is that of the writing engine."""

    now: Instant
    engine: str
    fencing_token: int


class LedgerWriter:
    """The statements for one database, and the transactions made of them."""

    def __init__(self, dialect: str, rule_subset: RuleSubset = ALL_RULES) -> None:
        self._rule_subset = rule_subset
        inserts: dict[str, Callable[[Table], Any]] = {
            "sqlite": sqlite.insert,
            "postgresql": postgresql.insert,
        }
        self._insert = inserts[dialect]
        self._insert_statements: dict[str, Executable] = {}
        self._cover_count = 0
        self._upsert_statements: dict[str, Executable] = {}
        runs, notices = schema.runs, schema.notices
        unfinished = runs.c.state.in_(("pending", "running"))
        owned = runs.c.fence <= bindparam("turn")
        self._progress_statement = update(runs).where(
            runs.c.id == bindparam("known"), unfinished, owned
        )
        # A claim is repeated if its answer was lost; it is then the same claim.
        same_claim = and_(
            runs.c.fence == bindparam("turn"),
            runs.c.engine == bindparam("claimant"),
            runs.c.started == bindparam("begun"),
        )
        claimable = or_(runs.c.state == "pending", runs.c.fence < bindparam("turn"), same_claim)
        self._claim_statement = update(runs).where(
            runs.c.id == bindparam("known"), unfinished, owned, claimable
        )
        self._outcome_statement = (
            update(notices)
            .where(notices.c.id == bindparam("known"), notices.c.state == "pending")
            .values(attempts=notices.c.attempts + 1)
        )
        self._delete_firing = schema.firings.delete().where(
            schema.firings.c.id == bindparam("known")
        )

    def commit(self, connection: Connection, commit: Commit, stamp: WriteStamp) -> Commit:
        """Writes a commit; returns it without what was there before."""
        previous = idempotency.find_previous_result(connection, commit, stamp.engine)
        if previous is not None:
            return previous
        committed = self._write_commit(connection, commit, stamp)
        idempotency.record_commit_token(
            connection, commit, committed, stamp.engine, stamp.now, self._upsert
        )
        return committed

    def _write_commit(self, connection: Connection, commit: Commit, stamp: WriteStamp) -> Commit:
        inbox = self._write_inbox(connection, commit)
        self._upsert(
            connection,
            schema.observations,
            [observation_to_row(observation) for observation in commit.observations],
        )
        firings = self._write_firings(connection, commit.firings, stamp)
        runs = self._write_runs(connection, commit, firings, stamp)
        finished = self._write_finished_runs(connection, commit.finished, stamp)
        self._upsert(connection, schema.alerts, [alert_to_row(alert) for alert in commit.alerts])
        notifications = self._write_notifications(connection, commit.notices, stamp)
        if commit.audit:
            connection.execute(
                schema.audit.insert(), [audit_entry_to_row(entry) for entry in commit.audit]
            )
        alert_operations.write_alert_operations(connection, commit, self._upsert)
        checkpoints.write_trigger_states(connection, commit, stamp.now, self._upsert)
        positions = [
            {
                "source": sanitize_text(ledger_inbox.build_position_key(source, self._rule_subset)),
                "position": sanitize_text(position),
                "updated": stamp.now,
            }
            for source, position in commit.positions.items()
        ]
        self._upsert(connection, schema.positions, positions)
        return replace(
            commit,
            inbox=inbox,
            firings=firings,
            runs=runs,
            finished=finished,
            notices=notifications,
        )

    def claim_run(self, connection: Connection, run: Run, stamp: WriteStamp) -> bool:
        """Marks a run as running if it is pending or was left by an engine that is gone."""
        engine = sanitize_text(run.engine or stamp.engine)
        changes = {
            "known": run.id,
            "turn": stamp.fencing_token,
            "claimant": engine,
            "begun": run.started,
            "state": "running",
            "engine": engine,
            "attempt": run.attempt,
            "started": stamp.now if run.started is None else run.started,
            "heartbeat": stamp.now,
            "fence": stamp.fencing_token,
        }
        return connection.execute(self._claim_statement, changes).rowcount == 1

    def record_delivery_outcome(
        self,
        connection: Connection,
        notification: Notification,
        error: str,
        dead: bool,
        stamp: WriteStamp,
    ) -> None:
        """Records a delivery with its receipt, a failed attempt, or a dead letter."""
        delivered = not error and not dead
        changes: RowValues = {
            "known": notification.id,
            "state": "dead" if dead else "delivered" if delivered else "pending",
            "error": sanitize_text(error),
            "settled": None if error and not dead else stamp.now,
        }
        if delivered:
            changes["receipt"] = encode_json(notification.receipt)
        connection.execute(self._outcome_statement, changes)
        if delivered and notification.receipt:
            row = {
                "alert": notification.alert.id,
                "sink": sanitize_text(notification.sink),
                "receipt": changes["receipt"],
                "updated": stamp.now,
            }
            self._upsert(connection, schema.receipts, [row])

    def register_engine(self, connection: Connection, engine: str, started: Instant) -> int:
        """Registers an engine; returns its fencing token, greater than any before it."""
        engines = schema.engines
        fencing_tokens = connection.execute(select(engines.c.fence)).scalars().all()
        row = {
            "name": sanitize_text(engine),
            "id": f"{sanitize_text(engine)}-{started}",
            "started": started,
            "heartbeat": started,
            "fence": max(fencing_tokens, default=0) + 1,
            "address": "",
        }
        self._upsert(connection, engines, [row])
        # Every start has its own name: delete long-gone engines and commits that cannot be retried.
        fencing_token = int(row["fence"])
        connection.execute(
            engines.delete().where(engines.c.fence < fencing_token - MAX_ENGINE_ROWS)
        )
        commits, lease_holders = schema.commits, select(schema.leases.c.holder)
        stale = commits.c.engine != row["name"], commits.c.engine.not_in(lease_holders)
        connection.execute(commits.delete().where(*stale))
        return fencing_token

    def _write_inbox(self, connection: Connection, commit: Commit) -> tuple[ReceivedEvent, ...]:
        known_indexes = ledger_inbox.insert_new_events(
            connection, commit.inbox, self._insert_missing, self._rule_subset
        )
        if commit.covers_inbox:
            ledger_inbox.mark_covered(connection, commit.held_events, self._rule_subset)
            self._cover_count += 1
            if self._cover_count % PRUNE_INTERVAL == 0:
                ledger_inbox.prune_covered_events(connection)
        omitted = set(known_indexes)
        return tuple(
            received_event
            for index, received_event in enumerate(commit.inbox)
            if index not in omitted
        )

    def _write_firings(
        self, connection: Connection, firings: Sequence[Firing], stamp: WriteStamp
    ) -> tuple[Firing, ...]:
        inserted = self._insert_missing(
            connection,
            schema.firings,
            ("id",),
            [firing_to_row(candidate, stamp.now) for candidate in firings],
        )
        new_firings = [firing for firing in firings if _pop_inserted(inserted, (firing.id,))]
        once_rows = [
            _once_to_row(firing)
            for firing in new_firings
            if firing.once is not None and not firing.manual
        ]
        if not once_rows:
            return tuple(new_firings)
        first_uses = self._insert_missing(connection, schema.once_values, ("firing",), once_rows)
        repeated_ids = {row["firing"] for row in once_rows if (row["firing"],) not in first_uses}
        if repeated_ids:
            connection.execute(
                self._delete_firing, [{"known": firing_id} for firing_id in sorted(repeated_ids)]
            )
        return tuple(firing for firing in new_firings if firing.id not in repeated_ids)

    def _write_runs(
        self, connection: Connection, commit: Commit, firings: Sequence[Firing], stamp: WriteStamp
    ) -> tuple[Run, ...]:
        omitted = {firing.id for firing in commit.firings} - {firing.id for firing in firings}
        runs_by_id = {run.id: run for run in commit.runs if run.firing.id not in omitted}
        rows = [run_to_row(run, stamp.now, stamp.fencing_token) for run in runs_by_id.values()]
        inserted = self._insert_missing(connection, schema.runs, ("id",), rows)
        return tuple(
            run
            for run in runs_by_id.values()
            if (run.id,) in inserted or self._update_unfinished_run(connection, run, stamp)
        )

    def _write_finished_runs(
        self, connection: Connection, finished: Sequence[Run], stamp: WriteStamp
    ) -> tuple[Run, ...]:
        inserted_ids = self._insert_run_parts(connection, finished, stamp)
        new_runs = tuple(
            run
            for run in finished
            if run.id in inserted_ids or self._update_or_insert_run(connection, run, stamp)
        )
        metrics = [row for run in new_runs for row in metrics_to_rows(run)]
        if metrics:
            connection.execute(schema.metrics.insert(), metrics)
        fields = [row for run in new_runs for row in fields_to_rows(run)]
        if fields:
            connection.execute(schema.fields.insert(), fields)
        artifacts = [row for run in new_runs for row in artifacts_to_rows(run, stamp.now)]
        self._upsert(connection, schema.artifacts, artifacts)
        return new_runs

    def _insert_run_parts(
        self, connection: Connection, finished: Sequence[Run], stamp: WriteStamp
    ) -> set[str]:
        """Writes parts, nearly all of which are new to the ledger, in one statement.

        Returns the ids of the new ones. Those it knows as pending are left to be updated one by
        one.
        """
        parts_by_id = {run.id: run for run in finished if run.parent}
        if not parts_by_id:
            return set()
        firings = {run.firing.id: run.firing for run in parts_by_id.values()}
        firing_rows = [firing_to_row(firing, stamp.now) for firing in firings.values()]
        self._insert_missing(connection, schema.firings, ("id",), firing_rows)
        rows = [run_to_row(run, stamp.now, stamp.fencing_token) for run in parts_by_id.values()]
        return {
            run_id for (run_id,) in self._insert_missing(connection, schema.runs, ("id",), rows)
        }

    def _update_or_insert_run(self, connection: Connection, run: Run, stamp: WriteStamp) -> bool:
        if self._update_unfinished_run(connection, run, stamp):
            return True
        # A part, or a run created and finished in one step, has not been written as pending.
        self._insert_missing(
            connection, schema.firings, ("id",), [firing_to_row(run.firing, stamp.now)]
        )
        row = run_to_row(run, stamp.now, stamp.fencing_token)
        return bool(self._insert_missing(connection, schema.runs, ("id",), [row]))

    def _update_unfinished_run(self, connection: Connection, run: Run, stamp: WriteStamp) -> bool:
        changes = {**run_progress_to_row(run), "known": run.id, "turn": stamp.fencing_token}
        return connection.execute(self._progress_statement, changes).rowcount == 1

    def _write_notifications(
        self, connection: Connection, notifications: Sequence[Notification], stamp: WriteStamp
    ) -> tuple[Notification, ...]:
        rows = [notification_to_row(notification, stamp.now) for notification in notifications]
        inserted = self._insert_missing(connection, schema.notices, ("id",), rows)
        return tuple(
            notification
            for notification in notifications
            if _pop_inserted(inserted, (notification.id,))
        )

    def _insert_missing(
        self,
        connection: Connection,
        table: Table,
        key_names: tuple[str, ...],
        rows: Sequence[RowValues],
    ) -> set[tuple[Any, ...]]:
        if not rows:
            return set()
        statement = self._insert_statements.get(table.name)
        if statement is None:
            columns = [table.c[name] for name in key_names]
            statement = self._insert(table).on_conflict_do_nothing().returning(*columns)
            self._insert_statements[table.name] = statement
        parameters = rows if len(rows) > 1 else rows[0]
        return {tuple(row) for row in connection.execute(statement, parameters)}

    def _upsert(self, connection: Connection, table: Table, rows: Sequence[RowValues]) -> None:
        if not rows:
            return
        statement = self._upsert_statements.get(table.name)
        if statement is None:
            insert = self._insert(table)
            keys = [column.name for column in table.primary_key]
            column_names = [column.name for column in table.c if column.name in rows[0]]
            changes = {name: insert.excluded[name] for name in column_names if name not in keys}
            statement = insert.on_conflict_do_update(index_elements=keys, set_=changes)
            self._upsert_statements[table.name] = statement
        connection.execute(statement, rows)


def _pop_inserted(inserted: set[tuple[Any, ...]], key: tuple[Any, ...]) -> bool:
    """True if a key is new; of two equal ones in a commit only the first is."""
    if key not in inserted:
        return False
    inserted.remove(key)
    return True


def _once_to_row(firing: Firing) -> RowValues:
    return {
        "rule": sanitize_text(firing.rule),
        "value": sanitize_text(firing.once or ""),
        "firing": firing.id,
        "time": firing.time,
    }
