"""The ledger's tables: SQLAlchemy Core, the same for SQLite and PostgreSQL.

Every time is a BIGINT of nanoseconds UTC, every JSON document a text. Columns that only standby
engines, retention or a snapshot of the triggers use have existed since the first version, so that a
later one need not rewrite the stored data of a site. A change here needs a migration in
`migrations/versions`, and `VERSION` set to it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    false,
    text,
)

# Column helpers, and the metadata of all tables.


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
SequenceNumber = BigInteger().with_variant(Integer, "sqlite")


def text_column(name: str, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def instant_column(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def nullable_instant_column(name: str) -> Column[int | None]:
    return Column(name, BigInteger, nullable=True)


def boolean_column(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def integer_column(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def key_column(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


# Tables about engines: the engines themselves, commit tokens, exports and leases.


engines = Table(
    "engines",
    metadata,
    key_column("name"),
    text_column("id"),
    instant_column("started"),
    instant_column("heartbeat"),
    integer_column("fence"),
    text_column("address"),
)
"""The engines of this ledger. A greater `fence` (fencing token) took over from smaller ones."""

commits = Table(
    "commits",
    metadata,
    key_column("engine"),
    text_column("token"),
    text_column("left_out", "[]"),
    instant_column("written"),
)
"""Each engine's last commit, with the indexes of the items it omitted as already known, so that a
retry after a lost answer is recognised.
"""

exports = Table(
    "exports",
    metadata,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    text_column("run"),
    instant_column("created"),
    UniqueConstraint("run"),
)
"""Finished runs whose metrics are not yet in the metric store, in order."""

leases = Table(
    "leases",
    metadata,
    key_column("name"),
    text_column("holder"),
    integer_column("fence"),
    instant_column("expires"),
    text_column("address"),
)
"""Leases of engines on a shared database; they expire by the database's clock."""


# Tables of alert operations: silences, shifts, notification groups, the audit trail.


silences = Table(
    "silences",
    metadata,
    key_column("id"),
    text_column("who"),
    instant_column("created"),
    instant_column("until"),
    nullable_instant_column("ended"),
    text_column("body"),
    Index(None, "created"),
    Index(None, "ended"),
)
"""Silences; `ended` is null while one is in force."""

shifts = Table(
    "shifts",
    metadata,
    Column("since", SequenceNumber, primary_key=True, autoincrement=False),
    key_column("who"),
    text_column("body"),
)
"""Who is on shift since when; the latest is the current one."""

bundles = Table(
    "bundles",
    metadata,
    key_column("id"),
    text_column("kind"),
    instant_column("opened"),
    boolean_column("over"),
    text_column("body"),
    Index(None, "over", "opened"),
)
"""Notification groups, as they were last sent."""

audit = Table(
    "audit",
    metadata,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
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

APPEND_ONLY_MESSAGE = "the audit trail is append only"
SQLITE_AUDIT_TRIGGERS = tuple(
    f"CREATE TRIGGER audit_keeps_{deed.lower()} BEFORE {deed} ON audit "
    f"BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY_MESSAGE}'); END"
    for deed in ("UPDATE", "DELETE")
)
POSTGRES_AUDIT_TRIGGERS = (
    "CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{APPEND_ONLY_MESSAGE}'; END $$",
    "CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE ON audit "
    "FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()",
    "CREATE TRIGGER audit_keeps_all BEFORE TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()",
)


def _create_audit_triggers(target: Table, connection: Connection, **_: Any) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    for statement in SQLITE_AUDIT_TRIGGERS if is_sqlite else POSTGRES_AUDIT_TRIGGERS:
        connection.execute(text(statement))


event.listen(audit, "after_create", _create_audit_triggers)


VERSION = "0006"

inbox = Table(
    "inbox",
    metadata,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    text_column("source"),
    text_column("topic"),
    instant_column("time"),
    text_column("digest"),
    text_column("fields", "{}"),
    instant_column("received"),
    boolean_column("late"),
    boolean_column("covered"),
    text_column("portion"),
    UniqueConstraint("topic", "time", "digest", "portion"),
    Index(None, "covered", "seq"),
)
"""Events of durable sources, stored before they are acknowledged, until a snapshot covers them.

`portion` is the rule subset of the engine that received them, if a site is split between several.
"""

positions = Table(
    "positions", metadata, key_column("source"), text_column("position"), instant_column("updated")
)

trigger_states = Table(
    "trigger_states",
    metadata,
    key_column("rule"),
    key_column("key"),
    text_column("meaning"),
    text_column("state", "{}"),
    instant_column("updated"),
)

state_parts = Table(
    "state_parts",
    metadata,
    key_column("rule"),
    key_column("key"),
    key_column("part"),
    text_column("meaning"),
    text_column("state", "{}"),
    instant_column("updated"),
)
"""Long lists of a trigger's state, stored apart so that `trigger_states` only holds their changes.
"""

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", SequenceNumber, primary_key=True, autoincrement=True),
    instant_column("taken"),
    Column("through", BigInteger, nullable=False),
    text_column("body", "{}"),
)
"""Snapshots of the states of all triggers; `through` is the last inbox row that one covers."""

firings = Table(
    "firings",
    metadata,
    key_column("id"),
    text_column("rule"),
    text_column("key"),
    instant_column("time"),
    text_column("cause"),
    text_column("reason"),
    Column("once", Text, nullable=True),
    boolean_column("manual"),
    boolean_column("quiet"),
    Column("event", Text, nullable=True),
    text_column("values", "{}"),
    instant_column("created"),
    Index(None, "time"),
    Index(None, "rule", "time"),
    Index(None, "created"),
)

once_values = Table(
    "once_values",
    metadata,
    key_column("rule"),
    key_column("value"),
    text_column("firing"),
    instant_column("time"),
)
"""The values of `once_per` that already had a run: they outlive the firings."""

runs = Table(
    "runs",
    metadata,
    key_column("id"),
    Column("firing", Text, ForeignKey("firings.id", ondelete="CASCADE"), nullable=False),
    text_column("rule"),
    text_column("key"),
    instant_column("time"),
    text_column("job"),
    text_column("job_digest"),
    text_column("part"),
    text_column("parent"),
    integer_column("attempt"),
    text_column("state", "pending"),
    integer_column("priority"),
    instant_column("created"),
    nullable_instant_column("not_before"),
    nullable_instant_column("started"),
    nullable_instant_column("finished"),
    nullable_instant_column("deadline"),
    boolean_column("missed_deadline"),
    text_column("engine"),
    integer_column("fence"),
    nullable_instant_column("heartbeat"),
    text_column("error"),
    text_column("traceback"),
    text_column("note"),
    text_column("observation"),
    text_column("columns", "{}"),
    text_column("inputs", "[]"),
    nullable_instant_column("gone_after"),
    Index(None, "time"),
    Index(None, "rule", "time"),
    Index(None, "state", "time"),
    Index(None, "observation"),
    Index(None, "firing"),
    Index(None, "parent"),
    Index(None, "finished"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("run", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    key_column("name"),
    text_column("rule"),
    text_column("key"),
    instant_column("time"),
    Column("value", Float(53), nullable=True),
    text_column("unit"),
    text_column("labels", "{}"),
    text_column("observation"),
    text_column("reason"),
    Index(None, "time"),
    Index(None, "name", "time"),
    Index(None, "rule", "name", "time"),
    Index(None, "observation"),
)

fields = Table(
    "fields",
    metadata,
    Column("run", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    key_column("name"),
    text_column("rule"),
    text_column("over"),
    text_column("unit"),
    text_column("ids", "[]"),
    Column("values", LargeBinary, nullable=False),
    instant_column("time"),
    text_column("observation"),
    Index(None, "rule", "name", "time"),
    Index(None, "observation"),
)
"""`values` are float64, little endian, one per id."""

artifacts = Table(
    "artifacts",
    metadata,
    key_column("key"),
    Column("run", Text, ForeignKey("runs.id"), nullable=False),
    text_column("rule"),
    text_column("name"),
    instant_column("time"),
    text_column("observation"),
    Column("size", BigInteger, nullable=False),
    text_column("mime"),
    text_column("checksum"),
    text_column("url"),
    instant_column("created"),
    nullable_instant_column("gone_after"),
    Index(None, "run"),
    Index(None, "time"),
    Index(None, "rule", "time"),
    Index(None, "observation"),
)
"""A run cannot be deleted before its artifacts: a file without an index entry is an orphan."""

alerts = Table(
    "alerts",
    metadata,
    key_column("id"),
    Column("episode", Integer, primary_key=True, autoincrement=False),
    text_column("rule"),
    text_column("key"),
    text_column("per"),
    text_column("name"),
    text_column("state"),
    integer_column("severity"),
    integer_column("max_severity"),
    instant_column("opened"),
    instant_column("changed"),
    nullable_instant_column("resolved"),
    boolean_column("unknown"),
    boolean_column("latched"),
    text_column("owner"),
    text_column("run"),
    text_column("labels", "{}"),
    text_column("body"),
    Index(None, "opened"),
    Index(None, "rule", "opened"),
    Index(None, "state", "opened"),
    Index(None, "per"),
)

notices = Table(
    "notices",
    metadata,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    text_column("alert"),
    integer_column("episode"),
    text_column("sink"),
    integer_column("sequence"),
    text_column("kind"),
    instant_column("time"),
    text_column("state", "pending"),
    integer_column("attempts"),
    nullable_instant_column("not_before"),
    text_column("body"),
    text_column("receipt", "{}"),
    text_column("error"),
    instant_column("created"),
    nullable_instant_column("settled"),
    Index(None, "state", "seq"),
    Index(None, "alert"),
)
"""The outbox. `state` is pending, delivered or dead; `seq` is the write order."""

receipts = Table(
    "receipts",
    metadata,
    key_column("alert"),
    key_column("sink"),
    text_column("receipt", "{}"),
    instant_column("updated"),
)
"""A sink's last receipt for an alert; the next notification of the alert carries it."""

observations = Table(
    "observations",
    metadata,
    key_column("kind"),
    key_column("id"),
    instant_column("start"),
    instant_column("end"),
    text_column("image"),
    text_column("columns", "{}"),
    Index(None, "kind", "start"),
)
