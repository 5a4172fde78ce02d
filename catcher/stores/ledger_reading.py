"""What the ledger answers: queries newest first, and what an engine takes up at its start.

A filter on labels is narrowed by the database and judged here, row by row, since JSON has no
portable operator; the rows are streamed, so that a limit holds for what is looked at, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, or_, select

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.commit import TriggerState
from catcher.model.observation import Observation
from catcher.model.portion import WHOLE, Portion
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import Instant
from catcher.ports import DeadLetter, MetricPoint, Query
from catcher.stores import ledger_lease, schema
from catcher.stores.documents import clean, document
from catcher.stores.ledger_inbox import source_key
from catcher.stores.ledger_results import artifact_of, labels_of, point_of
from catcher.stores.ledger_rows import (
    Row,
    alert_of,
    audit_of,
    dead_letter_of,
    firing_of,
    notice_of,
    observation_of,
    run_of,
    state_of,
)

ACTIVE = ("firing", "acknowledged", "shelved")
MOST_NAMES = 500


def firings(connection: Connection, query: Query) -> list[Firing]:
    """By rule, id, time, and by observation through the runs that they led to."""
    table, runs = schema.firings, schema.runs
    conditions = _common(table, query)
    if query.id:
        conditions.append(table.c.id == clean(query.id))
    if query.observation:
        about = select(runs.c.firing).where(runs.c.observation == clean(query.observation))
        conditions.append(table.c.id.in_(about))
    return [firing_of(row) for row in _newest(connection, table, conditions, query.limit)]


def runs(connection: Connection, query: Query) -> list[Run]:
    """By rule, id, job (`name`), state, observation, time of the firing, labels of a metric."""
    table, metrics = schema.runs, schema.metrics
    conditions = _common(table, query)
    conditions += _equal(table, query, id="id", job="name", state="state")
    conditions += _equal(table, query, observation="observation")
    if query.labels:
        labelled = select(metrics.c.run).where(*_label_texts(metrics, query))
        conditions.append(table.c.id.in_(labelled))
    fits = _metric_labelled(connection, query)
    return _whole_runs(connection, _newest(connection, table, conditions, query.limit, fits=fits))


def metrics(connection: Connection, query: Query) -> list[MetricPoint]:
    """By rule, name, run (`id`), observation, time of the firing, labels."""
    table = schema.metrics
    conditions = _common(table, query)
    conditions += _equal(table, query, run="id", name="name", observation="observation")
    conditions += _label_texts(table, query)
    rows = _newest(connection, table, conditions, query.limit, fits=_labelled(query))
    return [point_of(row) for row in rows]


def artifacts(connection: Connection, query: Query) -> list[ArtifactRecord]:
    """By rule, name, run (`id`), observation, time, kind."""
    table = schema.artifacts
    conditions = _common(table, query)
    conditions += _equal(table, query, run="id", name="name", observation="observation")
    if query.kind:
        suffix = "." + clean(query.kind).removeprefix(".")
        conditions.append(table.c.name.endswith(suffix, autoescape=True))
    return [artifact_of(row) for row in _newest(connection, table, conditions, query.limit)]


def alerts(connection: Connection, query: Query) -> list[Alert]:
    """Episodes by rule, id, name, state, labels, observation, and by a span they reach into.

    The state may also be `active` (firing, acknowledged or shelved) or `open` (not resolved).
    """
    table = schema.alerts
    conditions = _equal(table, query, rule="rule", id="id", name="name")
    if query.state == "active":
        conditions.append(table.c.state.in_(ACTIVE))
    elif query.state == "open":
        conditions.append(table.c.state != "resolved")
    else:
        conditions += _equal(table, query, state="state")
    if query.observation:
        observation = clean(query.observation)
        made = select(schema.runs.c.id).where(schema.runs.c.observation == observation)
        conditions.append(or_(table.c.per == observation, table.c.run.in_(made)))
    if query.start is not None:
        conditions.append(or_(table.c.resolved.is_(None), table.c.resolved >= query.start))
    if query.end is not None:
        conditions.append(table.c.opened <= query.end)
    conditions += _label_texts(table, query)
    order = (table.c.opened, table.c.episode)
    rows = _newest(connection, table, conditions, query.limit, order, _labelled(query))
    return [alert_of(row) for row in rows]


def episodes(connection: Connection) -> int:
    """The greatest number of an episode of any alert; 0 where there is none."""
    return connection.execute(select(func.max(schema.alerts.c.episode))).scalar() or 0


def audit(connection: Connection, query: Query) -> list[AuditEntry]:
    """By subject (`id`), who (`name`), what (`state`), time."""
    table = schema.audit
    conditions = _span(table, query) + _equal(table, query, subject="id", who="name", what="state")
    rows = _newest(connection, table, conditions, query.limit, (table.c.seq,))
    return [audit_of(row) for row in rows]


def dead_letters(connection: Connection, query: Query) -> list[DeadLetter]:
    """Notices that were given up, by alert (`id`), sink (`name`), time of the notice."""
    table = schema.notices
    conditions = [table.c.state == "dead", *_span(table, query)]
    conditions += _equal(table, query, alert="id", sink="name")
    order = (table.c.settled, table.c.seq)
    rows = _newest(connection, table, conditions, query.limit, order)
    receipts = _receipts(connection, rows)
    return [dead_letter_of(row, receipts.get((row["alert"], row["sink"]))) for row in rows]


def undelivered(connection: Connection) -> list[Notice]:
    """The outbox in the order of writing, each with what its sink last answered of its alert."""
    table = schema.notices
    waiting = select(table).where(table.c.state == "pending").order_by(table.c.seq)
    rows = _all(connection, waiting)
    receipts = _receipts(connection, rows)
    return [notice_of(row, receipts.get((row["alert"], row["sink"]))) for row in rows]


def unfinished(connection: Connection, fence: int) -> list[Run]:
    """Runs that engines before this one left pending or running, oldest first."""
    table = schema.runs
    left = (
        select(table)
        .where(table.c.state.in_(("pending", "running")), table.c.fence < fence)
        .order_by(table.c.time, table.c.created, table.c.id)
    )
    return _whole_runs(connection, _all(connection, left))


def states(connection: Connection) -> list[TriggerState]:
    """The saved state of every rule and key."""
    tables = (schema.trigger_states, schema.state_parts)
    return [state_of(row) for table in tables for row in _all(connection, select(table))]


def alive(connection: Connection, fence: int, portion: Portion = WHOLE) -> Instant:
    """The latest that an engine before this one wrote of itself: a beat, a state, an event.

    Where others carry other portions, their beats and states say nothing of this one's rules.
    """
    engines, states, inbox = schema.engines, schema.trigger_states, schema.inbox
    heard = select(inbox.c.received).where(inbox.c.portion == portion.name)
    asked: list[Select[Any]] = [heard.order_by(inbox.c.seq.desc()).limit(1)]
    if portion == WHOLE:
        asked.append(select(func.max(engines.c.heartbeat)).where(engines.c.fence < fence))
        asked.append(select(func.max(states.c.updated)))
    return max(connection.execute(one).scalar() or 0 for one in asked)


def positions(connection: Connection, portion: Portion = WHOLE) -> dict[str, str]:
    """Where each source of a portion would go on."""
    rows = _all(connection, select(schema.positions))
    head = source_key("", portion)
    mine = [
        row
        for row in rows
        if row["source"].startswith(head) and (head or row["source"][:1] not in ("+", "-"))
    ]
    return {row["source"].removeprefix(head): row["position"] for row in mine}


def adopted(
    connection: Connection, portion: Portion, fence: int, rules: Collection[str], first: bool
) -> list[Run]:
    """Takes over the runs of engines of a shared portion that are gone; oldest first."""
    table, ids = schema.runs, ledger_lease.adopt(connection, portion, fence, rules, first)
    order = (table.c.time, table.c.created, table.c.id)
    rows = [
        row
        for start in range(0, len(ids), MOST_NAMES)
        for row in _all(
            connection,
            select(table).where(table.c.id.in_(ids[start : start + MOST_NAMES])).order_by(*order),
        )
    ]
    return _whole_runs(connection, rows)


def observation(connection: Connection, kind: str, id: str) -> Observation | None:
    """One observation, None where it is not known."""
    table = schema.observations
    one = select(table).where(table.c.kind == clean(kind), table.c.id == clean(id))
    return next((observation_of(row) for row in _all(connection, one)), None)


def _whole_runs(connection: Connection, rows: Sequence[Row]) -> list[Run]:
    ids = [row["id"] for row in rows]
    wanted = [row["firing"] for row in rows]
    found = _grouped(connection, schema.firings, "id", wanted)
    fired = {id: firing_of(some[0]) for id, some in found.items()}
    made = [
        _grouped(connection, table, "run", ids)
        for table in (schema.metrics, schema.fields, schema.artifacts)
    ]
    return [
        run_of(row, fired[row["firing"]], *(group.get(row["id"], ()) for group in made))
        for row in rows
    ]


def _receipts(connection: Connection, rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    found = _grouped(connection, schema.receipts, "alert", [row["alert"] for row in rows])
    return {
        (row["alert"], row["sink"]): row["receipt"] for group in found.values() for row in group
    }


def _grouped(
    connection: Connection, table: Table, column: str, values: Sequence[str]
) -> Mapping[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    names = sorted(set(values))
    for start in range(0, len(names), MOST_NAMES):
        some = table.c[column].in_(names[start : start + MOST_NAMES])
        for row in _all(connection, select(table).where(some).order_by(*table.primary_key)):
            groups[row[column]].append(row)
    return groups


def _common(table: Table, query: Query) -> list[ColumnElement[bool]]:
    return _span(table, query) + _equal(table, query, rule="rule")


def _span(table: Table, query: Query) -> list[ColumnElement[bool]]:
    conditions = []
    if query.start is not None:
        conditions.append(table.c.time >= query.start)
    if query.end is not None:
        conditions.append(table.c.time <= query.end)
    return conditions


def _equal(table: Table, query: Query, **columns: str) -> list[ColumnElement[bool]]:
    wanted = {column: clean(getattr(query, name)) for column, name in columns.items()}
    return [table.c[column] == value for column, value in wanted.items() if value]


def _label_texts(table: Table, query: Query) -> list[ColumnElement[bool]]:
    pairs = [document({name: value})[1:-1] for name, value in query.labels.items()]
    return [table.c.labels.contains(pair, autoescape=True) for pair in pairs]


def _newest(
    connection: Connection,
    table: Table,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    order: Sequence[ColumnElement[Any]] = (),
    fits: Callable[[Row], bool] | None = None,
) -> list[Row]:
    keys = order or (table.c.time, *table.primary_key)
    statement = select(table).where(*conditions).order_by(*(key.desc() for key in keys))
    if fits is None:
        return _all(connection, statement.limit(max(limit, 0)))
    with closing(connection.execute(statement, execution_options={"yield_per": 500})) as result:
        rows = (row._asdict() for row in result)
        return list(islice(filter(fits, rows), max(limit, 0)))


def _labelled(query: Query) -> Callable[[Row], bool] | None:
    wanted = query.labels
    if not wanted:
        return None
    return lambda row: wanted.items() <= labels_of(row).items()


def _metric_labelled(connection: Connection, query: Query) -> Callable[[Row], bool] | None:
    labelled, metrics = _labelled(query), schema.metrics
    if labelled is None:
        return None
    of_run = select(metrics.c.labels)
    return lambda row: any(
        labelled(metric) for metric in _all(connection, of_run.where(metrics.c.run == row["id"]))
    )


def _all(connection: Connection, statement: Select[Any]) -> list[Row]:
    return [row._asdict() for row in connection.execute(statement)]
