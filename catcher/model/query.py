"""What a ledger is asked, and what it answers beside the nouns themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from catcher.model.alert import Notice
from catcher.model.time import Instant


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for in the ledger. Empty attributes match all; newest first, up to `limit`."""

    rule: str = ""
    id: str = ""
    name: str = ""
    state: str = ""
    observation: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    start: Instant | None = None
    end: Instant | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of a metric as it was kept."""

    name: str
    value: float | None
    unit: str
    rule: str
    key: str
    run: str
    time: Instant
    labels: Mapping[str, str] = field(default_factory=dict)
    observation: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notice that was given up, the last error of its sink, and when."""

    notice: Notice
    error: str
    time: Instant
