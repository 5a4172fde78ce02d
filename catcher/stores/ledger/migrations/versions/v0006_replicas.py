"""Indexes to find recent records, which are copied to a second facility.

Revision ID: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds two indexes; existing data does not change."""
    op.create_index("ix_firings_created", "firings", ["created"])
    op.create_index("ix_runs_finished", "runs", ["finished"])
