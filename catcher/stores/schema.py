"""The ledger's tables: SQLAlchemy Core, the same for SQLite and PostgreSQL.

Every time is a BIGINT of nanoseconds UTC, every JSON document a text. Columns that only
standby engines, retention or a snapshot of the triggers use are here from the first version,
so that a later one need not rewrite what a site has kept. A change here needs a migration in
`migrations/versions`, and `VERSION` moved on to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from catcher.stores.schema_columns import (
    Counter,
    flag_column,
    instant_column,
    key_column,
    maybe_column,
    metadata,
    number_column,
    text_column,
)
from catcher.stores.schema_desk import audit as audit
from catcher.stores.schema_turns import commits as commits
from catcher.stores.schema_turns import engines as engines
from catcher.stores.schema_turns import exports as exports
from catcher.stores.schema_turns import leases as leases

VERSION = "0006"

inbox = Table(
    "inbox",
    metadata,
    Column("seq", Counter, primary_key=True, autoincrement=True),
    text_column("source"),
    text_column("topic"),
    instant_column("time"),
    text_column("digest"),
    text_column("fields", "{}"),
    instant_column("received"),
    flag_column("late"),
    flag_column("covered"),
    text_column("portion"),
    UniqueConstraint("topic", "time", "digest", "portion"),
    Index(None, "covered", "seq"),
)
"""Events of durable sources, from before their acknowledgement until a snapshot covers them.

`portion` is that of the engine that heard them, where a site is split between several.
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
"""Long lists of a trigger's state, which its row in `trigger_states` says the changes of."""

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", Counter, primary_key=True, autoincrement=True),
    instant_column("taken"),
    Column("through", BigInteger, nullable=False),
    text_column("body", "{}"),
)
"""States of all triggers at once; `through` is the last inbox row that one covers."""

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
    flag_column("manual"),
    flag_column("quiet"),
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
"""The values of `once_per` that had their run: they outlive the firings."""

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
    number_column("attempt"),
    text_column("state", "pending"),
    number_column("priority"),
    instant_column("created"),
    maybe_column("not_before"),
    maybe_column("started"),
    maybe_column("finished"),
    maybe_column("deadline"),
    flag_column("missed_deadline"),
    text_column("engine"),
    number_column("fence"),
    maybe_column("heartbeat"),
    text_column("error"),
    text_column("traceback"),
    text_column("note"),
    text_column("observation"),
    text_column("columns", "{}"),
    text_column("inputs", "[]"),
    maybe_column("gone_after"),
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
"""`values` are float64, little endian, as many as there are ids."""

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
    maybe_column("gone_after"),
    Index(None, "run"),
    Index(None, "time"),
    Index(None, "rule", "time"),
    Index(None, "observation"),
)
"""A run is not deleted before its artifacts are: a file without an index entry is an orphan."""

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
    number_column("severity"),
    number_column("max_severity"),
    instant_column("opened"),
    instant_column("changed"),
    maybe_column("resolved"),
    flag_column("unknown"),
    flag_column("latched"),
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
    Column("seq", Counter, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    text_column("alert"),
    number_column("episode"),
    text_column("sink"),
    number_column("sequence"),
    text_column("kind"),
    instant_column("time"),
    text_column("state", "pending"),
    number_column("attempts"),
    maybe_column("not_before"),
    text_column("body"),
    text_column("receipt", "{}"),
    text_column("error"),
    instant_column("created"),
    maybe_column("settled"),
    Index(None, "state", "seq"),
    Index(None, "alert"),
)
"""The outbox. `state` is pending, delivered or dead; `seq` is the order of writing."""

receipts = Table(
    "receipts",
    metadata,
    key_column("alert"),
    key_column("sink"),
    text_column("receipt", "{}"),
    instant_column("updated"),
)
"""What a sink answered last about an alert; the next notice of it carries this along."""

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
