"""What the ledger keeps of the alert desk: silences, shifts, messages about many alerts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, select, update

from catcher.model.alert import Notice
from catcher.model.commit import Commit
from catcher.model.desk import Bundle, Shift, Silence
from catcher.ports import Query
from catcher.stores import schema, schema_desk
from catcher.stores.documents import clean, document, read_document
from catcher.stores.ledger_rows import Cells, notice_of

Upsert = Callable[[Connection, Table, Sequence[Cells]], None]
_silence = msgspec.json.Decoder(Silence)
_shift = msgspec.json.Decoder(Shift)
_bundle = msgspec.json.Decoder(Bundle)


def write(connection: Connection, commit: Commit, upsert: Upsert) -> None:
    """Writes what a commit says of the desk; the last of several states of one thing stands."""
    silences = {one.id: _silence_row(one) for one in commit.silences}
    upsert(connection, schema_desk.silences, list(silences.values()))
    shifts = {(one.since, one.who): _shift_row(one) for one in commit.shifts}
    upsert(connection, schema_desk.shifts, list(shifts.values()))
    bundles = {one.id: _bundle_row(one) for one in commit.bundles}
    upsert(connection, schema_desk.bundles, list(bundles.values()))


def _silence_row(silence: Silence) -> Cells:
    return {
        "id": silence.id,
        "who": clean(silence.who),
        "created": silence.created,
        "until": silence.until,
        "ended": silence.ended,
        "body": document(silence),
    }


def _shift_row(shift: Shift) -> Cells:
    return {"since": shift.since, "who": clean(shift.who), "body": document(shift)}


def _bundle_row(bundle: Bundle) -> Cells:
    return {
        "id": bundle.id,
        "kind": bundle.kind,
        "opened": bundle.alert.opened,
        "over": bundle.over,
        "body": document(bundle),
    }


def silences(connection: Connection, query: Query) -> list[Silence]:
    """By id, who (`name`), state (`active`: in force), and a span they reach into."""
    table = schema_desk.silences
    conditions = []
    if query.id:
        conditions.append(table.c.id == clean(query.id))
    if query.name:
        conditions.append(table.c.who == clean(query.name))
    if query.state == "active":
        conditions.append(table.c.ended.is_(None))
    if query.start is not None:
        conditions.append(table.c.ended.is_(None) | (table.c.ended >= query.start))
    if query.end is not None:
        conditions.append(table.c.created <= query.end)
    found = select(table.c.body).where(*conditions).order_by(table.c.created.desc())
    return [_silence.decode(body) for body in _texts(connection, found.limit(max(query.limit, 0)))]


def shifts(connection: Connection, query: Query) -> list[Shift]:
    """Shifts by who (`name`) and when they began, the latest first."""
    table = schema_desk.shifts
    conditions = []
    if query.name:
        conditions.append(table.c.who == clean(query.name))
    if query.start is not None:
        conditions.append(table.c.since >= query.start)
    if query.end is not None:
        conditions.append(table.c.since <= query.end)
    found = select(table.c.body).where(*conditions).order_by(table.c.since.desc())
    return [_shift.decode(body) for body in _texts(connection, found.limit(max(query.limit, 0)))]


def bundles(connection: Connection, query: Query) -> list[Bundle]:
    """Messages about many alerts by id, state (`active`: not over) and when they began."""
    table = schema_desk.bundles
    conditions = []
    if query.id:
        conditions.append(table.c.id == clean(query.id))
    if query.state == "active":
        conditions.append(table.c.over.is_(False))
    if query.start is not None:
        conditions.append(table.c.opened >= query.start)
    if query.end is not None:
        conditions.append(table.c.opened <= query.end)
    found = select(table.c.body).where(*conditions).order_by(table.c.opened.desc())
    return [_bundle.decode(body) for body in _texts(connection, found.limit(max(query.limit, 0)))]


def _texts(connection: Connection, statement: Any) -> Sequence[str]:
    return connection.execute(statement).scalars().all()


def revive(connection: Connection, ids: Sequence[str]) -> list[Notice]:
    """Makes dead letters wait again, as if they had never been tried; those that were dead."""
    table = schema.notices
    dead = table.c.state == "dead"
    conditions = [dead, table.c.id.in_(list(ids))]
    rows = [row._asdict() for row in connection.execute(select(table).where(*conditions))]
    fresh = {"state": "pending", "attempts": 0, "error": "", "settled": None}
    connection.execute(update(table).where(*conditions).values(**fresh))
    notices = [notice_of(row, None) for row in rows]
    return [dataclasses.replace(one, attempts=0) for one in notices]


def receipt(connection: Connection, alert: str, sink: str) -> dict[str, Any]:
    """What a sink answered last about an alert; empty where it answered nothing."""
    table = schema.receipts
    found = select(table.c.receipt).where(table.c.alert == alert, table.c.sink == clean(sink))
    text = connection.execute(found).scalar()
    known = read_document(text) if text else {}
    return known if isinstance(known, dict) else {}
