"""The nouns as JSON rows: the one form in which commands, the API and backtests show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from catcher.model.alert import Alert, AuditEntry, Notice
from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.result import Metric
from catcher.model.rule import Rule
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import Instant, format_instant

Row = dict[str, Any]


def instant(value: Instant | None) -> str | None:
    """ISO 8601 UTC, or None."""
    return None if value is None else format_instant(value)


def plain(value: Any) -> Any:
    """A value as strict JSON: NaN and infinities become None, what is no JSON its text."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value)


def event_row(event: Event) -> Row:
    """The form of a recorded stream."""
    return {
        "topic": event.topic,
        "time": format_instant(event.time),
        "fields": plain(event.fields),
    }


def firing_row(firing: Firing) -> Row:
    """One decision of a trigger, with its reason."""
    return {
        "kind": "firing",
        "id": firing.id,
        "rule": firing.rule,
        "key": firing.key,
        "time": format_instant(firing.time),
        "cause": firing.cause,
        "reason": firing.reason,
        "once": firing.once,
        "manual": firing.manual,
    }


def metric_row(metric: Metric) -> Row:
    """Value (None where unknown), unit, labels, and why it is unknown."""
    value = metric.value if metric.known else None
    row: Row = {"value": value, "unit": metric.unit}
    if metric.labels:
        row["labels"] = dict(metric.labels)
    if metric.reason:
        row["reason"] = metric.reason
    return row


def run_row(run: Run) -> Row:
    """One execution, with its metrics by name and its artifacts."""
    return {
        "kind": "run",
        "id": run.id,
        "rule": run.rule,
        "key": run.firing.key,
        "time": format_instant(run.firing.time),
        "job": run.job,
        "part": run.part,
        "state": run.state,
        "manual": run.firing.manual,
        "attempt": run.attempt,
        "engine": run.engine,
        "observation": run.observation,
        "metrics": {name: one.value if one.known else None for name, one in run.metrics.items()},
        "artifacts": [artifact_row(one) for one in run.artifacts],
        "created": instant(run.created or None),
        "started": instant(run.started),
        "heartbeat": instant(run.heartbeat),
        "finished": instant(run.finished),
        "error": run.error,
        "note": run.note,
    }


def run_page(run: Run) -> Row:
    """Everything about one run: its row, its firing, units, inputs and traceback."""
    return {
        **run_row(run),
        "firing": {
            **firing_row(run.firing),
            "event": event_row(run.firing.event) if run.firing.event else None,
            "values": plain(run.firing.values),
        },
        "metrics": {name: metric_row(one) for name, one in run.metrics.items()},
        "fields": {
            name: {
                "over": one.over,
                "unit": one.unit,
                "ids": list(one.ids),
                "values": plain(one.values.tolist()),
            }
            for name, one in run.fields.items()
        },
        "inputs": [
            {**asdict(one), "start": instant(one.start), "end": instant(one.end)}
            for one in run.inputs
        ],
        "traceback": run.traceback,
        "missed_deadline": run.missed_deadline,
    }


def artifact_row(artifact: ArtifactRecord) -> Row:
    """The index entry of one artifact."""
    return {**asdict(artifact), "time": format_instant(artifact.time)}


MIMES = {
    "json": "application/json",
    "npz": "application/octet-stream",
    "parquet": "application/octet-stream",
    "csv": "text/csv",
    "png": "image/png",
    "svg": "image/svg+xml",
    "html": "text/html",
    "fits": "application/fits",
    "txt": "text/plain",
}


def mime(name: str) -> str:
    """The media type that an artifact's suffix stands for."""
    return MIMES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def alert_row(alert: Alert) -> Row:
    """The present state of one alert."""
    acknowledged, shelf = alert.acknowledgement, alert.shelf
    return {
        "kind": "alert",
        "id": alert.id,
        "rule": alert.rule,
        "key": alert.key,
        "per": alert.per,
        "time": format_instant(alert.changed),
        "state": alert.state,
        "severity": str(alert.severity),
        "shown_severity": str(alert.shown_severity),
        "max_severity": str(alert.max_severity),
        "unknown": alert.unknown,
        "latched": alert.latched,
        "reason": alert.reason,
        "message": alert.message,
        "episode": alert.episode,
        "opened": format_instant(alert.opened),
        "resolved": instant(alert.resolved),
        "owner": alert.owner,
        "labels": dict(alert.labels),
        "links": dict(alert.links),
        "run": alert.run,
        "acknowledged_by": acknowledged.who if acknowledged else "",
        "shelved_by": shelf.who if shelf else "",
        "shelved_until": instant(shelf.until) if shelf else None,
        "shelved_why": shelf.reason if shelf else "",
        "confirm_by": instant(shelf.confirm_by) if shelf else None,
        "assignee": alert.assignee,
        "notes": [{**asdict(one), "time": format_instant(one.time)} for one in alert.notes],
        "aside": alert.aside,
        "held_back": alert.held_back,
        "flapping": alert.flapping,
        "untold": alert.untold,
    }


def notice_row(notice: Notice) -> Row:
    """One message on its way to a sink."""
    return {
        "kind": "notice",
        "id": notice.id,
        "sink": notice.sink,
        "change": notice.kind,
        "rule": notice.alert.rule,
        "alert": notice.alert.id,
        "severity": str(notice.alert.severity),
        "time": format_instant(notice.time),
        "attempts": notice.attempts,
    }


def health_row(health: Health) -> Row:
    """The state of one source, store, executor or sink."""
    return {
        "name": health.name,
        "kind": health.kind,
        "state": health.state,
        "since": instant(health.since or None),
        "last": instant(health.last),
        "problem": health.problem,
        "counts": dict(health.counts),
    }


def rule_row(rule: Rule) -> Row:
    """A rule as a list shows it."""
    return {
        "rule": rule.id,
        "about": rule.about,
        "owner": rule.owner,
        "tags": list(rule.tags),
        "enabled": rule.enabled,
        "shadow": rule.shadow,
        "trigger": rule.trigger.kind,
        "topic": rule.trigger.topic,
        "job": rule.job.run if rule.job else "",
        "alerts": rule.alert is not None,
        "place": str(rule.place),
    }


def audit_row(entry: AuditEntry) -> Row:
    """Who did what when."""
    return {**asdict(entry), "time": format_instant(entry.time), "detail": plain(entry.detail)}
