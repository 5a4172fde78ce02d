"""The ledger's tables of who works on it: engines, their lease, and what they owe others."""

from __future__ import annotations

from sqlalchemy import Column, Table, UniqueConstraint

from catcher.stores.schema_columns import (
    Counter,
    instant_column,
    key_column,
    metadata,
    number_column,
    text_column,
)

engines = Table(
    "engines",
    metadata,
    key_column("name"),
    text_column("id"),
    instant_column("started"),
    instant_column("heartbeat"),
    number_column("fence"),
    text_column("address"),
)
"""Who works on this ledger. A greater `fence` took over from every smaller one."""

commits = Table(
    "commits",
    metadata,
    key_column("engine"),
    text_column("token"),
    text_column("left_out", "[]"),
    instant_column("written"),
)
"""Each engine's last commit, with the ids that it left out as known, so that one whose answer
was lost on the way is recognised when it is tried again."""

exports = Table(
    "exports",
    metadata,
    Column("seq", Counter, primary_key=True, autoincrement=True),
    text_column("run"),
    instant_column("created"),
    UniqueConstraint("run"),
)
"""Finished runs whose metrics a metric store has yet to take, in their order."""

leases = Table(
    "leases",
    metadata,
    key_column("name"),
    text_column("holder"),
    number_column("fence"),
    instant_column("expires"),
    text_column("address"),
)
"""Who may work on a ledger that several engines can reach, until when by the database's clock."""
