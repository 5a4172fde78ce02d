"""Between what a run made and the ledger's rows: metrics, fields, the index of artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from catcher.model.result import Field, Metric
from catcher.model.run import ArtifactRecord, Run
from catcher.model.time import Instant
from catcher.ports import MetricPoint
from catcher.stores.documents import clean, document

Row = Mapping[str, Any]
Cells = dict[str, Any]

_labels = msgspec.json.Decoder(dict[str, str])
_ids = msgspec.json.Decoder(list[str])


def metric_rows(run: Run) -> list[Cells]:
    """A row for each metric of a run; an unknown value is NULL, with its reason."""
    return [
        {
            "run": run.id,
            "name": clean(name),
            "rule": clean(run.rule),
            "key": clean(run.firing.key),
            "time": run.firing.time,
            "value": float(metric.value) if metric.known and metric.value is not None else None,
            "unit": clean(metric.unit),
            "labels": document(_texts(metric.labels)),
            "observation": clean(run.observation),
            "reason": clean(metric.reason),
        }
        for name, metric in run.metrics.items()
    ]


def metric_of(row: Row) -> Metric:
    """A metric as a run carries it."""
    return Metric(row["value"], row["unit"], labels_of(row), row["reason"])


def point_of(row: Row) -> MetricPoint:
    """A metric as a query answers it."""
    return MetricPoint(
        name=row["name"],
        value=row["value"],
        unit=row["unit"],
        rule=row["rule"],
        key=row["key"],
        run=row["run"],
        time=row["time"],
        labels=labels_of(row),
        observation=row["observation"],
    )


def labels_of(row: Row) -> dict[str, str]:
    """The labels of a metric or an alert."""
    return _labels.decode(row["labels"])


def field_rows(run: Run) -> list[Cells]:
    """A row for each field of a run; its values as float64, little endian."""
    return [
        {
            "run": run.id,
            "name": clean(name),
            "rule": clean(run.rule),
            "over": clean(field.over),
            "unit": clean(field.unit),
            "ids": document(list(field.ids)),
            "values": field.values.astype("<f8").tobytes(),
            "time": run.firing.time,
            "observation": clean(run.observation),
        }
        for name, field in run.fields.items()
    ]


def field_of(row: Row) -> Field:
    """A field as it was written, NaN included."""
    values = np.frombuffer(row["values"], "<f8").astype(np.float64)
    return Field(row["over"], _ids.decode(row["ids"]), values, row["unit"])


def artifact_rows(run: Run, created: Instant) -> list[Cells]:
    """A row for each artifact of a run."""
    return [
        {
            "key": clean(record.key),
            "run": run.id,
            "rule": clean(record.rule),
            "name": clean(record.name),
            "time": record.time,
            "observation": clean(record.observation),
            "size": record.size,
            "mime": record.mime,
            "checksum": record.checksum,
            "url": clean(record.url),
            "created": created,
        }
        for record in run.artifacts
    ]


def artifact_of(row: Row) -> ArtifactRecord:
    """The index entry of an artifact."""
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


def _texts(labels: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in labels.items()}
