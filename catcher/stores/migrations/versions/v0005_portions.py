"""The inbox tells which portion of a site heard an event, where it is split between engines.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
_BEFORE, _AFTER = "uq_inbox_topic_time_digest", "uq_inbox_topic_time_digest_portion"


def upgrade() -> None:
    """What is there was heard by the whole."""
    with op.batch_alter_table("inbox", naming_convention=_NAMES) as inbox:
        inbox.add_column(sa.Column("portion", sa.Text, nullable=False, server_default=""))
        inbox.drop_constraint(_BEFORE, type_="unique")
        inbox.create_unique_constraint(_AFTER, ["topic", "time", "digest", "portion"])


_NAMES = {"uq": "uq_%(table_name)s_%(column_0_N_name)s"}
