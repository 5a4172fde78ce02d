"""Queries to stores and their results: metric values, dead letters, SQL rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from catcher.model.alert import Notification
from catcher.model.time import Instant


@dataclass(frozen=True, slots=True)
class Query:
    """A query of the ledger. Empty attributes match all; newest first, up to `limit`.

    `kind` is the suffix of an artifact's name, such as `png`.
    """

    rule: str = ""
    id: str = ""
    name: str = ""
    state: str = ""
    observation: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    start: Instant | None = None
    end: Instant | None = None
    limit: int = 100
    kind: str = ""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One stored value of a metric."""

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
    """A notification that was given up, the last error of its sink, and when."""

    notice: Notification
    error: str
    time: Instant


@dataclass(frozen=True, slots=True)
class SqlResult:
    """The rows of a SQL statement. `cut`: there were more."""

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]
    cut: bool = False
