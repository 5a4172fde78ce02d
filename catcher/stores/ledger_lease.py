"""The leases of a ledger on a server: one engine works on a portion of it, others stand by.

The lease is a row with an end by the database's clock, so that nobody's own clock matters. Its
`fence` rises whenever another engine takes over. Every writing transaction of an engine begins
with `require`, which holds the row: a take-over waits until such a transaction has ended, and
after it an engine of a smaller fence writes nothing more.

Engines that share a portion have a lease each. What one of them left when its lease ran out is
taken up by another (`adopt`), which first takes the lease away: then it cannot wake up again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
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

from catcher.model.portion import WHOLE, Portion, portion_of
from catcher.model.time import SECOND, Instant
from catcher.ports import Fenced
from catcher.stores import schema
from catcher.stores.documents import clean

LASTING = 3 * SECOND
RENEWED = 1.0
"""Seconds between two renewals of a lease."""
LOOKED_AT = 0.25
"""Seconds between two looks of an engine that stands by."""
_OPENING = 0x0CA7C4E2
"""The advisory lock under which a schema is brought up to date and a lease taken."""

_leases = schema.leases
# No two engines ever have the same fence.
_MINE = _leases.c.fence == bindparam("mine")
_NOW: ColumnElement[int] = literal_column(
    "CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS BIGINT)"
)
_LOOK = select(
    _leases.c.name, _leases.c.holder, _leases.c.fence, _leases.c.address,
    (_leases.c.expires - _NOW).label("left"),
).order_by(_leases.c.fence)  # fmt: skip
_REQUIRE = select(_leases.c.fence).where(_MINE).with_for_update(read=True, key_share=True)
_RENEW = update(_leases).where(_MINE).values(expires=_NOW + LASTING)
_RELEASE = update(_leases).where(_MINE).values(expires=0, holder="", address="")
_ANNOUNCE = update(_leases).where(_MINE).values(address=bindparam("where"))
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


def look(connection: Connection, portion: Portion = WHOLE) -> Holder | None:
    """Who holds a lease now that excludes this portion; None where nobody does."""
    if not inspect(connection).has_table(_leases.name):
        return None
    return next((held for held, _ in _excluding(connection, portion) if held.left > 0), None)


def _excluding(connection: Connection, portion: Portion) -> list[tuple[Holder, str]]:
    """The leases that exclude a portion, run out or not, with their names."""
    return [
        (Holder(row.holder, row.address, row.fence, row.left), row.name)
        for row in connection.execute(_LOOK)
        if portion.excludes(portion_of(row.name))
    ]


def take(
    connection: Connection, holder: str, address: str, begin: Callable[[Connection], int],
    portion: Portion = WHOLE,
) -> int | Holder:  # fmt: skip
    """Takes a free lease and returns its fence; or who holds it.

    `begin` brings the schema up to date and gives a fence that is greater than any before; it
    is called only where the lease is free, and under a lock that two engines cannot share.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _OPENING})
    held = look(connection, portion)
    if held is not None:
        return held
    name = portion.lease(holder)
    if inspect(connection).has_table(_leases.name):
        # Waits for a writing transaction of the engine whose lease has run out.
        gone = [one for _, one in _excluding(connection, portion)]
        over = _leases.c.name.in_([*gone, name])
        connection.execute(select(_leases.c.name).where(over).with_for_update()).all()
        held = look(connection, portion)
        if held is not None:
            return held
        connection.execute(_leases.delete().where(over, _leases.c.name != name))
    fence = begin(connection)
    row = {"name": name, "holder": clean(holder), "fence": fence, "address": clean(address)}
    changes = {name: value for name, value in row.items() if name != "name"}
    made = insert(_leases).values(**row, expires=_NOW + LASTING)
    connection.execute(
        made.on_conflict_do_update(
            index_elements=["name"], set_={**changes, "expires": _NOW + LASTING}
        )
    )
    return fence


def adopt(
    connection: Connection, portion: Portion, fence: int, rules: Collection[str], first: bool
) -> list[str]:
    """Takes the leases away that engines of a shared portion let run out, and their runs over.

    Returns the ids of the runs, which are pending now and this engine's own. The `first` time
    these are also runs of engines that have had no lease for long.
    """
    ended = [
        row.name
        for row in connection.execute(_LOOK)
        if row.left <= 0 and row.fence != fence and _same(portion_of(row.name), portion)
    ]
    if not ended and not first:
        return []
    # Waits for a writing transaction of an engine that still lives; it may renew meanwhile.
    over = (_leases.c.name.in_(ended), _leases.c.expires <= _NOW, _leases.c.fence != fence)
    connection.execute(select(_leases.c.name).where(*over).with_for_update()).all()
    connection.execute(_leases.delete().where(*over))
    runs, alive = schema.runs, select(_leases.c.fence)
    left = runs.c.state.in_(("pending", "running")), runs.c.fence.not_in(alive)
    mine = update(runs).where(*left, runs.c.rule.in_([clean(one) for one in rules]))
    taken = connection.execute(mine.values(fence=fence, state="pending").returning(runs.c.id))
    return list(taken.scalars())


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


def _same(one: Portion, other: Portion) -> bool:
    return one.shared and other.shared and one.name == other.name


def _fenced(connection: Connection) -> Fenced:
    rows = [row for row in connection.execute(_LOOK) if row.holder]
    who = f"the engine {Holder(rows[-1].holder, rows[-1].address, 0, 0)}" if rows else "another"
    return Fenced(
        f"{who} has taken over this ledger, since this one was not heard of for too long",
        "nothing was lost; start this one again and it stands by",
    )
