"""Catcher: reactive rules on an observatory's event streams.

What a job needs is here, and the clients that read what was stored; the rest is in the folders
below. Names are imported on first use, so that `catcher --help` does not wait for numpy. Start with
`engine/engine.py`, then the docstring of the folder you need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catcher.jobs.decorator import job
    from catcher.model.event import Event, Series
    from catcher.model.observation import Observation
    from catcher.model.result import Field, Metric, Result
    from catcher.public import Client, SyncClient

__all__ = [
    "Client", "Event", "Field", "Metric", "Observation", "Result", "Series", "SyncClient", "job",
]  # fmt: skip

_MODULES = {
    "Client": "catcher.public",
    "SyncClient": "catcher.public",
    "Event": "catcher.model.event",
    "Series": "catcher.model.event",
    "Observation": "catcher.model.observation",
    "Field": "catcher.model.result",
    "Metric": "catcher.model.result",
    "Result": "catcher.model.result",
    "job": "catcher.jobs.decorator",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
