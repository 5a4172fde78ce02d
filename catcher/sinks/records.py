"""What goes out as records: a result and an alert's state, as JSON rows, and their Avro schemas.

No unions but for what may be unknown, so that a REST proxy's JSON reads them as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.run import Run
from catcher.model.time import format_instant

Row = dict[str, Any]


def _field(name: str, kind: Any, about: str = "", **more: Any) -> Row:
    return {"name": name, "type": kind, **({"description": about} if about else {}), **more}


def _record(name: str, *fields: Row) -> Row:
    return {"type": "record", "name": name, "namespace": "catcher", "fields": list(fields)}


def _texts(*names: str) -> list[Row]:
    return [_field(name, "string") for name in names]


_STRINGS = {"type": "map", "values": "string"}
_METRIC = _record("metric", _field("name", "string"), _field("value", "double"),
                  _field("unit", "string"))  # fmt: skip
_ARTIFACT = _record("artifact", *_texts("name", "key", "url", "mime", "checksum"),
                    _field("size", "long", "bytes"))  # fmt: skip
RESULT_SCHEMA = _record(
    "result", *_texts("site", "run", "rule", "key", "job", "time", "finished", "observation"),
    _field("manual", "boolean"),
    _field("columns", _STRINGS, "Of the observation."),
    _field("metrics", {"type": "array", "items": _METRIC}, "Those that are known."),
    _field("unknown", {"type": "array", "items": "string"}, "Metrics without a value."),
    _field("artifacts", {"type": "array", "items": _ARTIFACT}),
)  # fmt: skip
"""A committed result; times are ISO 8601 UTC."""

ALERT_SCHEMA = _record(
    "alert", *_texts("id", "rule", "key", "per", "state", "severity_name", "opened", "changed",
                     "resolved", "data_time", "time", "reason", "message", "headline", "owner",
                     "runbook", "acknowledged_by", "shelved_by", "shelved_until", "run",
                     "notice", "change", "previous"),
    *(_field(name, "int") for name in ("episode", "sequence", "severity", "max_severity")),
    *(_field(name, "boolean") for name in ("unknown", "latched", "unrecorded")),
    _field("labels", _STRINGS), _field("links", _STRINGS),
    _field("tags", {"type": "array", "items": "string"}),
)  # fmt: skip
"""The present state of one alert; what there is not is empty."""

FILE_SCHEMA = _record(
    "largeFileObjectAvailable", *_texts("url", "generator", "checkSum", "mimeType", "id"),
    _field("salIndex", "long"), _field("version", "double"), _field("byteSize", "long"),
    _field("private_sndStamp", "double", "TAI, seconds."),
)  # fmt: skip
"""One file of a Large File Annex; `checkSum` is the SHA-256 in hex."""


def result_row(run: Run, site: str) -> Row:
    """A result that has just been committed: what it is of, its metrics, its artifacts."""
    known = {name: one for name, one in run.metrics.items() if one.known}
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
            {"name": name, "value": one.value, "unit": one.unit}
            for name, one in known.items()
        ],
        "unknown": [name for name in run.metrics if name not in known],
        "artifacts": [
            {
                "name": one.name, "key": one.key, "url": one.url, "mime": one.mime,
                "checksum": one.checksum, "size": one.size,
            }
            for one in run.artifacts
        ],
    }  # fmt: skip


def alert_record(state: Mapping[str, Any]) -> Row:
    """The state of an alert (`layouts.state`) as its schema has it."""
    fields = {one["name"]: one["type"] for one in ALERT_SCHEMA["fields"]}
    row: Row = {name: "" if state.get(name) is None else state[name] for name in fields}
    for name, kind in fields.items():
        if kind == _STRINGS:
            row[name] = {key: str(value) for key, value in dict(row[name]).items()}
    return row
