"""Artifacts as objects: a folder or a cloud store, and the spool while it is unavailable.

Start with `object_store.py`, then `spool.py`.
"""
