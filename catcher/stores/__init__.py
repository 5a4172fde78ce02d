"""Where things are stored: ledger, history, artifacts, metrics, images, external tables.

Start with `ledger/ledger.py` (what must not be lost); each folder is one port of `ports.py`.
"""
