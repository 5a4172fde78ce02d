"""Telemetry at rest: the embedded history and InfluxDB.

Start with `embedded.py` (memory, spilled to `segments.py`) and `influxdb.py`; `hybrid.py` joins
both.
"""
