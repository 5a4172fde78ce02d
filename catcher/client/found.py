"""What the door answers: tables of nouns, each with its rows and times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from catcher.client.reading import Answer
from catcher.model import shown
from catcher.model.alert import Alert, AuditEntry
from catcher.model.event import Series
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.table import Table
from catcher.model.telemetry import FieldInfo
from catcher.model.time import format_instant, to_seconds
from catcher.ports import MetricPoint

T = TypeVar("T")
_TIME = frozenset({"time"})
_RUN_TIMES = frozenset({"time", "created", "started", "heartbeat", "finished"})
_ALERT_TIMES = frozenset({"time", "opened", "resolved", "shelved_until"})


def point_row(point: MetricPoint) -> dict[str, Any]:
    """A value of a metric as commands and the API show it."""
    return {**asdict(point), "time": format_instant(point.time)}


class Points(Table[MetricPoint]):
    """Values of metrics, newest first."""

    def series(self) -> Series:
        """A column for each metric, a sample for each run, in time order; NaN where unknown."""
        names = list(dict.fromkeys(point.name for point in reversed(self)))
        runs: dict[tuple[int, str], dict[str, float]] = {}
        units: dict[str, str] = {}
        for point in self:
            value = math.nan if point.value is None else point.value
            runs.setdefault((point.time, point.run), {})[point.name] = value
            if point.unit:
                units.setdefault(point.name, point.unit)
        ordered = sorted(runs.items())
        columns = {
            name: np.array([row.get(name, math.nan) for _, row in ordered]) for name in names
        }
        return Series(np.array([to_seconds(time) for (time, _), _ in ordered]), columns, units)


def points(found: Sequence[MetricPoint], limit: int) -> Points:
    """Values of metrics, at most `limit`."""
    return Points(found[:limit], point_row, cut=len(found) > limit, times=_TIME)


def runs(found: Sequence[Run], limit: int) -> Table[Run]:
    """Executions of jobs, at most `limit`."""
    return Table(found[:limit], shown.run_row, cut=len(found) > limit, times=_RUN_TIMES)


def artifacts(found: Sequence[ArtifactRecord], limit: int) -> Table[ArtifactRecord]:
    """The index of what was kept, at most `limit`."""
    return Table(found[:limit], shown.artifact_row, cut=len(found) > limit, times=_TIME)


def alerts(found: Sequence[Alert], limit: int) -> Table[Alert]:
    """Alerts, at most `limit`."""
    return Table(found[:limit], shown.alert_row, cut=len(found) > limit, times=_ALERT_TIMES)


def firings(found: Sequence[Firing], limit: int) -> Table[Firing]:
    """Decisions of triggers, at most `limit`."""
    return Table(found[:limit], shown.firing_row, cut=len(found) > limit, times=_TIME)


def audit(found: Sequence[AuditEntry], limit: int) -> Table[AuditEntry]:
    """Who did what, at most `limit`."""
    return Table(found[:limit], shown.audit_row, cut=len(found) > limit, times=_TIME)


def fields(found: Sequence[FieldInfo]) -> Table[FieldInfo]:
    """The fields of a topic, with type, unit and description."""
    return Table(found, asdict, names=("name", "type", "unit", "about"))


def answer(found: Answer) -> Table[dict[str, Any]]:
    """The rows of a statement; a column named `time` holds times."""
    rows = [dict(zip(found.names, row, strict=True)) for row in found.rows]
    return Table(rows, shown.plain, cut=found.cut, names=found.names)
