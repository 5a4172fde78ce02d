"""The inbox: events of durable sources, stored before they are acknowledged.

A row is written before its event is acknowledged. It is covered once a saved state includes the
event; until then a restart replays it. Covered rows stay for a while, so that what a broker
redelivers after a crash is recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Table, bindparam, func, select, update

from catcher.model.event import Event, ReceivedEvent, compute_digest
from catcher.model.rule_subset import ALL_RULES, RuleSubset
from catcher.model.time import Instant
from catcher.stores.ledger.mappers import RowValues, decode_json, encode_json, sanitize_text
from catcher.stores.ledger.schema import inbox

MAX_REMEMBERED = 100_000
"""How many of the latest rows stay once covered: more than a broker redelivers."""

InsertMissing = Callable[
    [Connection, Table, tuple[str, ...], Sequence[RowValues]], set[tuple[Any, ...]]
]

_IDENTITY = ("digest", "time", "topic")
_IN_SUBSET = inbox.c.portion == bindparam("heard_by")
_MARK_COVERED = update(inbox).where(~inbox.c.covered, _IN_SUBSET).values(covered=True)
_MARK_UNCOVERED: Executable = (
    update(inbox)
    .where(*(inbox.c[name] == bindparam(f"the_{name}") for name in _IDENTITY), _IN_SUBSET)
    .values(covered=False)
)
_SELECT_LAST_SEQ = select(func.max(inbox.c.seq))
_DELETE_COVERED = inbox.delete().where(inbox.c.covered, inbox.c.seq <= bindparam("last"))


def insert_new_events(
    connection: Connection, received_events: Sequence[ReceivedEvent], insert_missing: InsertMissing,
    rule_subset: RuleSubset = ALL_RULES,
) -> list[int]:  # fmt: skip
    """Writes received events; returns the indexes of those that were already there.

    In a shared rule subset no saved state has to include an event: its results are committed with
    it.
    """
    extra = {"portion": rule_subset.name, "covered": rule_subset.shared}
    rows = [_event_to_row(received_event) | extra for received_event in received_events]
    inserted = insert_missing(connection, inbox, _IDENTITY, rows)
    known_indexes = []
    for index, row in enumerate(rows):
        identity = tuple(row[name] for name in _IDENTITY)
        if identity in inserted:
            inserted.remove(identity)
        else:
            known_indexes.append(index)
    return known_indexes


def mark_covered(
    connection: Connection, withheld: Sequence[Event], rule_subset: RuleSubset = ALL_RULES
) -> None:
    """Marks every row of a rule subset as covered, except those of withheld events."""
    if rule_subset.shared:
        return
    parameters = {"heard_by": rule_subset.name}
    connection.execute(_MARK_COVERED, parameters)
    if withheld:
        identities = [_get_event_identity(event) for event in withheld]
        connection.execute(
            _MARK_UNCOVERED,
            [
                {f"the_{name}": value for name, value in identity.items()} | parameters
                for identity in identities
            ],
        )


def build_position_key(source: str, rule_subset: RuleSubset) -> str:
    """Returns the key under which a source's position is stored, separate for each rule subset."""
    return f"{rule_subset.name}/{source}" if rule_subset.name else source


def prune_covered_events(connection: Connection) -> None:
    """Deletes covered rows beyond `MAX_REMEMBERED`."""
    last = connection.execute(_SELECT_LAST_SEQ).scalar()
    if last is not None and last > MAX_REMEMBERED:
        connection.execute(_DELETE_COVERED, {"last": last - MAX_REMEMBERED})


def query_uncovered_events(
    connection: Connection, after: int, limit: int, subset_name: str = ""
) -> list[tuple[int, ReceivedEvent]]:
    """Returns rows that no saved state covers, in order, after a sequence number."""
    statement = (
        select(inbox)
        .where(~inbox.c.covered, inbox.c.seq > after, inbox.c.portion == subset_name)
        .order_by(inbox.c.seq)
        .limit(limit)
    )
    return [(row["seq"], _row_to_event(row)) for row in connection.execute(statement).mappings()]


def query_recent_digests(
    connection: Connection, subset_name: str = ""
) -> tuple[frozenset[str], Instant]:
    """Returns the digests of the remembered rows and the greatest time among them (0 if none)."""
    statement = (
        select(inbox.c.digest, inbox.c.time)
        .where(inbox.c.portion == subset_name)
        .order_by(inbox.c.seq.desc())
        .limit(MAX_REMEMBERED)
    )
    rows = connection.execute(statement).all()
    return frozenset(row[0] for row in rows), max((row[1] for row in rows), default=0)


def _get_event_identity(event: Event) -> RowValues:
    return {
        "digest": compute_digest(event),
        "time": event.time,
        "topic": sanitize_text(event.topic),
    }


def _event_to_row(received_event: ReceivedEvent) -> RowValues:
    event = received_event.event
    return {
        **_get_event_identity(event),
        "source": sanitize_text(event.source),
        "fields": encode_json(event.fields),
        "received": received_event.received,
    }


def _row_to_event(row: Any) -> ReceivedEvent:
    event = Event(row["topic"], row["time"], decode_json(row["fields"]), row["source"])
    return ReceivedEvent(event, row["received"])
