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
    _create_stream_tables()
    _create_observations_and_engines()
    _create_firings()
    _create_runs()
    _create_output_tables()
    _create_artifacts()
    _create_alerts()
    _create_notification_tables()


def _key_column(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _autoincrement_column(name: str) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column(name, kind, primary_key=True, autoincrement=True)


def _text_column(name: str, default: str = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)


def _instant_column(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _nullable_instant_column(name: str) -> sa.Column[int | None]:
    return sa.Column(name, sa.BigInteger, nullable=True)


def _boolean_column(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


def _integer_column(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))


def _create_index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _create_stream_tables() -> None:
    op.create_table(
        "inbox",
        _autoincrement_column("seq"),
        _text_column("source"),
        _text_column("topic"),
        _instant_column("time"),
        _text_column("digest"),
        _text_column("fields", "{}"),
        _instant_column("received"),
        _boolean_column("late"),
        _boolean_column("covered"),
        sa.PrimaryKeyConstraint("seq", name="pk_inbox"),
        sa.UniqueConstraint("topic", "time", "digest", name="uq_inbox_topic_time_digest"),
    )
    _create_index("inbox", "covered", "seq")
    op.create_table(
        "positions",
        _key_column("source"),
        _text_column("position"),
        _instant_column("updated"),
        sa.PrimaryKeyConstraint("source", name="pk_positions"),
    )
    op.create_table(
        "trigger_states",
        _key_column("rule"),
        _key_column("key"),
        _text_column("meaning"),
        _text_column("state", "{}"),
        _instant_column("updated"),
        sa.PrimaryKeyConstraint("rule", "key", name="pk_trigger_states"),
    )
    op.create_table(
        "snapshots",
        _autoincrement_column("id"),
        _instant_column("taken"),
        _instant_column("through"),
        _text_column("body", "{}"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
    )


def _create_observations_and_engines() -> None:
    op.create_table(
        "observations",
        _key_column("kind"),
        _key_column("id"),
        _instant_column("start"),
        _instant_column("end"),
        _text_column("image"),
        _text_column("columns", "{}"),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_observations"),
    )
    _create_index("observations", "kind", "start")
    op.create_table(
        "engines",
        _key_column("name"),
        _text_column("id"),
        _instant_column("started"),
        _instant_column("heartbeat"),
        _integer_column("fence"),
        _text_column("address"),
        sa.PrimaryKeyConstraint("name", name="pk_engines"),
    )


def _create_firings() -> None:
    op.create_table(
        "firings",
        _key_column("id"),
        _text_column("rule"),
        _text_column("key"),
        _instant_column("time"),
        _text_column("cause"),
        _text_column("reason"),
        sa.Column("once", sa.Text, nullable=True),
        _boolean_column("manual"),
        _boolean_column("quiet"),
        sa.Column("event", sa.Text, nullable=True),
        _text_column("values", "{}"),
        _instant_column("created"),
        sa.PrimaryKeyConstraint("id", name="pk_firings"),
    )
    _create_index("firings", "rule", "time")
    _create_index("firings", "time")
    op.create_table(
        "once_values",
        _key_column("rule"),
        _key_column("value"),
        _text_column("firing"),
        _instant_column("time"),
        sa.PrimaryKeyConstraint("rule", "value", name="pk_once_values"),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        _key_column("id"),
        sa.Column("firing", sa.Text, nullable=False),
        _text_column("rule"),
        _text_column("key"),
        _instant_column("time"),
        _text_column("job"),
        _text_column("job_digest"),
        _text_column("part"),
        _text_column("parent"),
        _integer_column("attempt"),
        _text_column("state", "pending"),
        _integer_column("priority"),
        _instant_column("created"),
        _nullable_instant_column("not_before"),
        _nullable_instant_column("started"),
        _nullable_instant_column("finished"),
        _nullable_instant_column("deadline"),
        _boolean_column("missed_deadline"),
        _text_column("engine"),
        _integer_column("fence"),
        _nullable_instant_column("heartbeat"),
        _text_column("error"),
        _text_column("traceback"),
        _text_column("note"),
        _text_column("observation"),
        _text_column("columns", "{}"),
        _text_column("inputs", "[]"),
        _nullable_instant_column("gone_after"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.ForeignKeyConstraint(
            ["firing"], ["firings.id"], name="fk_runs_firing", ondelete="CASCADE"
        ),
    )
    _create_index("runs", "firing")
    _create_index("runs", "observation")
    _create_index("runs", "parent")
    _create_index("runs", "rule", "time")
    _create_index("runs", "state", "time")
    _create_index("runs", "time")


def _create_output_tables() -> None:
    op.create_table(
        "metrics",
        sa.Column("run", sa.Text, nullable=False),
        _key_column("name"),
        _text_column("rule"),
        _text_column("key"),
        _instant_column("time"),
        sa.Column("value", sa.Float(53), nullable=True),
        _text_column("unit"),
        _text_column("labels", "{}"),
        _text_column("observation"),
        _text_column("reason"),
        sa.PrimaryKeyConstraint("run", "name", name="pk_metrics"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_metrics_run", ondelete="CASCADE"),
    )
    _create_index("metrics", "name", "time")
    _create_index("metrics", "observation")
    _create_index("metrics", "rule", "name", "time")
    _create_index("metrics", "time")
    op.create_table(
        "fields",
        sa.Column("run", sa.Text, nullable=False),
        _key_column("name"),
        _text_column("rule"),
        _text_column("over"),
        _text_column("unit"),
        _text_column("ids", "[]"),
        sa.Column("values", sa.LargeBinary, nullable=False),
        _instant_column("time"),
        _text_column("observation"),
        sa.PrimaryKeyConstraint("run", "name", name="pk_fields"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_fields_run", ondelete="CASCADE"),
    )
    _create_index("fields", "observation")
    _create_index("fields", "rule", "name", "time")


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        _key_column("key"),
        sa.Column("run", sa.Text, nullable=False),
        _text_column("rule"),
        _text_column("name"),
        _instant_column("time"),
        _text_column("observation"),
        _instant_column("size"),
        _text_column("mime"),
        _text_column("checksum"),
        _text_column("url"),
        _instant_column("created"),
        _nullable_instant_column("gone_after"),
        sa.PrimaryKeyConstraint("key", name="pk_artifacts"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_artifacts_run"),
    )
    _create_index("artifacts", "observation")
    _create_index("artifacts", "rule", "time")
    _create_index("artifacts", "run")
    _create_index("artifacts", "time")


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        _key_column("id"),
        sa.Column("episode", sa.Integer, autoincrement=False, nullable=False),
        _text_column("rule"),
        _text_column("key"),
        _text_column("per"),
        _text_column("name"),
        _text_column("state"),
        _integer_column("severity"),
        _integer_column("max_severity"),
        _instant_column("opened"),
        _instant_column("changed"),
        _nullable_instant_column("resolved"),
        _boolean_column("unknown"),
        _boolean_column("latched"),
        _text_column("owner"),
        _text_column("run"),
        _text_column("labels", "{}"),
        _text_column("body"),
        sa.PrimaryKeyConstraint("id", "episode", name="pk_alerts"),
    )
    _create_index("alerts", "opened")
    _create_index("alerts", "per")
    _create_index("alerts", "rule", "opened")
    _create_index("alerts", "state", "opened")


def _create_notification_tables() -> None:
    op.create_table(
        "notices",
        _autoincrement_column("seq"),
        sa.Column("id", sa.Text, nullable=False),
        _text_column("alert"),
        _integer_column("episode"),
        _text_column("sink"),
        _integer_column("sequence"),
        _text_column("kind"),
        _instant_column("time"),
        _text_column("state", "pending"),
        _integer_column("attempts"),
        _nullable_instant_column("not_before"),
        _text_column("body"),
        _text_column("receipt", "{}"),
        _text_column("error"),
        _instant_column("created"),
        _nullable_instant_column("settled"),
        sa.PrimaryKeyConstraint("seq", name="pk_notices"),
        sa.UniqueConstraint("id", name="uq_notices_id"),
    )
    _create_index("notices", "alert")
    _create_index("notices", "state", "seq")
    op.create_table(
        "receipts",
        _key_column("alert"),
        _key_column("sink"),
        _text_column("receipt", "{}"),
        _instant_column("updated"),
        sa.PrimaryKeyConstraint("alert", "sink", name="pk_receipts"),
    )
    op.create_table(
        "audit",
        _autoincrement_column("seq"),
        _instant_column("time"),
        _text_column("who"),
        _text_column("channel"),
        _text_column("what"),
        _text_column("subject"),
        _text_column("detail", "{}"),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
    )
    _create_index("audit", "subject")
    _create_index("audit", "time")
