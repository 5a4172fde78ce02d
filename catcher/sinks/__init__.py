"""One file per sink: console, Slack, LOVE, MQTT, Kafka, HTTP, Apprise, a site's own.

Start with `console.py`, the smallest; a new sink is a file, a test and a line in
`app/sink_registry.py`.
"""
