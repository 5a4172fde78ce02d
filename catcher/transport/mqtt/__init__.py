"""Connections to an MQTT broker that sources, sinks and heartbeats share.

Start with `connection.py`; `fast_reader.py` reads packets past paho where that is possible.
"""
