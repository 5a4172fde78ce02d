"""Maps model objects to ledger rows and back: events, firings, runs, alerts, outbox, audit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec
import numpy as np

from catcher.model.alert import Alert, AuditEntry, Notification
from catcher.model.commit import TriggerState
from catcher.model.event import Event
from catcher.model.observation import Observation
from catcher.model.result import Field, Metric
from catcher.model.run import ArtifactRecord, Firing, InputRecord, Run, RunState
from catcher.model.time import MAX_INSTANT, Instant
from catcher.ports import DeadLetter, MetricPoint

# JSON documents of the stores: encoding accepts any value.


MAX_DEPTH = 32
_INT64 = 2**63


def _to_encodable(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


_encode = msgspec.json.Encoder(enc_hook=_to_encodable).encode


def encode_json(value: Any) -> str:
    """Encodes a model object or a value as JSON; never raises for its content."""
    try:
        return _encode(value).decode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _encode(_to_json_value(value, 0)).decode()


def decode_json(text: str) -> Any:
    """Decodes a JSON text of the ledger."""
    return msgspec.json.decode(text)


def sanitize_text(text: str) -> str:
    """Returns text that every database accepts: no lone surrogate, no NUL."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _to_json_value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return sanitize_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _to_json_number(value)
    if depth >= MAX_DEPTH:
        return "…"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            sanitize_text(str(name)): _to_json_value(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_json_value(item, depth + 1) for item in value]
    converted = _to_encodable(value)
    return (
        sanitize_text(converted)
        if isinstance(converted, str)
        else _to_json_value(converted, depth + 1)
    )


def _to_json_number(value: int | float) -> int | float | None:
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


# Outputs of runs: metrics, fields, the index of artifacts.


_labels_decoder = msgspec.json.Decoder(dict[str, str])
_ids_decoder = msgspec.json.Decoder(list[str])


def metrics_to_rows(run: Run) -> list[RowValues]:
    """Returns a row for each metric of a run; an unknown value is NULL, with its reason."""
    return [
        {
            "run": run.id,
            "name": sanitize_text(name),
            "rule": sanitize_text(run.rule),
            "key": sanitize_text(run.firing.key),
            "time": run.firing.time,
            "value": float(metric.value) if metric.is_known and metric.value is not None else None,
            "unit": sanitize_text(metric.unit),
            "labels": encode_json(_stringify_labels(metric.labels)),
            "observation": sanitize_text(run.observation),
            "reason": sanitize_text(metric.reason),
        }
        for name, metric in run.metrics.items()
    ]


def row_to_metric(row: Row) -> Metric:
    """Returns a metric as a run has it."""
    return Metric(row["value"], row["unit"], parse_labels(row), row["reason"])


def row_to_metric_point(row: Row) -> MetricPoint:
    """Returns a metric as a query result."""
    return MetricPoint(
        name=row["name"],
        value=row["value"],
        unit=row["unit"],
        rule=row["rule"],
        key=row["key"],
        run=row["run"],
        time=row["time"],
        labels=parse_labels(row),
        observation=row["observation"],
    )


def parse_labels(row: Row) -> dict[str, str]:
    """Returns the labels of a metric or an alert."""
    return _labels_decoder.decode(row["labels"])


def fields_to_rows(run: Run) -> list[RowValues]:
    """Returns a row for each field of a run; its values as float64, little endian."""
    return [
        {
            "run": run.id,
            "name": sanitize_text(name),
            "rule": sanitize_text(run.rule),
            "over": sanitize_text(field.over),
            "unit": sanitize_text(field.unit),
            "ids": encode_json(list(field.ids)),
            "values": field.values.astype("<f8").tobytes(),
            "time": run.firing.time,
            "observation": sanitize_text(run.observation),
        }
        for name, field in run.fields.items()
    ]


def row_to_field(row: Row) -> Field:
    """Returns a field as it was written, NaN included."""
    values = np.frombuffer(row["values"], "<f8").astype(np.float64)
    return Field(row["over"], _ids_decoder.decode(row["ids"]), values, row["unit"])


def artifacts_to_rows(run: Run, created: Instant) -> list[RowValues]:
    """Returns a row for each artifact of a run."""
    return [
        {
            "key": sanitize_text(record.key),
            "run": run.id,
            "rule": sanitize_text(record.rule),
            "name": sanitize_text(record.name),
            "time": record.time,
            "observation": sanitize_text(record.observation),
            "size": record.size,
            "mime": record.mime,
            "checksum": record.checksum,
            "url": sanitize_text(record.url),
            "created": created,
        }
        for record in run.artifacts
    ]


def row_to_artifact(row: Row) -> ArtifactRecord:
    """Returns the index entry of an artifact."""
    return ArtifactRecord(
        key=row["key"],
        name=row["name"],
        run=row["run"],
        rule=row["rule"],
        time=row["time"],
        size=row["size"],
        mime=row["mime"],
        checksum=row["checksum"],
        observation=row["observation"],
        url=row["url"],
    )


def _stringify_labels(labels: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in labels.items()}


Row = Mapping[str, Any]
RowValues = dict[str, Any]

_alert_decoder = msgspec.json.Decoder(Alert)
_notification_decoder = msgspec.json.Decoder(Notification)
_inputs_decoder = msgspec.json.Decoder(tuple[InputRecord, ...])


def firing_to_row(firing: Firing, created: Instant) -> RowValues:
    """Returns the row of a firing, with its event as JSON."""
    event = firing.event
    return {
        "id": firing.id,
        "rule": sanitize_text(firing.rule),
        "key": sanitize_text(firing.key),
        "time": firing.time,
        "cause": sanitize_text(firing.cause),
        "reason": sanitize_text(firing.reason),
        "once": None if firing.once is None else sanitize_text(firing.once),
        "manual": firing.manual,
        "quiet": firing.quiet,
        "event": None if event is None else encode_json(event._asdict()),
        "values": encode_json(firing.values),
        "created": created,
    }


def row_to_firing(row: Row) -> Firing:
    """Returns a firing as it was written."""
    event = None if row["event"] is None else Event(**decode_json(row["event"]))
    return Firing(
        rule=row["rule"],
        key=row["key"],
        time=row["time"],
        cause=row["cause"],
        reason=row["reason"],
        event=event,
        values=decode_json(row["values"]),
        once=row["once"],
        manual=row["manual"],
        quiet=row["quiet"],
    )


def state_to_row(state: TriggerState, updated: Instant) -> RowValues:
    """Returns the row of a trigger's state."""
    return {
        "rule": sanitize_text(state.rule),
        "key": sanitize_text(state.key),
        "meaning": sanitize_text(state.fingerprint),
        "state": encode_json(state.state),
        "updated": updated,
    }


def state_part_to_row(state: TriggerState, updated: Instant) -> RowValues:
    """Returns the row of a part of a trigger's state."""
    return {**state_to_row(state, updated), "part": state.part}


def row_to_state(row: Row) -> TriggerState:
    """Returns a trigger's state, or a part of it, as it was written."""
    state, part = decode_json(row["state"]), row.get("part", "")
    return TriggerState(row["rule"], row["key"], row["meaning"], state, part)


def _clamp_instant(instant: Instant) -> Instant:
    """Clamps an instant: a wrong length in a stream may exceed the range of a column."""
    return max(-MAX_INSTANT, min(MAX_INSTANT, instant))


def observation_to_row(observation: Observation) -> RowValues:
    """Returns the row of an observation."""
    return {
        "kind": sanitize_text(observation.kind),
        "id": sanitize_text(observation.id),
        "start": _clamp_instant(observation.start),
        "end": _clamp_instant(observation.end),
        "image": sanitize_text(observation.image),
        "columns": encode_json(observation.columns),
    }


def row_to_observation(row: Row) -> Observation:
    """Returns an observation as it was written."""
    columns = decode_json(row["columns"])
    return Observation(row["kind"], row["id"], row["start"], row["end"], row["image"], columns)


# Runs and their outputs.


def run_to_row(run: Run, created: Instant, fencing_token: int) -> RowValues:
    """Returns the complete row of a run; `fencing_token` is that of the writing engine."""
    return {
        "id": run.id,
        "firing": run.firing.id,
        "rule": sanitize_text(run.firing.rule),
        "key": sanitize_text(run.firing.key),
        "time": run.firing.time,
        "part": sanitize_text(run.part),
        "parent": run.parent,
        "priority": run.priority,
        "created": run.created or created,
        "fence": fencing_token,
        "heartbeat": run.heartbeat,
        **run_progress_to_row(run),
    }


def run_progress_to_row(run: Run) -> RowValues:
    """Returns the columns of a run that change during its execution."""
    return {
        "job": sanitize_text(run.job),
        "job_digest": run.job_digest,
        "attempt": run.attempt,
        "state": run.state,
        "started": run.started,
        "finished": run.finished,
        "missed_deadline": run.missed_deadline,
        "engine": sanitize_text(run.engine),
        "error": sanitize_text(run.error),
        "traceback": sanitize_text(run.traceback),
        "note": sanitize_text(run.note),
        "observation": sanitize_text(run.observation),
        "columns": encode_json(run.columns),
        "inputs": encode_json(run.inputs),
    }


def row_to_run(
    row: Row,
    firing: Firing,
    metrics: Iterable[Row] = (),
    fields: Iterable[Row] = (),
    artifacts: Iterable[Row] = (),
) -> Run:
    """Returns a run with its firing and its outputs."""
    return Run(
        id=row["id"],
        firing=firing,
        job=row["job"],
        state=cast(RunState, row["state"]),
        part=row["part"],
        parent=row["parent"],
        attempt=row["attempt"],
        priority=row["priority"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        engine=row["engine"],
        job_digest=row["job_digest"],
        observation=row["observation"],
        columns=decode_json(row["columns"]),
        error=row["error"],
        traceback=row["traceback"],
        note=row["note"],
        inputs=_inputs_decoder.decode(row["inputs"]),
        metrics={output_row["name"]: row_to_metric(output_row) for output_row in metrics},
        fields={output_row["name"]: row_to_field(output_row) for output_row in fields},
        artifacts=tuple(row_to_artifact(output_row) for output_row in artifacts),
        missed_deadline=row["missed_deadline"],
        heartbeat=row["heartbeat"],
    )


def alert_to_row(alert: Alert) -> RowValues:
    """Returns the row of one episode of an alert: columns to query by, and all of it as JSON."""
    return {
        "id": alert.id,
        "episode": alert.episode,
        "rule": sanitize_text(alert.rule),
        "key": sanitize_text(alert.key),
        "per": sanitize_text(alert.per),
        "name": sanitize_text(alert.name),
        "state": alert.state,
        "severity": int(alert.severity),
        "max_severity": int(alert.max_severity),
        "opened": alert.opened,
        "changed": alert.changed,
        "resolved": alert.resolved,
        "unknown": alert.unknown,
        "latched": alert.latched,
        "owner": sanitize_text(alert.owner),
        "run": alert.run,
        "labels": encode_json(alert.labels),
        "body": encode_json(alert),
    }


def row_to_alert(row: Row) -> Alert:
    """Returns an alert as it was written."""
    return _alert_decoder.decode(row["body"])


def notification_to_row(notification: Notification, created: Instant) -> RowValues:
    """Returns the row of a pending notification."""
    return {
        "id": notification.id,
        "alert": notification.alert.id,
        "episode": notification.alert.episode,
        "sink": sanitize_text(notification.sink),
        "sequence": notification.sequence,
        "kind": notification.kind,
        "time": notification.time,
        "attempts": notification.attempts,
        "body": encode_json(notification),
        "created": created,
    }


def row_to_notification(row: Row, receipt: str | None) -> Notification:
    """Returns a notification as it was written, with its attempts and its sink's last receipt."""
    notification = _notification_decoder.decode(row["body"])
    last_receipt = decode_json(receipt) if receipt else notification.receipt
    return dataclasses.replace(notification, attempts=row["attempts"], receipt=last_receipt)


def row_to_dead_letter(row: Row, receipt: str | None) -> DeadLetter:
    """Returns a notification that was given up, as a dead letter."""
    return DeadLetter(row_to_notification(row, receipt), row["error"], row["settled"])


def audit_entry_to_row(entry: AuditEntry) -> RowValues:
    """Returns the row of an audit entry."""
    return {
        "time": entry.time,
        "who": sanitize_text(entry.who),
        "channel": sanitize_text(entry.channel),
        "what": sanitize_text(entry.what),
        "subject": sanitize_text(entry.subject),
        "detail": encode_json(entry.detail),
    }


def row_to_audit_entry(row: Row) -> AuditEntry:
    """Returns an audit entry as it was written."""
    detail = decode_json(row["detail"])
    return AuditEntry(row["time"], row["who"], row["channel"], row["what"], row["subject"], detail)
