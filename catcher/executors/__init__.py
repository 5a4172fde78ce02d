"""Executors of jobs: worker processes of this machine, Dask, HTTP services.
Start with `local.py` (the default) and `worker_main.py` (what runs inside a worker).
"""
