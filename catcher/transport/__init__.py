"""What adapters share: HTTP client, MQTT, Kafka, Avro, TLS, backoff.

Start with `http.py`; `mqtt/` and `kafka/` hold the connections of sources, sinks and heartbeats.
"""
