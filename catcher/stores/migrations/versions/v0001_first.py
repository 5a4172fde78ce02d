"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates every table; an empty database becomes a ledger."""
    _create_streams()
    _create_places()
    _create_firings()
    _create_runs()
    _create_results()
    _create_artifacts()
    _create_alerts()
    _create_notices()


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _counter(name: str) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, primary_key=True, autoincrement=True)


def _text(name: str, default: str = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)


def _instant(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _maybe(name: str) -> sa.Column[int | None]:
    return sa.Column(name, sa.BigInteger, nullable=True)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _create_streams() -> None:
    op.create_table(
        "inbox",
        _counter("seq"),
        _text("source"),
        _text("topic"),
        _instant("time"),
        _text("digest"),
        _text("fields", "{}"),
        _instant("received"),
        _flag("late"),
        _flag("covered"),
        sa.PrimaryKeyConstraint("seq", name="pk_inbox"),
        sa.UniqueConstraint("topic", "time", "digest", name="uq_inbox_topic_time_digest"),
    )
    _index("inbox", "covered", "seq")
    op.create_table(
        "positions",
        _key("source"),
        _text("position"),
        _instant("updated"),
        sa.PrimaryKeyConstraint("source", name="pk_positions"),
    )
    op.create_table(
        "trigger_states",
        _key("rule"),
        _key("key"),
        _text("meaning"),
        _text("state", "{}"),
        _instant("updated"),
        sa.PrimaryKeyConstraint("rule", "key", name="pk_trigger_states"),
    )
    op.create_table(
        "snapshots",
        _counter("id"),
        _instant("taken"),
        _instant("through"),
        _text("body", "{}"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
    )


def _create_places() -> None:
    op.create_table(
        "observations",
        _key("kind"),
        _key("id"),
        _instant("start"),
        _instant("end"),
        _text("image"),
        _text("columns", "{}"),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_observations"),
    )
    _index("observations", "kind", "start")
    op.create_table(
        "engines",
        _key("name"),
        _text("id"),
        _instant("started"),
        _instant("heartbeat"),
        _number("fence"),
        _text("address"),
        sa.PrimaryKeyConstraint("name", name="pk_engines"),
    )


def _create_firings() -> None:
    op.create_table(
        "firings",
        _key("id"),
        _text("rule"),
        _text("key"),
        _instant("time"),
        _text("cause"),
        _text("reason"),
        sa.Column("once", sa.Text, nullable=True),
        _flag("manual"),
        _flag("quiet"),
        sa.Column("event", sa.Text, nullable=True),
        _text("values", "{}"),
        _instant("created"),
        sa.PrimaryKeyConstraint("id", name="pk_firings"),
    )
    _index("firings", "rule", "time")
    _index("firings", "time")
    op.create_table(
        "once_values",
        _key("rule"),
        _key("value"),
        _text("firing"),
        _instant("time"),
        sa.PrimaryKeyConstraint("rule", "value", name="pk_once_values"),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        _key("id"),
        sa.Column("firing", sa.Text, nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.ForeignKeyConstraint(
            ["firing"], ["firings.id"], name="fk_runs_firing", ondelete="CASCADE"
        ),
    )
    _index("runs", "firing")
    _index("runs", "observation")
    _index("runs", "parent")
    _index("runs", "rule", "time")
    _index("runs", "state", "time")
    _index("runs", "time")


def _create_results() -> None:
    op.create_table(
        "metrics",
        sa.Column("run", sa.Text, nullable=False),
        _key("name"),
        _text("rule"),
        _text("key"),
        _instant("time"),
        sa.Column("value", sa.Float(53), nullable=True),
        _text("unit"),
        _text("labels", "{}"),
        _text("observation"),
        _text("reason"),
        sa.PrimaryKeyConstraint("run", "name", name="pk_metrics"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_metrics_run", ondelete="CASCADE"),
    )
    _index("metrics", "name", "time")
    _index("metrics", "observation")
    _index("metrics", "rule", "name", "time")
    _index("metrics", "time")
    op.create_table(
        "fields",
        sa.Column("run", sa.Text, nullable=False),
        _key("name"),
        _text("rule"),
        _text("over"),
        _text("unit"),
        _text("ids", "[]"),
        sa.Column("values", sa.LargeBinary, nullable=False),
        _instant("time"),
        _text("observation"),
        sa.PrimaryKeyConstraint("run", "name", name="pk_fields"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_fields_run", ondelete="CASCADE"),
    )
    _index("fields", "observation")
    _index("fields", "rule", "name", "time")


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        _key("key"),
        sa.Column("run", sa.Text, nullable=False),
        _text("rule"),
        _text("name"),
        _instant("time"),
        _text("observation"),
        _instant("size"),
        _text("mime"),
        _text("checksum"),
        _text("url"),
        _instant("created"),
        _maybe("gone_after"),
        sa.PrimaryKeyConstraint("key", name="pk_artifacts"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_artifacts_run"),
    )
    _index("artifacts", "observation")
    _index("artifacts", "rule", "time")
    _index("artifacts", "run")
    _index("artifacts", "time")


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        _key("id"),
        sa.Column("episode", sa.Integer, autoincrement=False, nullable=False),
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
        sa.PrimaryKeyConstraint("id", "episode", name="pk_alerts"),
    )
    _index("alerts", "opened")
    _index("alerts", "per")
    _index("alerts", "rule", "opened")
    _index("alerts", "state", "opened")


def _create_notices() -> None:
    op.create_table(
        "notices",
        _counter("seq"),
        sa.Column("id", sa.Text, nullable=False),
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
        sa.PrimaryKeyConstraint("seq", name="pk_notices"),
        sa.UniqueConstraint("id", name="uq_notices_id"),
    )
    _index("notices", "alert")
    _index("notices", "state", "seq")
    op.create_table(
        "receipts",
        _key("alert"),
        _key("sink"),
        _text("receipt", "{}"),
        _instant("updated"),
        sa.PrimaryKeyConstraint("alert", "sink", name="pk_receipts"),
    )
    op.create_table(
        "audit",
        _counter("seq"),
        _instant("time"),
        _text("who"),
        _text("channel"),
        _text("what"),
        _text("subject"),
        _text("detail", "{}"),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
    )
    _index("audit", "subject")
    _index("audit", "time")
