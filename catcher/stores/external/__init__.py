"""Tables of other services (ConsDB, narrative log, SQL, JSON) read as telemetry.

Start with `tables.py`; each other file is one kind of service.
"""
