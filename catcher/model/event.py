"""One message of a stream, and a stretch of telemetry as arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from catcher.model.time import Instant

FloatArray = npt.NDArray[np.float64]

RESULT_PREFIX = "catcher."
"""A committed run's result enters the streams as the topic `catcher.RULE`."""
HTTP_PREFIX = "catcher.http."
"""A post to `/http/NAME` enters as the topic `catcher.http.NAME` (the trigger `http: NAME`)."""


class Event(NamedTuple):
    """A telemetry sample, an event or a job's result.

    `fields` holds JSON values: numbers, text, booleans, None, lists, nested mappings. `source`
    names the source that it came through. Immutable by agreement: nobody writes to `fields`.
    """

    topic: str
    time: Instant
    fields: Mapping[str, Any]
    source: str = ""


class Admitted(NamedTuple):
    """An event let in, with what admission found: a late one stays out of windows and holds."""

    event: Event
    late: bool = False


def digest(event: Event) -> str:
    """16 hex digits of topic, time and fields: what makes two events the same."""
    body = json.dumps(event.fields, sort_keys=True, separators=(",", ":"), default=str)
    text = f"{event.topic}\0{event.time}\0{body}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A stretch of telemetry: `time` (float64, seconds since the epoch UTC) and named columns.

    Every column is a float64 array of the length of `time`; a missing value is NaN. `units`
    names the units that are known. `len(series)` is the number of samples.
    """

    time: FloatArray
    columns: Mapping[str, FloatArray] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    topic: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "time", np.asarray(self.time, dtype=np.float64))
        columns = {
            name: np.asarray(column, dtype=np.float64) for name, column in self.columns.items()
        }
        object.__setattr__(self, "columns", columns)
        for name, column in columns.items():
            if column.shape != self.time.shape:
                raise ValueError(
                    f"column {name!r} has shape {column.shape}, time has {self.time.shape}"
                )

    def __getitem__(self, name: str) -> FloatArray:
        try:
            return self.columns[name]
        except KeyError:
            known = ", ".join(sorted(self.columns)) or "none"
            raise KeyError(f"the series has no column {name!r}; it has {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        return int(self.time.shape[0])
