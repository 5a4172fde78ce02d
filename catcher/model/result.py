"""What a job returns: metrics, fields and artifacts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catcher.model.event import FloatArray


@dataclass(frozen=True, slots=True)
class Metric:
    """A named scalar. `value` is None (or NaN) if unknown; `reason` says why."""

    value: float | None
    unit: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def __reduce__(self) -> tuple[type[Metric], tuple[Any, ...]]:
        """Pickles as its parts: there are thousands per visit, and a dataclass unpickles slowly."""
        return Metric, (self.value, self.unit, self.labels, self.reason)

    def with_label(self, label: str, value: str) -> Metric:
        """Returns a copy with one more label; `replace` would take five times as long."""
        return Metric(self.value, self.unit, {**self.labels, label: value}, self.reason)

    @property
    def is_known(self) -> bool:
        """True if there is a finite value."""
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A scalar for each amp, detector, raft or HEALPix pixel.

    `over` says of what (`amp`, `detector`, `raft`, `healpix`); `ids` names each element and
    `values` (float64, same length) holds NaN where an element has none.
    """

    over: str
    ids: Sequence[str]
    values: FloatArray
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float64))
        object.__setattr__(self, "ids", tuple(str(name) for name in self.ids))
        if self.values.shape != (len(self.ids),):
            raise ValueError(f"{len(self.ids)} ids, but values of shape {self.values.shape}")


@dataclass(frozen=True, slots=True)
class Result:
    """What a job returns. A bare number among `metrics` is a metric without a unit.

    `artifacts` maps a file name to an object; the suffix selects its format (`.json .npz .parquet
    .csv .png .svg .html .fits .txt`). `note` is one line for the reader of the run.
    """

    metrics: Mapping[str, Metric | float | int | None] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class EncodedArtifact:
    """An artifact as bytes, ready to be stored. `name` is a plain file name."""

    name: str
    data: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class JobOutput:
    """A checked result as it leaves the worker: numbers, fields and encoded artifacts."""

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)
    artifacts: tuple[EncodedArtifact, ...] = ()
    note: str = ""


def build_part_result(output: JobOutput, label: str, part: str) -> Result:
    """Returns the result of a part for the gather job: its metrics labelled, without artifacts."""
    metrics = {name: metric.with_label(label, part) for name, metric in output.metrics.items()}
    return Result(metrics, output.fields, {}, output.note)
