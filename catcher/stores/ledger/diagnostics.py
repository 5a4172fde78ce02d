"""The ledger queries of `catcher doctor`: integrity, backlog and references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Table, func, select

from catcher.model.time import Instant
from catcher.stores.ledger import schema
from catcher.stores.ledger.mappers import sanitize_text

MAX_ERRORS = 20
MAX_IN_VALUES = 500


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many rows wait, and since when the oldest does."""

    count: int = 0
    oldest: Instant | None = None


@dataclass(frozen=True, slots=True)
class BacklogReport:
    """What is waiting in a ledger. `heartbeat` is the oldest one of the running runs."""

    uncovered: QueueDepth
    pending: QueueDepth
    running: QueueDepth
    heartbeat: Instant | None
    undelivered: QueueDepth
    dead: QueueDepth
    exports: QueueDepth
    runs: int


def query_backlog(connection: Connection) -> BacklogReport:
    """Counts what is waiting."""
    runs, notices, inbox = schema.runs, schema.notices, schema.inbox
    oldest_heartbeat = select(func.min(runs.c.heartbeat)).where(runs.c.state == "running")
    return BacklogReport(
        uncovered=_query_queue_depth(connection, inbox, inbox.c.received, ~inbox.c.covered),
        pending=_query_queue_depth(connection, runs, runs.c.created, runs.c.state == "pending"),
        running=_query_queue_depth(connection, runs, runs.c.created, runs.c.state == "running"),
        heartbeat=connection.execute(oldest_heartbeat).scalar(),
        undelivered=_query_queue_depth(
            connection, notices, notices.c.created, notices.c.state == "pending"
        ),
        dead=_query_queue_depth(connection, notices, notices.c.settled, notices.c.state == "dead"),
        exports=_query_queue_depth(connection, schema.exports, schema.exports.c.created),
        runs=connection.execute(select(func.count()).select_from(runs)).scalar_one(),
    )


def query_integrity_errors(connection: Connection) -> list[str]:
    """Returns the database's integrity errors as text; none for a server, which checks itself."""
    if connection.dialect.name != "sqlite":
        return []
    lines = connection.exec_driver_sql(f"PRAGMA integrity_check({MAX_ERRORS})").scalars().all()
    errors = [str(line) for line in lines if line != "ok"]
    violations = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    tables = sorted({str(row[0]) for row in violations})
    if tables:
        errors.append(f"rows of {', '.join(tables)} refer to others that are not there")
    return errors


def query_artifact_keys(connection: Connection) -> set[str]:
    """Returns the keys of all artifacts that runs list."""
    return set(connection.execute(select(schema.artifacts.c.key)).scalars())


def query_artifact_checksum(connection: Connection, key: str) -> str | None:
    """Returns the checksum that a run lists for the artifact with a key; None if none does."""
    artifacts = schema.artifacts
    return connection.execute(
        select(artifacts.c.checksum).where(artifacts.c.key == sanitize_text(key))
    ).scalar()


def query_run_states(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Returns the states of these runs; unknown ones are left out."""
    runs, states = schema.runs, dict[str, str]()
    for start in range(0, len(ids), MAX_IN_VALUES):
        condition = runs.c.id.in_(ids[start : start + MAX_IN_VALUES])
        states.update(
            (row.id, row.state)
            for row in connection.execute(select(runs.c.id, runs.c.state).where(condition))
        )
    return states


def query_job_digests(connection: Connection) -> set[str]:
    """Returns the digests of all job files that produced any run."""
    return set(connection.execute(select(schema.runs.c.job_digest).distinct()).scalars())


def _query_queue_depth(
    connection: Connection, table: Table, since: Column[int], *conditions: object
) -> QueueDepth:
    statement = select(func.count(), func.min(since)).select_from(table)
    row = connection.execute(statement.where(*conditions)).one()  # type: ignore[arg-type]
    return QueueDepth(row[0], row[1])
