"""One client for telemetry, metrics, artifacts and alerts, over a site's stores or an engine's API.

Start with `client.py` (what a user calls) and `backend.py` (what it reads from).
"""

from catcher.client.backend import Backend, HistoryTelemetry, SampleQuery, SqlResult
from catcher.client.client import Client
from catcher.client.sync import SyncClient

__all__ = [
    "Backend",
    "Client",
    "HistoryTelemetry",
    "SampleQuery",
    "SqlResult",
    "SyncClient",
]  # fmt: skip
