"""The published records: a result and an alert's state, as JSON rows, and their Avro schemas.

No unions, so that a REST proxy accepts the JSON as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.run import Run
from catcher.model.time import format_instant

Row = dict[str, Any]


def _avro_field(name: str, kind: Any, description: str = "", **extra: Any) -> Row:
    return {
        "name": name,
        "type": kind,
        **({"description": description} if description else {}),
        **extra,
    }


def _avro_record(name: str, *fields: Row) -> Row:
    return {"type": "record", "name": name, "namespace": "catcher", "fields": list(fields)}


def _avro_string_fields(*names: str) -> list[Row]:
    return [_avro_field(name, "string") for name in names]


_STRING_MAP = {"type": "map", "values": "string"}
_METRIC = _avro_record("metric", _avro_field("name", "string"), _avro_field("value", "double"),
                  _avro_field("unit", "string"))  # fmt: skip
_ARTIFACT = _avro_record(
    "artifact",
    *_avro_string_fields("name", "key", "url", "mime", "checksum"),
    _avro_field("size", "long", "bytes"),
)
RESULT_SCHEMA = _avro_record(
    "result",
    *_avro_string_fields("site", "run", "rule", "key", "job", "time", "finished", "observation"),
    _avro_field("manual", "boolean"),
    _avro_field("columns", _STRING_MAP, "Of the observation."),
    _avro_field("metrics", {"type": "array", "items": _METRIC}, "Those that are known."),
    _avro_field("unknown", {"type": "array", "items": "string"}, "Metrics without a value."),
    _avro_field("artifacts", {"type": "array", "items": _ARTIFACT}),
)
"""A committed result; times are ISO 8601 UTC."""

ALERT_SCHEMA = _avro_record(
    "alert",
    *_avro_string_fields(
        "id",
        "rule",
        "key",
        "per",
        "state",
        "severity_name",
        "opened",
        "changed",
        "resolved",
        "data_time",
        "time",
        "reason",
        "message",
        "headline",
        "owner",
        "runbook",
        "acknowledged_by",
        "shelved_by",
        "shelved_until",
        "run",
        "notice",
        "change",
        "previous",
    ),
    *(_avro_field(name, "int") for name in ("episode", "sequence", "severity", "max_severity")),
    *(_avro_field(name, "boolean") for name in ("unknown", "latched", "unrecorded")),
    _avro_field("labels", _STRING_MAP),
    _avro_field("links", _STRING_MAP),
    _avro_field("tags", {"type": "array", "items": "string"}),
)
"""The current state of one alert; what is missing is empty."""

FILE_SCHEMA = _avro_record(
    "largeFileObjectAvailable",
    *_avro_string_fields("url", "generator", "checkSum", "mimeType", "id"),
    _avro_field("salIndex", "long"),
    _avro_field("version", "double"),
    _avro_field("byteSize", "long"),
    _avro_field("private_sndStamp", "double", "TAI, seconds."),
)
"""One file of a Large File Annex; `checkSum` is the SHA-256 in hex."""


def build_result_row(run: Run, site: str) -> Row:
    """Returns the row of a committed result: its subject, metrics and artifacts."""
    known_metrics = {name: metric for name, metric in run.metrics.items() if metric.is_known}
    return {
        "site": site,
        "run": run.id,
        "rule": run.rule,
        "key": run.firing.key,
        "job": run.job,
        "time": format_instant(run.firing.time),
        "finished": format_instant(run.finished or run.firing.time),
        "observation": run.observation,
        "manual": run.firing.manual,
        "columns": {name: str(value) for name, value in run.columns.items()},
        "metrics": [
            {"name": name, "value": metric.value, "unit": metric.unit}
            for name, metric in known_metrics.items()
        ],
        "unknown": [name for name in run.metrics if name not in known_metrics],
        "artifacts": [
            {
                "name": artifact.name,
                "key": artifact.key,
                "url": artifact.url,
                "mime": artifact.mime,
                "checksum": artifact.checksum,
                "size": artifact.size,
            }
            for artifact in run.artifacts
        ],
    }


def build_alert_row(payload: Mapping[str, Any]) -> Row:
    """Converts an alert's state (`message_formats.build_state_payload`) to a row of its schema."""
    fields = {field["name"]: field["type"] for field in ALERT_SCHEMA["fields"]}
    row: Row = {name: "" if payload.get(name) is None else payload[name] for name in fields}
    for name, kind in fields.items():
        if kind == _STRING_MAP:
            row[name] = {key: str(value) for key, value in dict(row[name]).items()}
    return row
