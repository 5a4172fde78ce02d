"""The states of triggers in the ledger, with the long lists that are kept apart from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Table, bindparam

from catcher.model.commit import Commit, TriggerState
from catcher.model.time import Instant
from catcher.stores.documents import clean
from catcher.stores.ledger_rows import Cells, part_row, state_row
from catcher.stores.schema import state_parts, trigger_states

Upsert = Callable[[Connection, Table, Sequence[Cells]], None]

_FORGET = [
    table.delete().where(table.c.rule == bindparam("gone"))
    for table in (trigger_states, state_parts)
]
_DROP = trigger_states.delete().where(
    trigger_states.c.rule == bindparam("of"), trigger_states.c.key == bindparam("known")
)
_DROP_PART = state_parts.delete().where(
    state_parts.c.rule == bindparam("of"),
    state_parts.c.key == bindparam("known"),
    state_parts.c.part == bindparam("named"),
)


def write(connection: Connection, commit: Commit, now: Instant, upsert: Upsert) -> None:
    """Forgets the states of rules that are gone, then writes; one without content goes."""
    if commit.forgotten:
        for forget in _FORGET:
            connection.execute(forget, [{"gone": clean(rule)} for rule in commit.forgotten])
    whole = [one for one in commit.states if not one.part]
    parts = [one for one in commit.states if one.part]
    upsert(connection, trigger_states, [state_row(one, now) for one in whole if one.state])
    upsert(connection, state_parts, [part_row(one, now) for one in parts if one.state])
    if gone := [_place(one) for one in whole if not one.state]:
        connection.execute(_DROP, gone)
    if gone := [{**_place(one), "named": one.part} for one in parts if not one.state]:
        connection.execute(_DROP_PART, gone)


def _place(state: TriggerState) -> Cells:
    return {"of": clean(state.rule), "known": clean(state.key)}
