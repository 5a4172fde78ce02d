"""The inbox: events of durable sources, from before their acknowledgement.

A row is written before its event is acknowledged. It is covered once a saved state knows of the
event; until then a restart takes it up again. Covered rows stay for a while, so that what a
broker brings again after a crash is recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Table, bindparam, func, select, update

from catcher.model.event import Arrived, Event, digest
from catcher.model.portion import WHOLE, Portion
from catcher.model.time import Instant
from catcher.stores.documents import clean, document, read_document
from catcher.stores.ledger_rows import Cells
from catcher.stores.schema import inbox

REMEMBERED = 100_000
"""How many of the latest rows stay when they are covered: more than a broker brings again."""

InsertAbsent = Callable[[Connection, Table, tuple[str, ...], Sequence[Cells]], set[tuple[Any, ...]]]

_IDENTITY = ("digest", "time", "topic")
_HEARD = inbox.c.portion == bindparam("heard_by")
_COVER = update(inbox).where(~inbox.c.covered, _HEARD).values(covered=True)
_HOLD: Executable = (
    update(inbox)
    .where(*(inbox.c[name] == bindparam(f"the_{name}") for name in _IDENTITY), _HEARD)
    .values(covered=False)
)
_LAST = select(func.max(inbox.c.seq))
_PRUNE = inbox.delete().where(inbox.c.covered, inbox.c.seq <= bindparam("last"))


def write(
    connection: Connection, arrivals: Sequence[Arrived], insert_absent: InsertAbsent,
    portion: Portion = WHOLE,
) -> list[int]:  # fmt: skip
    """Writes events that came; returns the places of those that were there before.

    In a shared portion no state has to know of an event: what it led to is kept with it.
    """
    more = {"portion": portion.name, "covered": portion.shared}
    rows = [_row(one) | more for one in arrivals]
    new = insert_absent(connection, inbox, _IDENTITY, rows)
    known = []
    for place, row in enumerate(rows):
        identity = tuple(row[name] for name in _IDENTITY)
        if identity in new:
            new.remove(identity)
        else:
            known.append(place)
    return known


def cover(connection: Connection, held: Sequence[Event], portion: Portion = WHOLE) -> None:
    """Every row of a portion is covered now, but for those of events that are held back."""
    if portion.shared:
        return
    heard = {"heard_by": portion.name}
    connection.execute(_COVER, heard)
    if held:
        places = [_identity(event) for event in held]
        connection.execute(
            _HOLD,
            [{f"the_{name}": value for name, value in one.items()} | heard for one in places],
        )


def source_key(source: str, portion: Portion) -> str:
    """Under which name the place of a source is kept, each portion's apart."""
    return f"{portion.name}/{source}" if portion.name else source


def prune(connection: Connection) -> None:
    """Forgets covered rows beyond those that are remembered."""
    last = connection.execute(_LAST).scalar()
    if last is not None and last > REMEMBERED:
        connection.execute(_PRUNE, {"last": last - REMEMBERED})


def uncovered(
    connection: Connection, after: int, limit: int, portion: str = ""
) -> list[tuple[int, Arrived]]:
    """Rows that no saved state covers, in their order, from beyond a place."""
    wanted = (
        select(inbox)
        .where(~inbox.c.covered, inbox.c.seq > after, inbox.c.portion == portion)
        .order_by(inbox.c.seq)
        .limit(limit)
    )
    return [(row["seq"], _arrived(row)) for row in connection.execute(wanted).mappings()]


def marks(connection: Connection, portion: str = "") -> tuple[frozenset[str], Instant]:
    """The digests of the remembered rows, and the greatest time among them (0 without any)."""
    wanted = (
        select(inbox.c.digest, inbox.c.time)
        .where(inbox.c.portion == portion)
        .order_by(inbox.c.seq.desc())
        .limit(REMEMBERED)
    )
    rows = connection.execute(wanted).all()
    return frozenset(row[0] for row in rows), max((row[1] for row in rows), default=0)


def _identity(event: Event) -> Cells:
    return {"digest": digest(event), "time": event.time, "topic": clean(event.topic)}


def _row(arrived: Arrived) -> Cells:
    event = arrived.event
    return {
        **_identity(event),
        "source": clean(event.source),
        "fields": document(event.fields),
        "received": arrived.received,
    }


def _arrived(row: Any) -> Arrived:
    event = Event(row["topic"], row["time"], read_document(row["fields"]), row["source"])
    return Arrived(event, row["received"])
