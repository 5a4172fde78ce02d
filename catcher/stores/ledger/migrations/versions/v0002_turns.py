"""Tokens for retrying commits, metrics to export, and the lease of a standby pair.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the three tables; existing ones do not change."""
    op.create_table(
        "commits",
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False, server_default=""),
        sa.Column("left_out", sa.Text, nullable=False, server_default="[]"),
        sa.Column("written", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("engine", name="pk_commits"),
    )
    counter = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "exports",
        sa.Column("seq", counter, primary_key=True, autoincrement=True),
        sa.Column("run", sa.Text, nullable=False, server_default=""),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("run", name="uq_exports_run"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False, server_default=""),
        sa.Column("fence", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("address", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
