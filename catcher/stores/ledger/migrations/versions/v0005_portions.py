"""The inbox records which rule subset received an event, if a site is split between engines.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
_OLD_CONSTRAINT, _NEW_CONSTRAINT = (
    "uq_inbox_topic_time_digest",
    "uq_inbox_topic_time_digest_portion",
)


def upgrade() -> None:
    """Adds the column; existing events belong to the complete site."""
    with op.batch_alter_table("inbox", naming_convention=_NAMING_CONVENTION) as inbox:
        inbox.add_column(sa.Column("portion", sa.Text, nullable=False, server_default=""))
        inbox.drop_constraint(_OLD_CONSTRAINT, type_="unique")
        inbox.create_unique_constraint(_NEW_CONSTRAINT, ["topic", "time", "digest", "portion"])


_NAMING_CONVENTION = {"uq": "uq_%(table_name)s_%(column_0_N_name)s"}
