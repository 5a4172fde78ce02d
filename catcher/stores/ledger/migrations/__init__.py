"""The versions of the ledger's schema and the migrations between them (Alembic)."""
