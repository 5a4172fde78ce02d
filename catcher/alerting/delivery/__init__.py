"""Notifications are delivered to sinks: queues, retries, rate limits, dead letters.

Start with `dispatcher.py` (all sinks), then `sink_worker.py` (one sink) and `queue.py`.
"""
