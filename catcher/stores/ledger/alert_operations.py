"""Alert operations in the ledger: silences, shifts, notification groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, select, update

from catcher.model.alert import Notification
from catcher.model.alert_operations import NotificationGroup, Shift, Silence
from catcher.model.commit import Commit
from catcher.ports import Query
from catcher.stores.ledger import schema
from catcher.stores.ledger import schema as schema_desk
from catcher.stores.ledger.mappers import (
    RowValues,
    decode_json,
    encode_json,
    row_to_notification,
    sanitize_text,
)

Upsert = Callable[[Connection, Table, Sequence[RowValues]], None]
_silence_decoder = msgspec.json.Decoder(Silence)
_shift_decoder = msgspec.json.Decoder(Shift)
_group_decoder = msgspec.json.Decoder(NotificationGroup)


def write_alert_operations(connection: Connection, commit: Commit, upsert: Upsert) -> None:
    """Writes a commit's alert operations; the last of several states of one object wins."""
    silences = {silence.id: _silence_to_row(silence) for silence in commit.silences}
    upsert(connection, schema_desk.silences, list(silences.values()))
    shifts = {(shift.since, shift.who): _shift_to_row(shift) for shift in commit.shifts}
    upsert(connection, schema_desk.shifts, list(shifts.values()))
    groups = {group.id: _group_to_row(group) for group in commit.groups}
    upsert(connection, schema_desk.bundles, list(groups.values()))


def _silence_to_row(silence: Silence) -> RowValues:
    return {
        "id": silence.id,
        "who": sanitize_text(silence.who),
        "created": silence.created,
        "until": silence.until,
        "ended": silence.ended,
        "body": encode_json(silence),
    }


def _shift_to_row(shift: Shift) -> RowValues:
    return {"since": shift.since, "who": sanitize_text(shift.who), "body": encode_json(shift)}


def _group_to_row(group: NotificationGroup) -> RowValues:
    return {
        "id": group.id,
        "kind": group.kind,
        "opened": group.alert.opened,
        "over": group.is_resolved,
        "body": encode_json(group),
    }


def query_silences(connection: Connection, query: Query) -> list[Silence]:
    """Returns silences by id, who (`name`), state (`active`: in force), overlapping time range."""
    table = schema_desk.silences
    conditions = []
    if query.id:
        conditions.append(table.c.id == sanitize_text(query.id))
    if query.name:
        conditions.append(table.c.who == sanitize_text(query.name))
    if query.state == "active":
        conditions.append(table.c.ended.is_(None))
    if query.start is not None:
        conditions.append(table.c.ended.is_(None) | (table.c.ended >= query.start))
    if query.end is not None:
        conditions.append(table.c.created <= query.end)
    statement = select(table.c.body).where(*conditions).order_by(table.c.created.desc())
    return [
        _silence_decoder.decode(body)
        for body in _fetch_texts(connection, statement.limit(max(query.limit, 0)))
    ]


def query_shifts(connection: Connection, query: Query) -> list[Shift]:
    """Returns shifts by who (`name`) and start time, newest first."""
    table = schema_desk.shifts
    conditions = []
    if query.name:
        conditions.append(table.c.who == sanitize_text(query.name))
    if query.start is not None:
        conditions.append(table.c.since >= query.start)
    if query.end is not None:
        conditions.append(table.c.since <= query.end)
    statement = select(table.c.body).where(*conditions).order_by(table.c.since.desc())
    return [
        _shift_decoder.decode(body)
        for body in _fetch_texts(connection, statement.limit(max(query.limit, 0)))
    ]


def query_groups(connection: Connection, query: Query) -> list[NotificationGroup]:
    """Returns notification groups by id, state (`active`: unresolved) and opening time."""
    table = schema_desk.bundles
    conditions = []
    if query.id:
        conditions.append(table.c.id == sanitize_text(query.id))
    if query.state == "active":
        conditions.append(table.c.over.is_(False))
    if query.start is not None:
        conditions.append(table.c.opened >= query.start)
    if query.end is not None:
        conditions.append(table.c.opened <= query.end)
    statement = select(table.c.body).where(*conditions).order_by(table.c.opened.desc())
    return [
        _group_decoder.decode(body)
        for body in _fetch_texts(connection, statement.limit(max(query.limit, 0)))
    ]


def _fetch_texts(connection: Connection, statement: Any) -> Sequence[str]:
    return connection.execute(statement).scalars().all()


def requeue_dead_letters(connection: Connection, ids: Sequence[str]) -> list[Notification]:
    """Requeues dead letters as if never tried; returns those of these ids that were dead."""
    table = schema.notices
    is_dead = table.c.state == "dead"
    conditions = [is_dead, table.c.id.in_(list(ids))]
    rows = [row._asdict() for row in connection.execute(select(table).where(*conditions))]
    reset_values = {"state": "pending", "attempts": 0, "error": "", "settled": None}
    connection.execute(update(table).where(*conditions).values(**reset_values))
    notifications = [row_to_notification(row, None) for row in rows]
    return [dataclasses.replace(notification, attempts=0) for notification in notifications]


def query_last_receipt(connection: Connection, alert: str, sink: str) -> dict[str, Any]:
    """Returns a sink's last receipt for an alert; empty if there is none."""
    table = schema.receipts
    statement = select(table.c.receipt).where(
        table.c.alert == alert, table.c.sink == sanitize_text(sink)
    )
    text = connection.execute(statement).scalar()
    value = decode_json(text) if text else {}
    return value if isinstance(value, dict) else {}
