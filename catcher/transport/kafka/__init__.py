"""Connections to Kafka that sources, sinks and publishers share.

Start with `connection.py` (consuming) and `producer.py`.
"""
