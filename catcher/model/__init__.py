"""The domain types and errors: frozen, typed, without I/O, shared by all packages.

Start with `event.py`, `rule.py`, `run.py` and `alert.py`.
"""
