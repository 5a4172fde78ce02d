"""Catcher: reactive rules on an observatory's event streams.

What a job needs is here, and the clients that read what was kept; the rest lives in the rooms
below. The names are looked up when they are first used, so that `catcher --help` need not wait
for numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catcher.doors import Client, SyncClient
    from catcher.model.event import Event, Series
    from catcher.model.observation import Observation
    from catcher.model.result import Field, Metric, Result
    from catcher.working.jobs import job

__all__ = [
    "Client", "Event", "Field", "Metric", "Observation", "Result", "Series", "SyncClient", "job",
]  # fmt: skip

_HOMES = {
    "Client": "catcher.doors",
    "SyncClient": "catcher.doors",
    "Event": "catcher.model.event",
    "Series": "catcher.model.event",
    "Observation": "catcher.model.observation",
    "Field": "catcher.model.result",
    "Metric": "catcher.model.result",
    "Result": "catcher.model.result",
    "job": "catcher.working.jobs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
