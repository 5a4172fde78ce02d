"""What was kept lately is found at once, so that it can be copied to a second facility.

Revision ID: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds two indices; nothing that is there changes."""
    op.create_index("ix_firings_created", "firings", ["created"])
    op.create_index("ix_runs_finished", "runs", ["finished"])
