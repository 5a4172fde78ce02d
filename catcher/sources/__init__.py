"""One file per source of events: MQTT, Kafka, HTTP, InfluxDB.

Start with `http.py`, the smallest; what several sources share is in `transport/`.
"""
