"""What `catcher doctor` asks a ledger: whether it is sound, what waits in it, what it refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Table, func, select

from catcher.model.time import Instant
from catcher.stores import schema
from catcher.stores.documents import clean

MOST_FLAWS = 20
MOST_IDS = 500


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many rows wait, and since when the oldest does."""

    count: int = 0
    oldest: Instant | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What waits in a ledger. `heartbeat` is the oldest of the runs that are going on."""

    uncovered: Backlog
    pending: Backlog
    running: Backlog
    heartbeat: Instant | None
    undelivered: Backlog
    dead: Backlog
    exports: Backlog
    runs: int


def tally(connection: Connection) -> Tally:
    """Counts what waits."""
    runs, notices, inbox = schema.runs, schema.notices, schema.inbox
    beat = select(func.min(runs.c.heartbeat)).where(runs.c.state == "running")
    return Tally(
        uncovered=_backlog(connection, inbox, inbox.c.received, ~inbox.c.covered),
        pending=_backlog(connection, runs, runs.c.created, runs.c.state == "pending"),
        running=_backlog(connection, runs, runs.c.created, runs.c.state == "running"),
        heartbeat=connection.execute(beat).scalar(),
        undelivered=_backlog(connection, notices, notices.c.created, notices.c.state == "pending"),
        dead=_backlog(connection, notices, notices.c.settled, notices.c.state == "dead"),
        exports=_backlog(connection, schema.exports, schema.exports.c.created),
        runs=connection.execute(select(func.count()).select_from(runs)).scalar_one(),
    )


def flaws(connection: Connection) -> list[str]:
    """What is wrong with the database as such, in words; a server looks after itself."""
    if connection.dialect.name != "sqlite":
        return []
    found = connection.exec_driver_sql(f"PRAGMA integrity_check({MOST_FLAWS})").scalars().all()
    words = [str(one) for one in found if one != "ok"]
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    tables = sorted({str(row[0]) for row in broken})
    if tables:
        words.append(f"rows of {', '.join(tables)} refer to others that are not there")
    return words


def artifact_keys(connection: Connection) -> set[str]:
    """The keys of all artifacts that runs list."""
    return set(connection.execute(select(schema.artifacts.c.key)).scalars())


def artifact_checksum(connection: Connection, key: str) -> str | None:
    """The checksum that a run lists for the artifact under a key; None where none does."""
    artifacts = schema.artifacts
    return connection.execute(
        select(artifacts.c.checksum).where(artifacts.c.key == clean(key))
    ).scalar()


def run_states(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """The states of these runs; those that are not there are left out."""
    runs, found = schema.runs, dict[str, str]()
    for start in range(0, len(ids), MOST_IDS):
        some = runs.c.id.in_(ids[start : start + MOST_IDS])
        found.update(
            (row.id, row.state)
            for row in connection.execute(select(runs.c.id, runs.c.state).where(some))
        )
    return found


def job_digests(connection: Connection) -> set[str]:
    """The versions of job files that any run was made by."""
    return set(connection.execute(select(schema.runs.c.job_digest).distinct()).scalars())


def _backlog(
    connection: Connection, table: Table, since: Column[int], *conditions: object
) -> Backlog:
    counted = select(func.count(), func.min(since)).select_from(table)
    row = connection.execute(counted.where(*conditions)).one()  # type: ignore[arg-type]
    return Backlog(row[0], row[1])
