"""The engine: one loop that turns events into committed firings, runs and alerts.

Start with `engine.py`; `unit_of_work.py` is what one step decides, `committer.py` writes it to the
ledger, `recovery.py` resumes after a restart.
"""
