"""The ledger's tables: SQLAlchemy Core, the same for SQLite and PostgreSQL.

Every time is a BIGINT of nanoseconds UTC, every JSON document a text. Columns that only
standby engines, retention or a snapshot of the triggers use are here from the first version,
so that a later one need not rewrite what a site has kept. A change here needs a migration in
`migrations/versions`, and `VERSION` moved on to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

VERSION = "0001"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_Counter = BigInteger().with_variant(Integer, "sqlite")


def _text(name: str, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _instant(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _maybe(name: str) -> Column[int | None]:
    return Column(name, BigInteger, nullable=True)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def _number(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


inbox = Table(
    "inbox",
    metadata,
    Column("seq", _Counter, primary_key=True, autoincrement=True),
    _text("source"),
    _text("topic"),
    _instant("time"),
    _text("digest"),
    _text("fields", "{}"),
    _instant("received"),
    _flag("late"),
    _flag("covered"),
    UniqueConstraint("topic", "time", "digest"),
    Index(None, "covered", "seq"),
)
"""Events of durable sources, from before their acknowledgement until a snapshot covers them."""

positions = Table("positions", metadata, _key("source"), _text("position"), _instant("updated"))

trigger_states = Table(
    "trigger_states",
    metadata,
    _key("rule"),
    _key("key"),
    _text("meaning"),
    _text("state", "{}"),
    _instant("updated"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", _Counter, primary_key=True, autoincrement=True),
    _instant("taken"),
    Column("through", BigInteger, nullable=False),
    _text("body", "{}"),
)
"""States of all triggers at once; `through` is the last inbox row that one covers."""

firings = Table(
    "firings",
    metadata,
    _key("id"),
    _text("rule"),
    _text("key"),
    _instant("time"),
    _text("cause"),
    _text("reason"),
    Column("once", Text, nullable=True),
    _flag("manual"),
    _flag("quiet"),
    Column("event", Text, nullable=True),
    _text("values", "{}"),
    _instant("created"),
    Index(None, "time"),
    Index(None, "rule", "time"),
)

once_values = Table(
    "once_values", metadata, _key("rule"), _key("value"), _text("firing"), _instant("time")
)
"""The values of `once_per` that had their run: they outlive the firings."""

runs = Table(
    "runs",
    metadata,
    _key("id"),
    Column("firing", Text, ForeignKey("firings.id", ondelete="CASCADE"), nullable=False),
    _text("rule"),
    _text("key"),
    _instant("time"),
    _text("job"),
    _text("job_digest"),
    _text("part"),
    _text("parent"),
    _number("attempt"),
    _text("state", "pending"),
    _number("priority"),
    _instant("created"),
    _maybe("not_before"),
    _maybe("started"),
    _maybe("finished"),
    _maybe("deadline"),
    _flag("missed_deadline"),
    _text("engine"),
    _number("fence"),
    _maybe("heartbeat"),
    _text("error"),
    _text("traceback"),
    _text("note"),
    _text("observation"),
    _text("columns", "{}"),
    _text("inputs", "[]"),
    _maybe("gone_after"),
    Index(None, "time"),
    Index(None, "rule", "time"),
    Index(None, "state", "time"),
    Index(None, "observation"),
    Index(None, "firing"),
    Index(None, "parent"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("run", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    _key("name"),
    _text("rule"),
    _text("key"),
    _instant("time"),
    Column("value", Float(53), nullable=True),
    _text("unit"),
    _text("labels", "{}"),
    _text("observation"),
    _text("reason"),
    Index(None, "time"),
    Index(None, "name", "time"),
    Index(None, "rule", "name", "time"),
    Index(None, "observation"),
)

fields = Table(
    "fields",
    metadata,
    Column("run", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    _key("name"),
    _text("rule"),
    _text("over"),
    _text("unit"),
    _text("ids", "[]"),
    Column("values", LargeBinary, nullable=False),
    _instant("time"),
    _text("observation"),
    Index(None, "rule", "name", "time"),
    Index(None, "observation"),
)
"""`values` are float64, little endian, as many as there are ids."""

artifacts = Table(
    "artifacts",
    metadata,
    _key("key"),
    Column("run", Text, ForeignKey("runs.id"), nullable=False),
    _text("rule"),
    _text("name"),
    _instant("time"),
    _text("observation"),
    Column("size", BigInteger, nullable=False),
    _text("mime"),
    _text("checksum"),
    _text("url"),
    _instant("created"),
    _maybe("gone_after"),
    Index(None, "run"),
    Index(None, "time"),
    Index(None, "rule", "time"),
    Index(None, "observation"),
)
"""A run is not deleted before its artifacts are: a file without an index entry is an orphan."""

alerts = Table(
    "alerts",
    metadata,
    _key("id"),
    Column("episode", Integer, primary_key=True, autoincrement=False),
    _text("rule"),
    _text("key"),
    _text("per"),
    _text("name"),
    _text("state"),
    _number("severity"),
    _number("max_severity"),
    _instant("opened"),
    _instant("changed"),
    _maybe("resolved"),
    _flag("unknown"),
    _flag("latched"),
    _text("owner"),
    _text("run"),
    _text("labels", "{}"),
    _text("body"),
    Index(None, "opened"),
    Index(None, "rule", "opened"),
    Index(None, "state", "opened"),
    Index(None, "per"),
)

notices = Table(
    "notices",
    metadata,
    Column("seq", _Counter, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    _text("alert"),
    _number("episode"),
    _text("sink"),
    _number("sequence"),
    _text("kind"),
    _instant("time"),
    _text("state", "pending"),
    _number("attempts"),
    _maybe("not_before"),
    _text("body"),
    _text("receipt", "{}"),
    _text("error"),
    _instant("created"),
    _maybe("settled"),
    Index(None, "state", "seq"),
    Index(None, "alert"),
)
"""The outbox. `state` is pending, delivered or dead; `seq` is the order of writing."""

receipts = Table(
    "receipts", metadata, _key("alert"), _key("sink"), _text("receipt", "{}"), _instant("updated")
)
"""What a sink answered last about an alert; the next notice of it carries this along."""

audit = Table(
    "audit",
    metadata,
    Column("seq", _Counter, primary_key=True, autoincrement=True),
    _instant("time"),
    _text("who"),
    _text("channel"),
    _text("what"),
    _text("subject"),
    _text("detail", "{}"),
    Index(None, "time"),
    Index(None, "subject"),
)

observations = Table(
    "observations",
    metadata,
    _key("kind"),
    _key("id"),
    _instant("start"),
    _instant("end"),
    _text("image"),
    _text("columns", "{}"),
    Index(None, "kind", "start"),
)

engines = Table(
    "engines",
    metadata,
    _key("name"),
    _text("id"),
    _instant("started"),
    _instant("heartbeat"),
    _number("fence"),
    _text("address"),
)
"""Who works on this ledger. A greater `fence` took over from every smaller one."""
