"""Run by Alembic for each upgrade, on the connection that the ledger passes in."""

from __future__ import annotations

from alembic import context

from catcher.stores.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
