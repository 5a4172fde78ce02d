"""A second store for metrics beside the ledger: InfluxDB.

Start with `exporter.py`, which writes what the ledger's outbox holds.
"""
