"""The ledger: inbox, firings, runs, alerts, outbox, trigger state, audit, in SQL.

Start with `ledger.py` (the port), then `schema.py` (the tables), `writer.py` and `queries.py`.
"""
