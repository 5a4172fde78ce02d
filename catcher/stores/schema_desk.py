"""The ledger's tables of the alert desk: silences, shifts, messages about many alerts.

The audit trail is append only: the database itself refuses to change or delete its rows.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Index, Table, event, text

from catcher.stores.schema_columns import (
    Counter,
    flag_column,
    instant_column,
    key_column,
    maybe_column,
    metadata,
    text_column,
)

silences = Table(
    "silences",
    metadata,
    key_column("id"),
    text_column("who"),
    instant_column("created"),
    instant_column("until"),
    maybe_column("ended"),
    text_column("body"),
    Index(None, "created"),
    Index(None, "ended"),
)
"""What nobody is told of; `ended` is null while one is in force."""

shifts = Table(
    "shifts",
    metadata,
    Column("since", Counter, primary_key=True, autoincrement=False),
    key_column("who"),
    text_column("body"),
)
"""Who is on shift since when; the latest is the one that goes on."""

bundles = Table(
    "bundles",
    metadata,
    key_column("id"),
    text_column("kind"),
    instant_column("opened"),
    flag_column("over"),
    text_column("body"),
    Index(None, "over", "opened"),
)
"""Messages about many alerts, as they were told last."""

audit = Table(
    "audit",
    metadata,
    Column("seq", Counter, primary_key=True, autoincrement=True),
    instant_column("time"),
    text_column("who"),
    text_column("channel"),
    text_column("what"),
    text_column("subject"),
    text_column("detail", "{}"),
    Index(None, "time"),
    Index(None, "subject"),
)
"""Who did what when, from which channel."""

REFUSAL = "the audit trail is append only"
ON_SQLITE = tuple(
    f"CREATE TRIGGER audit_keeps_{deed.lower()} BEFORE {deed} ON audit "
    f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    for deed in ("UPDATE", "DELETE")
)
ON_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$",
    "CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE ON audit "
    "FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()",
    "CREATE TRIGGER audit_keeps_all BEFORE TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()",
)


def _guard(target: Table, connection: Connection, **_: Any) -> None:
    on_sqlite = connection.dialect.name == "sqlite"
    for statement in ON_SQLITE if on_sqlite else ON_POSTGRESQL:
        connection.execute(text(statement))


event.listen(audit, "after_create", _guard)
