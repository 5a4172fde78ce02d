"""The domain types as JSON rows: the one form that commands, the API and backtests show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from catcher.model.alert import Alert, AuditEntry, Notification
from catcher.model.alert_operations import Shift, Silence
from catcher.model.event import Event
from catcher.model.health import Health
from catcher.model.result import Metric
from catcher.model.rule import Rule
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import Instant, format_instant

Row = dict[str, Any]


def format_optional_instant(value: Instant | None) -> str | None:
    """Returns ISO 8601 UTC, or None."""
    return None if value is None else format_instant(value)


def to_json_value(value: Any) -> Any:
    """Returns a value as strict JSON: NaN and infinities become None, what is not JSON its text."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): to_json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    return str(value)


def event_to_row(event: Event) -> Row:
    """Returns the form of a recorded stream."""
    return {
        "topic": event.topic,
        "time": format_instant(event.time),
        "fields": to_json_value(event.fields),
    }


def firing_to_row(firing: Firing) -> Row:
    """Returns one decision of a trigger, with its reason."""
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


def metric_to_row(metric: Metric) -> Row:
    """Returns value (None if unknown), unit, labels, and why it is unknown."""
    value = metric.value if metric.is_known else None
    row: Row = {"value": value, "unit": metric.unit}
    if metric.labels:
        row["labels"] = dict(metric.labels)
    if metric.reason:
        row["reason"] = metric.reason
    return row


def run_to_row(run: Run) -> Row:
    """Returns one execution, with its metrics by name and its artifacts."""
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
        "metrics": {
            name: metric.value if metric.is_known else None for name, metric in run.metrics.items()
        },
        "artifacts": [artifact_to_row(artifact) for artifact in run.artifacts],
        "created": format_optional_instant(run.created or None),
        "started": format_optional_instant(run.started),
        "heartbeat": format_optional_instant(run.heartbeat),
        "finished": format_optional_instant(run.finished),
        "error": run.error,
        "note": run.note,
    }


def run_to_detailed_row(run: Run) -> Row:
    """Returns everything about one run: its row, its firing, units, inputs and traceback."""
    return {
        **run_to_row(run),
        "firing": {
            **firing_to_row(run.firing),
            "event": event_to_row(run.firing.event) if run.firing.event else None,
            "values": to_json_value(run.firing.values),
        },
        "metrics": {name: metric_to_row(metric) for name, metric in run.metrics.items()},
        "fields": {
            name: {
                "over": field.over,
                "unit": field.unit,
                "ids": list(field.ids),
                "values": to_json_value(field.values.tolist()),
            }
            for name, field in run.fields.items()
        },
        "inputs": [
            {
                **asdict(input_record),
                "start": format_optional_instant(input_record.start),
                "end": format_optional_instant(input_record.end),
            }
            for input_record in run.inputs
        ],
        "traceback": run.traceback,
        "missed_deadline": run.missed_deadline,
    }


def artifact_to_row(artifact: ArtifactRecord) -> Row:
    """Returns the index entry of one artifact."""
    return {**asdict(artifact), "time": format_instant(artifact.time)}


MEDIA_TYPES = {
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


def guess_media_type(name: str) -> str:
    """Returns the media type for an artifact's suffix."""
    return MEDIA_TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")


def alert_to_row(alert: Alert) -> Row:
    """Returns the current state of one alert."""
    acknowledgement, shelving = alert.acknowledgement, alert.shelf
    return {
        "kind": "alert",
        "id": alert.id,
        "rule": alert.rule,
        "key": alert.key,
        "per": alert.per,
        "time": format_instant(alert.changed),
        "state": alert.state,
        "severity": str(alert.severity),
        "shown_severity": str(alert.display_severity),
        "max_severity": str(alert.max_severity),
        "unknown": alert.unknown,
        "latched": alert.latched,
        "reason": alert.reason,
        "message": alert.message,
        "episode": alert.episode,
        "opened": format_instant(alert.opened),
        "resolved": format_optional_instant(alert.resolved),
        "owner": alert.owner,
        "labels": dict(alert.labels),
        "links": dict(alert.links),
        "run": alert.run,
        "acknowledged_by": acknowledgement.who if acknowledgement else "",
        "shelved_by": shelving.who if shelving else "",
        "shelved_until": format_optional_instant(shelving.until) if shelving else None,
        "shelved_why": shelving.reason if shelving else "",
        "confirm_by": format_optional_instant(shelving.confirm_by) if shelving else None,
        "assignee": alert.assignee,
        "notes": [
            {**asdict(comment), "time": format_instant(comment.time)} for comment in alert.notes
        ],
        "aside": alert.aside,
        "held_back": alert.held_back,
        "flapping": alert.flapping,
        "untold": alert.untold,
    }


def notification_to_row(notification: Notification) -> Row:
    """Returns one message on its way to a sink."""
    return {
        "kind": "notice",
        "id": notification.id,
        "sink": notification.sink,
        "change": notification.kind,
        "rule": notification.alert.rule,
        "alert": notification.alert.id,
        "severity": str(notification.alert.severity),
        "time": format_instant(notification.time),
        "attempts": notification.attempts,
    }


def health_to_row(health: Health) -> Row:
    """Returns the state of one source, store, executor or sink."""
    return {
        "name": health.name,
        "kind": health.kind,
        "state": health.state,
        "since": format_optional_instant(health.since or None),
        "last": format_optional_instant(health.last),
        "problem": health.problem,
        "counts": dict(health.counts),
    }


def rule_to_row(rule: Rule) -> Row:
    """Returns a rule as a list shows it."""
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
        "place": str(rule.location),
    }


def audit_entry_to_row(entry: AuditEntry) -> Row:
    """Returns who did what when."""
    return {
        **asdict(entry),
        "time": format_instant(entry.time),
        "detail": to_json_value(entry.detail),
    }


# Alert operations as JSON rows.


def silence_to_row(silence: Silence) -> Row:
    """Returns a silence; `idle` if it has suppressed nothing."""
    return {
        "kind": "silence",
        "id": silence.id,
        "name": silence.name,
        "labels": dict(silence.labels),
        "up_to": str(silence.severity),
        "who": silence.who,
        "reason": silence.reason,
        "created": format_instant(silence.created),
        "until": format_instant(silence.until),
        "confirm_by": format_optional_instant(silence.confirm_by),
        "ends": format_instant(silence.ends_at),
        "covered": silence.covered,
        "held_back": silence.hits,
        "last": format_optional_instant(silence.last),
        "idle": silence.is_unused,
        "ended": format_optional_instant(silence.ended),
        "why": silence.why,
    }


def shift_to_row(shift: Shift | None) -> Row:
    """Returns who is on shift; empty texts if nobody is."""
    if shift is None:
        return {"kind": "shift", "who": "", "since": None, "by": "", "note": ""}
    return {
        "kind": "shift",
        "who": shift.who,
        "since": format_instant(shift.since),
        "by": shift.by,
        "note": shift.note,
    }


def dead_letter_to_row(notification: Notification, error: str, time: Instant) -> Row:
    """Returns a notification that was given up, with the last error of its sink."""
    return {
        **notification_to_row(notification),
        "kind": "dead letter",
        "name": notification.alert.name,
        "message": notification.alert.message or notification.alert.reason,
        "error": error,
        "given_up": format_instant(time),
    }
