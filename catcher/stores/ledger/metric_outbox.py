"""The exporter's outbox: finished runs whose metrics are not yet in the metric store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from catcher.model.run import Run
from catcher.model.time import Instant
from catcher.ports import MetricPoint
from catcher.stores.ledger import schema
from catcher.stores.ledger.mappers import RowValues, row_to_metric_point

_INSERTS: Mapping[str, Callable[[Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}

_exports, _metrics = schema.exports, schema.metrics
_SELECT_LAST_SEQ = select(func.max(_exports.c.seq))
_COUNT_UP_TO = select(func.count()).where(_exports.c.seq <= bindparam("last")).select_from(_exports)
_DELETE_UP_TO = _exports.delete().where(_exports.c.seq <= bindparam("last"))
_SELECT_BACKLOG = select(func.min(_exports.c.created), func.count()).select_from(_exports)


@dataclass(frozen=True, slots=True)
class ExportBatch:
    """Points of the oldest waiting runs; `through` is the sequence number they reach, inclusive."""

    points: tuple[MetricPoint, ...]
    through: int


def enqueue_exports(
    connection: Connection, finished: Sequence[Run], now: Instant, max_pending: int
) -> tuple[int, int]:
    """Enqueues runs with metrics, in the transaction of their results.

    Returns how many, and how many older ones were dropped because more than `max_pending` waited.
    """
    rows: list[RowValues] = [{"run": run.id, "created": now} for run in finished if run.metrics]
    if not rows:
        return 0, 0
    insert = _INSERTS[connection.dialect.name]
    connection.execute(insert(_exports).on_conflict_do_nothing(), rows)
    parameters = {"last": (connection.execute(_SELECT_LAST_SEQ).scalar() or 0) - max_pending}
    dropped = connection.execute(_COUNT_UP_TO, parameters).scalar_one()
    if dropped:
        connection.execute(_DELETE_UP_TO, parameters)
    return len(rows), dropped


def read_export_batch(connection: Connection, limit: int) -> ExportBatch | None:
    """Returns the points of at most `limit` runs, oldest first; None if nothing waits."""
    oldest_runs = (
        select(_exports.c.seq, _exports.c.run).order_by(_exports.c.seq).limit(limit).subquery()
    )
    through = connection.execute(select(func.max(oldest_runs.c.seq))).scalar()
    if through is None:
        return None
    points = (
        select(_metrics)
        .join(oldest_runs, oldest_runs.c.run == _metrics.c.run)
        .order_by(oldest_runs.c.seq, _metrics.c.name)
    )
    rows = (row._asdict() for row in connection.execute(points))
    return ExportBatch(tuple(row_to_metric_point(row) for row in rows), through)


def delete_exported(connection: Connection, through: int) -> None:
    """Deletes what the metric store has accepted, up to a sequence number."""
    connection.execute(_DELETE_UP_TO, {"last": through})


def read_export_backlog(connection: Connection) -> tuple[int, Instant | None]:
    """Returns how many runs wait, and since when the oldest does."""
    oldest, count = connection.execute(_SELECT_BACKLOG).one()
    return count, oldest
