"""Trigger states in the ledger, with the long lists that are stored apart from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Table, bindparam

from catcher.model.commit import Commit, TriggerState
from catcher.model.time import Instant
from catcher.stores.ledger.mappers import RowValues, sanitize_text, state_part_to_row, state_to_row
from catcher.stores.ledger.schema import state_parts, trigger_states

Upsert = Callable[[Connection, Table, Sequence[RowValues]], None]

_DELETE_RULE_STATES = [
    table.delete().where(table.c.rule == bindparam("gone"))
    for table in (trigger_states, state_parts)
]
_DELETE_STATE = trigger_states.delete().where(
    trigger_states.c.rule == bindparam("of"), trigger_states.c.key == bindparam("known")
)
_DELETE_STATE_PART = state_parts.delete().where(
    state_parts.c.rule == bindparam("of"),
    state_parts.c.key == bindparam("known"),
    state_parts.c.part == bindparam("named"),
)


def write_trigger_states(
    connection: Connection, commit: Commit, now: Instant, upsert: Upsert
) -> None:
    """Deletes the states of removed rules, then writes; a state without content is deleted."""
    if commit.removed_rules:
        for statement in _DELETE_RULE_STATES:
            connection.execute(
                statement, [{"gone": sanitize_text(rule)} for rule in commit.removed_rules]
            )
    full_states = [state for state in commit.states if not state.part]
    partial_states = [state for state in commit.states if state.part]
    upsert(
        connection,
        trigger_states,
        [state_to_row(state, now) for state in full_states if state.state],
    )
    upsert(
        connection,
        state_parts,
        [state_part_to_row(state, now) for state in partial_states if state.state],
    )
    if deleted_keys := [_state_key_parameters(state) for state in full_states if not state.state]:
        connection.execute(_DELETE_STATE, deleted_keys)
    if deleted_keys := [
        {**_state_key_parameters(state), "named": state.part}
        for state in partial_states
        if not state.state
    ]:
        connection.execute(_DELETE_STATE_PART, deleted_keys)


def _state_key_parameters(state: TriggerState) -> RowValues:
    return {"of": sanitize_text(state.rule), "known": sanitize_text(state.key)}
