"""The versions of the ledger's schema, and the way from each to the next (Alembic)."""
