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
    """A named scalar. `value` is None (or NaN) where it cannot be had; `reason` says why."""

    value: float | None
    unit: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def __reduce__(self) -> tuple[type[Metric], tuple[Any, ...]]:
        """As its parts: there are thousands a visit, and a dataclass unpacks itself slowly."""
        return Metric, (self.value, self.unit, self.labels, self.reason)

    def labelled(self, label: str, value: str) -> Metric:
        """The same with one more label; `replace` would take five times as long."""
        return Metric(self.value, self.unit, {**self.labels, label: value}, self.reason)

    @property
    def known(self) -> bool:
        """Whether there is a finite value."""
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A scalar for each amp, detector, raft or HEALPix pixel.

    `over` says of what (`amp`, `detector`, `raft`, `healpix`); `ids` names each place and
    `values` (float64, same length) holds NaN where a place has none.
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
    """What a job made. A bare number among `metrics` is a metric without a unit.

    `artifacts` maps a file name to an object; the suffix says its form (`.json .npz .parquet
    .csv .png .svg .html .fits .txt`). `note` is one line for the reader of the run.
    """

    metrics: Mapping[str, Metric | float | int | None] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An artifact as bytes, ready to be kept. `name` is a plain file name."""

    name: str
    data: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class Output:
    """A checked result as it leaves the worker: numbers, fields and encoded artifacts."""

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)
    artifacts: tuple[Encoded, ...] = ()
    note: str = ""


def part_result(output: Output, label: str, part: str) -> Result:
    """What a part made, as a gathering job gets it: its metrics labelled, without artifacts."""
    metrics = {name: metric.labelled(label, part) for name, metric in output.metrics.items()}
    return Result(metrics, output.fields, {}, output.note)
