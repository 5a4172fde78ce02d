"""Queries of the ledger, newest first, and what an engine loads when it starts.

A filter on labels is narrowed by the database and decided here, row by row, because JSON has no
portable operator; the rows are streamed, so that a limit also bounds how many are examined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, or_, select

from catcher.model.alert import Alert, AuditEntry, Notification
from catcher.model.commit import TriggerState
from catcher.model.observation import Observation
from catcher.model.rule_subset import ALL_RULES, RuleSubset
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import Instant
from catcher.ports import DeadLetter, MetricPoint, Query
from catcher.stores.ledger import leader_election, schema
from catcher.stores.ledger.inbox import build_position_key
from catcher.stores.ledger.mappers import (
    Row,
    encode_json,
    parse_labels,
    row_to_alert,
    row_to_artifact,
    row_to_audit_entry,
    row_to_dead_letter,
    row_to_firing,
    row_to_metric_point,
    row_to_notification,
    row_to_observation,
    row_to_run,
    row_to_state,
    sanitize_text,
)

# Observations, and the states of the runs about them.


def query_observations(connection: Connection, query: Query) -> list[Observation]:
    """Returns observations by kind (`name`) and start time, newest first."""
    table = schema.observations
    statement = select(table).order_by(table.c.start.desc(), table.c.id.desc())
    if query.name:
        statement = statement.where(table.c.kind == sanitize_text(query.name))
    if query.start is not None:
        statement = statement.where(table.c.start >= query.start)
    if query.end is not None:
        statement = statement.where(table.c.start <= query.end)
    rows = connection.execute(statement.limit(max(query.limit, 0)))
    return [row_to_observation(row._asdict()) for row in rows]


def query_latest_run_states(
    connection: Connection, observation_ids: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Returns, by observation and rule, the state of the latest run about it, without parts."""
    runs = schema.runs
    original_ids = {
        sanitize_text(observation_id): observation_id for observation_id in observation_ids
    }
    states_by_observation: dict[str, dict[str, str]] = defaultdict(dict)
    cleaned_ids = sorted(original_ids)
    for start in range(0, len(cleaned_ids), MAX_IN_VALUES):
        condition = runs.c.observation.in_(cleaned_ids[start : start + MAX_IN_VALUES])
        statement = (
            select(runs.c.observation, runs.c.rule, runs.c.state)
            .where(condition, runs.c.parent == "")
            .order_by(runs.c.time, runs.c.created)
        )
        for observation, rule, state in connection.execute(statement):
            states_by_observation[original_ids[observation]][rule] = state
    return dict(states_by_observation)


ACTIVE_STATES = ("firing", "acknowledged", "shelved")
MAX_IN_VALUES = 500


def query_firings(connection: Connection, query: Query) -> list[Firing]:
    """Returns firings by rule, id, time, and by observation through their runs."""
    table, runs = schema.firings, schema.runs
    conditions = _common_conditions(table, query)
    if query.id:
        conditions.append(table.c.id == sanitize_text(query.id))
    if query.observation:
        run_firings = select(runs.c.firing).where(
            runs.c.observation == sanitize_text(query.observation)
        )
        conditions.append(table.c.id.in_(run_firings))
    return [row_to_firing(row) for row in _query_newest(connection, table, conditions, query.limit)]


def query_runs(connection: Connection, query: Query) -> list[Run]:
    """Returns runs by rule, id, job (`name`), state, observation, time of the firing, metric
    labels.
    """
    table, metrics = schema.runs, schema.metrics
    conditions = _common_conditions(table, query)
    conditions += _equality_conditions(table, query, id="id", job="name", state="state")
    conditions += _equality_conditions(table, query, observation="observation")
    if query.labels:
        labelled_runs = select(metrics.c.run).where(*_label_conditions(metrics, query))
        conditions.append(table.c.id.in_(labelled_runs))
    matches = _build_metric_label_filter(connection, query)
    return _assemble_runs(
        connection, _query_newest(connection, table, conditions, query.limit, matches=matches)
    )


def query_metrics(connection: Connection, query: Query) -> list[MetricPoint]:
    """Returns metrics by rule, name, run (`id`), observation, time of the firing, labels."""
    table = schema.metrics
    conditions = _common_conditions(table, query)
    conditions += _equality_conditions(
        table, query, run="id", name="name", observation="observation"
    )
    conditions += _label_conditions(table, query)
    rows = _query_newest(
        connection, table, conditions, query.limit, matches=_build_label_filter(query)
    )
    return [row_to_metric_point(row) for row in rows]


def query_artifacts(connection: Connection, query: Query) -> list[ArtifactRecord]:
    """Returns artifacts by rule, name, run (`id`), observation, time, kind (file suffix)."""
    table = schema.artifacts
    conditions = _common_conditions(table, query)
    conditions += _equality_conditions(
        table, query, run="id", name="name", observation="observation"
    )
    if query.kind:
        suffix = "." + sanitize_text(query.kind).removeprefix(".")
        conditions.append(table.c.name.endswith(suffix, autoescape=True))
    return [
        row_to_artifact(row) for row in _query_newest(connection, table, conditions, query.limit)
    ]


def query_alerts(connection: Connection, query: Query) -> list[Alert]:
    """Returns episodes by rule, id, name, state, labels, observation, and overlapping time range.

    The state may also be `active` (firing, acknowledged or shelved) or `open` (not resolved).
    """
    table = schema.alerts
    conditions = _equality_conditions(table, query, rule="rule", id="id", name="name")
    if query.state == "active":
        conditions.append(table.c.state.in_(ACTIVE_STATES))
    elif query.state == "open":
        conditions.append(table.c.state != "resolved")
    else:
        conditions += _equality_conditions(table, query, state="state")
    if query.observation:
        observation = sanitize_text(query.observation)
        run_ids = select(schema.runs.c.id).where(schema.runs.c.observation == observation)
        conditions.append(or_(table.c.per == observation, table.c.run.in_(run_ids)))
    if query.start is not None:
        conditions.append(or_(table.c.resolved.is_(None), table.c.resolved >= query.start))
    if query.end is not None:
        conditions.append(table.c.opened <= query.end)
    conditions += _label_conditions(table, query)
    order = (table.c.opened, table.c.episode)
    rows = _query_newest(
        connection, table, conditions, query.limit, order, _build_label_filter(query)
    )
    return [row_to_alert(row) for row in rows]


def query_last_episode_number(connection: Connection) -> int:
    """Returns the greatest episode number of any alert; 0 if there is none."""
    return connection.execute(select(func.max(schema.alerts.c.episode))).scalar() or 0


def query_audit_entries(connection: Connection, query: Query) -> list[AuditEntry]:
    """Returns audit entries by subject (`id`), who (`name`), what (`state`), time."""
    table = schema.audit
    conditions = _time_conditions(table, query) + _equality_conditions(
        table, query, subject="id", who="name", what="state"
    )
    rows = _query_newest(connection, table, conditions, query.limit, (table.c.seq,))
    return [row_to_audit_entry(row) for row in rows]


def query_dead_letters(connection: Connection, query: Query) -> list[DeadLetter]:
    """Returns dead letters by alert (`id`), sink (`name`), time of the notification."""
    table = schema.notices
    conditions = [table.c.state == "dead", *_time_conditions(table, query)]
    conditions += _equality_conditions(table, query, alert="id", sink="name")
    order = (table.c.settled, table.c.seq)
    rows = _query_newest(connection, table, conditions, query.limit, order)
    receipts = _query_receipts(connection, rows)
    return [row_to_dead_letter(row, receipts.get((row["alert"], row["sink"]))) for row in rows]


def query_undelivered(connection: Connection) -> list[Notification]:
    """Returns the outbox in write order, each with its sink's last receipt for the alert."""
    table = schema.notices
    statement = select(table).where(table.c.state == "pending").order_by(table.c.seq)
    rows = _fetch_all(connection, statement)
    receipts = _query_receipts(connection, rows)
    return [row_to_notification(row, receipts.get((row["alert"], row["sink"]))) for row in rows]


def query_unfinished_runs(connection: Connection, fencing_token: int) -> list[Run]:
    """Returns runs that earlier engines left pending or running, oldest first."""
    table = schema.runs
    statement = (
        select(table)
        .where(table.c.state.in_(("pending", "running")), table.c.fence < fencing_token)
        .order_by(table.c.time, table.c.created, table.c.id)
    )
    return _assemble_runs(connection, _fetch_all(connection, statement))


def query_trigger_states(connection: Connection) -> list[TriggerState]:
    """Returns the saved state of every rule and key."""
    tables = (schema.trigger_states, schema.state_parts)
    return [row_to_state(row) for table in tables for row in _fetch_all(connection, select(table))]


def query_last_alive_time(
    connection: Connection, fencing_token: int, rule_subset: RuleSubset = ALL_RULES
) -> Instant:
    """Returns the latest time that an earlier engine recorded: a heartbeat, a state, an event.

    If other engines have other rule subsets, their heartbeats and states say nothing about this
    one's rules.
    """
    engines, states, inbox = schema.engines, schema.trigger_states, schema.inbox
    last_received = select(inbox.c.received).where(inbox.c.portion == rule_subset.name)
    statements: list[Select[Any]] = [last_received.order_by(inbox.c.seq.desc()).limit(1)]
    if rule_subset == ALL_RULES:
        statements.append(
            select(func.max(engines.c.heartbeat)).where(engines.c.fence < fencing_token)
        )
        statements.append(select(func.max(states.c.updated)))
    return max(connection.execute(statement).scalar() or 0 for statement in statements)


def query_source_positions(
    connection: Connection, rule_subset: RuleSubset = ALL_RULES
) -> dict[str, str]:
    """Returns the position from which each source of a rule subset would continue."""
    rows = _fetch_all(connection, select(schema.positions))
    prefix = build_position_key("", rule_subset)
    own_rows = [
        row
        for row in rows
        if row["source"].startswith(prefix) and (prefix or row["source"][:1] not in ("+", "-"))
    ]
    return {row["source"].removeprefix(prefix): row["position"] for row in own_rows}


def take_over_runs(
    connection: Connection,
    rule_subset: RuleSubset,
    fencing_token: int,
    rules: Collection[str],
    is_first: bool,
) -> list[Run]:
    """Takes over the runs of dead engines of a shared rule subset; oldest first."""
    table, ids = (
        schema.runs,
        leader_election.take_over_expired_runs(
            connection, rule_subset, fencing_token, rules, is_first
        ),
    )
    order = (table.c.time, table.c.created, table.c.id)
    rows = [
        row
        for start in range(0, len(ids), MAX_IN_VALUES)
        for row in _fetch_all(
            connection,
            select(table)
            .where(table.c.id.in_(ids[start : start + MAX_IN_VALUES]))
            .order_by(*order),
        )
    ]
    return _assemble_runs(connection, rows)


def query_observation(connection: Connection, kind: str, id: str) -> Observation | None:
    """Returns one observation, None if it is unknown."""
    table = schema.observations
    statement = select(table).where(
        table.c.kind == sanitize_text(kind), table.c.id == sanitize_text(id)
    )
    return next((row_to_observation(row) for row in _fetch_all(connection, statement)), None)


def _assemble_runs(connection: Connection, rows: Sequence[Row]) -> list[Run]:
    ids = [row["id"] for row in rows]
    firing_ids = [row["firing"] for row in rows]
    firing_groups = _query_rows_by_value(connection, schema.firings, "id", firing_ids)
    firings = {
        firing_id: row_to_firing(firing_rows[0]) for firing_id, firing_rows in firing_groups.items()
    }
    output_groups = [
        _query_rows_by_value(connection, table, "run", ids)
        for table in (schema.metrics, schema.fields, schema.artifacts)
    ]
    return [
        row_to_run(
            row, firings[row["firing"]], *(group.get(row["id"], ()) for group in output_groups)
        )
        for row in rows
    ]


def _query_receipts(connection: Connection, rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    groups = _query_rows_by_value(
        connection, schema.receipts, "alert", [row["alert"] for row in rows]
    )
    return {
        (row["alert"], row["sink"]): row["receipt"] for group in groups.values() for row in group
    }


def _query_rows_by_value(
    connection: Connection, table: Table, column: str, values: Sequence[str]
) -> Mapping[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    distinct = sorted(set(values))
    for start in range(0, len(distinct), MAX_IN_VALUES):
        condition = table.c[column].in_(distinct[start : start + MAX_IN_VALUES])
        for row in _fetch_all(
            connection, select(table).where(condition).order_by(*table.primary_key)
        ):
            groups[row[column]].append(row)
    return groups


def _common_conditions(table: Table, query: Query) -> list[ColumnElement[bool]]:
    return _time_conditions(table, query) + _equality_conditions(table, query, rule="rule")


def _time_conditions(table: Table, query: Query) -> list[ColumnElement[bool]]:
    conditions = []
    if query.start is not None:
        conditions.append(table.c.time >= query.start)
    if query.end is not None:
        conditions.append(table.c.time <= query.end)
    return conditions


def _equality_conditions(table: Table, query: Query, **columns: str) -> list[ColumnElement[bool]]:
    filters = {column: sanitize_text(getattr(query, name)) for column, name in columns.items()}
    return [table.c[column] == value for column, value in filters.items() if value]


def _label_conditions(table: Table, query: Query) -> list[ColumnElement[bool]]:
    pairs = [encode_json({name: value})[1:-1] for name, value in query.labels.items()]
    return [table.c.labels.contains(pair, autoescape=True) for pair in pairs]


def _query_newest(
    connection: Connection,
    table: Table,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    order: Sequence[ColumnElement[Any]] = (),
    matches: Callable[[Row], bool] | None = None,
) -> list[Row]:
    keys = order or (table.c.time, *table.primary_key)
    statement = select(table).where(*conditions).order_by(*(key.desc() for key in keys))
    if matches is None:
        return _fetch_all(connection, statement.limit(max(limit, 0)))
    with closing(connection.execute(statement, execution_options={"yield_per": 500})) as result:
        rows = (row._asdict() for row in result)
        return list(islice(filter(matches, rows), max(limit, 0)))


def _build_label_filter(query: Query) -> Callable[[Row], bool] | None:
    labels = query.labels
    if not labels:
        return None
    return lambda row: labels.items() <= parse_labels(row).items()


def _build_metric_label_filter(
    connection: Connection, query: Query
) -> Callable[[Row], bool] | None:
    matches, metrics = _build_label_filter(query), schema.metrics
    if matches is None:
        return None
    statement = select(metrics.c.labels)
    return lambda row: any(
        matches(metric)
        for metric in _fetch_all(connection, statement.where(metrics.c.run == row["id"]))
    )


def _fetch_all(connection: Connection, statement: Select[Any]) -> list[Row]:
    return [row._asdict() for row in connection.execute(statement)]
