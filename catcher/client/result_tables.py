"""The tables of objects that the client returns, each with its rows and times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from catcher.client.backend import SqlResult
from catcher.model import json_rows
from catcher.model.alert import Alert, AuditEntry
from catcher.model.event import Series
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.table import Table
from catcher.model.telemetry import FieldInfo
from catcher.model.time import format_instant, nanoseconds_to_seconds
from catcher.ports import MetricPoint

T = TypeVar("T")
_TIME = frozenset({"time"})
_RUN_TIMES = frozenset({"time", "created", "started", "heartbeat", "finished"})
_ALERT_TIMES = frozenset({"time", "opened", "resolved", "shelved_until"})


def metric_point_to_row(point: MetricPoint) -> dict[str, Any]:
    """Converts a value of a metric to the row that commands and the API show."""
    return {**asdict(point), "time": format_instant(point.time)}


class MetricTable(Table[MetricPoint]):
    """Values of metrics, newest first."""

    def series(self) -> Series:
        """Returns a column per metric, a sample per run, in time order; NaN if unknown."""
        names = list(dict.fromkeys(point.name for point in reversed(self)))
        values_by_run: dict[tuple[int, str], dict[str, float]] = {}
        units: dict[str, str] = {}
        for point in self:
            value = math.nan if point.value is None else point.value
            values_by_run.setdefault((point.time, point.run), {})[point.name] = value
            if point.unit:
                units.setdefault(point.name, point.unit)
        sorted_runs = sorted(values_by_run.items())
        columns = {
            name: np.array([row.get(name, math.nan) for _, row in sorted_runs]) for name in names
        }
        return Series(
            np.array([nanoseconds_to_seconds(time) for (time, _), _ in sorted_runs]), columns, units
        )


def build_metric_table(points: Sequence[MetricPoint], limit: int) -> MetricTable:
    """Builds a table of metric values, at most `limit`."""
    return MetricTable(points[:limit], metric_point_to_row, cut=len(points) > limit, times=_TIME)


def build_run_table(runs: Sequence[Run], limit: int) -> Table[Run]:
    """Builds a table of runs of jobs, at most `limit`."""
    return Table(runs[:limit], json_rows.run_to_row, cut=len(runs) > limit, times=_RUN_TIMES)


def build_artifact_table(artifacts: Sequence[ArtifactRecord], limit: int) -> Table[ArtifactRecord]:
    """Builds a table of the artifact index, at most `limit`."""
    return Table(
        artifacts[:limit], json_rows.artifact_to_row, cut=len(artifacts) > limit, times=_TIME
    )


def build_alert_table(alerts: Sequence[Alert], limit: int) -> Table[Alert]:
    """Builds a table of alerts, at most `limit`."""
    return Table(
        alerts[:limit], json_rows.alert_to_row, cut=len(alerts) > limit, times=_ALERT_TIMES
    )


def build_firing_table(firings: Sequence[Firing], limit: int) -> Table[Firing]:
    """Builds a table of firings, at most `limit`."""
    return Table(firings[:limit], json_rows.firing_to_row, cut=len(firings) > limit, times=_TIME)


def build_audit_table(entries: Sequence[AuditEntry], limit: int) -> Table[AuditEntry]:
    """Builds a table of audit entries, at most `limit`."""
    return Table(
        entries[:limit], json_rows.audit_entry_to_row, cut=len(entries) > limit, times=_TIME
    )


def build_field_info_table(fields: Sequence[FieldInfo]) -> Table[FieldInfo]:
    """Builds a table of a topic's fields, with type, unit and description."""
    return Table(fields, asdict, names=("name", "type", "unit", "about"))


def build_sql_table(result: SqlResult) -> Table[dict[str, Any]]:
    """Builds a table of a statement's rows; a column named `time` holds times."""
    rows = [dict(zip(result.names, row, strict=True)) for row in result.rows]
    return Table(rows, json_rows.to_json_value, cut=result.cut, names=result.names)
