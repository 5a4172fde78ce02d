"""The lease of a ledger on a server: one engine works on it, others stand by.

The lease is a row with an end by the database's clock, so that nobody's own clock matters. Its
`fence` rises whenever another engine takes over. Every writing transaction of an engine begins
with `require`, which holds the row: a take-over waits until such a transaction has ended, and
after it an engine of a smaller fence writes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    inspect,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from catcher.model.time import SECOND, Instant
from catcher.ports import Fenced
from catcher.stores import schema
from catcher.stores.documents import clean

NAME = "engine"
LASTING = 3 * SECOND
RENEWED = 1.0
"""Seconds between two renewals of a lease."""
LOOKED_AT = 0.25
"""Seconds between two looks of an engine that stands by."""
_OPENING = 0x0CA7C4E2
"""The advisory lock under which a schema is brought up to date and a lease taken."""

_leases = schema.leases
_MINE = (_leases.c.name == NAME, _leases.c.fence == bindparam("mine"))
_NOW: ColumnElement[int] = literal_column(
    "CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS BIGINT)"
)
_LOOK = select(
    _leases.c.holder, _leases.c.fence, _leases.c.address, (_leases.c.expires - _NOW).label("left")
).where(_leases.c.name == NAME)
_REQUIRE = select(_leases.c.fence).where(*_MINE).with_for_update(read=True, key_share=True)
_RENEW = update(_leases).where(*_MINE).values(expires=_NOW + LASTING)
_RELEASE = update(_leases).where(*_MINE).values(expires=0, holder="", address="")
_ANNOUNCE = update(_leases).where(*_MINE).values(address=bindparam("where"))
_RUNNING = (
    select(schema.runs.c.id)
    .where(
        schema.runs.c.state == "running",
        schema.runs.c.engine == bindparam("who"),
        schema.runs.c.fence == bindparam("mine"),
    )
    .with_for_update(skip_locked=True)
)
"""What is about to be written as finished need not be seen alive, nor be waited for."""
_BEAT = update(schema.runs).where(schema.runs.c.id.in_(_RUNNING)).values(heartbeat=bindparam("now"))
_BEAT_ENGINE = (
    update(schema.engines)
    .where(schema.engines.c.name == bindparam("who"))
    .values(heartbeat=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease: an engine's name, where it answers, and for how much longer (ns)."""

    name: str
    address: str
    fence: int
    left: int

    def __str__(self) -> str:
        return f"{self.name} at {self.address}" if self.address else self.name


def look(connection: Connection) -> Holder | None:
    """Who holds the lease now; None where nobody does, or no ledger has been made yet."""
    if not inspect(connection).has_table(_leases.name):
        return None
    row = connection.execute(_LOOK).first()
    if row is None or row.left <= 0:
        return None
    return Holder(row.holder, row.address, row.fence, row.left)


def take(
    connection: Connection, holder: str, address: str, begin: Callable[[Connection], int]
) -> int | Holder:
    """Takes a free lease and returns its fence; or who holds it.

    `begin` brings the schema up to date and gives a fence that is greater than any before; it
    is called only where the lease is free, and under a lock that two engines cannot share.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _OPENING})
    held = look(connection)
    if held is not None:
        return held
    if inspect(connection).has_table(_leases.name):
        # Waits for a writing transaction of the engine whose lease has run out.
        connection.execute(select(_leases.c.name).with_for_update()).all()
        held = look(connection)
        if held is not None:
            return held
    fence = begin(connection)
    row = {"name": NAME, "holder": clean(holder), "fence": fence, "address": clean(address)}
    changes = {name: value for name, value in row.items() if name != "name"}
    made = insert(_leases).values(**row, expires=_NOW + LASTING)
    connection.execute(
        made.on_conflict_do_update(
            index_elements=["name"], set_={**changes, "expires": _NOW + LASTING}
        )
    )
    return fence


def require(connection: Connection, fence: int) -> None:
    """Fenced where another engine has taken over; else nobody can until the transaction ends."""
    if connection.execute(_REQUIRE, {"mine": fence}).first() is None:
        raise _fenced(connection)


def renew(connection: Connection, fence: int) -> None:
    """The lease lasts on; Fenced where it is another engine's."""
    if connection.execute(_RENEW, {"mine": fence}).rowcount != 1:
        raise _fenced(connection)


def beat(connection: Connection, engine: str, fence: int, now: Instant) -> None:
    """Every running run of an engine, and the engine itself, was alive at `now`."""
    who = {"who": clean(engine), "now": now}
    connection.execute(_BEAT, {**who, "mine": fence})
    connection.execute(_BEAT_ENGINE, who)


def announce(connection: Connection, fence: int, address: str) -> None:
    """Where the engine that holds the lease answers."""
    connection.execute(_ANNOUNCE, {"mine": fence, "where": clean(address)})


def release(connection: Connection, fence: int) -> None:
    """The lease is free at once, for whoever stands by."""
    connection.execute(_RELEASE, {"mine": fence})


def _fenced(connection: Connection) -> Fenced:
    row = connection.execute(_LOOK).first()
    who = f"the engine {Holder(row.holder, row.address, 0, 0)}" if row and row.holder else "another"
    return Fenced(
        f"{who} has taken over this ledger, since this one was not heard of for too long",
        "nothing was lost; start this one again and it stands by",
    )
