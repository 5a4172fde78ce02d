"""One door to what Catcher kept: the same calls over a site's stores or a board's address."""

from catcher.client.client import Client
from catcher.client.reading import Answer, Asked, HistoryTelemetry, Reading
from catcher.client.sync import SyncClient

__all__ = [
    "Answer", "Asked", "Client", "HistoryTelemetry", "Reading", "SyncClient",
]  # fmt: skip
