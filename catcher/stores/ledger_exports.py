"""Finished runs whose metrics a metric store has yet to take: the outbox of the exporter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from catcher.model.run import Run
from catcher.model.time import Instant
from catcher.ports import MetricPoint
from catcher.stores import schema
from catcher.stores.ledger_results import point_of
from catcher.stores.ledger_rows import Cells

_INSERTS: Mapping[str, Callable[[Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}

_exports, _metrics = schema.exports, schema.metrics
_LAST = select(func.max(_exports.c.seq))
_BELOW = select(func.count()).where(_exports.c.seq <= bindparam("last")).select_from(_exports)
_DROP = _exports.delete().where(_exports.c.seq <= bindparam("last"))
_OLDEST = select(func.min(_exports.c.created), func.count()).select_from(_exports)


@dataclass(frozen=True, slots=True)
class Owed:
    """Points of the oldest runs that wait; `through` is the place up to which they are all."""

    points: tuple[MetricPoint, ...]
    through: int


def owe(
    connection: Connection, finished: Sequence[Run], now: Instant, most: int
) -> tuple[int, int]:
    """Notes runs with metrics, in the transaction of their results.

    Returns how many, and how many older ones were dropped since more than `most` waited.
    """
    rows: list[Cells] = [{"run": run.id, "created": now} for run in finished if run.metrics]
    if not rows:
        return 0, 0
    insert = _INSERTS[connection.dialect.name]
    connection.execute(insert(_exports).on_conflict_do_nothing(), rows)
    last = {"last": (connection.execute(_LAST).scalar() or 0) - most}
    dropped = connection.execute(_BELOW, last).scalar_one()
    if dropped:
        connection.execute(_DROP, last)
    return len(rows), dropped


def owed(connection: Connection, limit: int) -> Owed | None:
    """The points of at most `limit` runs, oldest first; None where nothing waits."""
    first = select(_exports.c.seq, _exports.c.run).order_by(_exports.c.seq).limit(limit).subquery()
    through = connection.execute(select(func.max(first.c.seq))).scalar()
    if through is None:
        return None
    points = (
        select(_metrics)
        .join(first, first.c.run == _metrics.c.run)
        .order_by(first.c.seq, _metrics.c.name)
    )
    rows = (row._asdict() for row in connection.execute(points))
    return Owed(tuple(point_of(row) for row in rows), through)


def exported(connection: Connection, through: int) -> None:
    """The metric store has taken all up to a place."""
    connection.execute(_DROP, {"last": through})


def waiting(connection: Connection) -> tuple[int, Instant | None]:
    """How many runs wait, and since when the oldest does."""
    oldest, count = connection.execute(_OLDEST).one()
    return count, oldest
