"""Events of a stream, and series of telemetry as arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from catcher.model import dataframes
from catcher.model.time import Instant

FloatArray = npt.NDArray[np.float64]

RESULT_PREFIX = "catcher."
"""A committed run's result enters the streams as the topic `catcher.RULE`."""
HTTP_PREFIX = "catcher.http."
"""A post to `/http/NAME` enters as the topic `catcher.http.NAME` (the trigger `http: NAME`)."""
HEALTH_TOPIC = "catcher.health"
"""The health of the engine's components enters the streams as this topic; no rule has this name."""


def is_result_topic(topic: str) -> bool:
    """True if the events of a topic are the results of a rule."""
    is_reserved = topic == HEALTH_TOPIC or topic.startswith(HTTP_PREFIX)
    return topic.startswith(RESULT_PREFIX) and not is_reserved


class Event(NamedTuple):
    """A telemetry sample, an event or a job's result.

    `fields` holds JSON values: numbers, text, booleans, None, lists, nested mappings. `source`
    names the source that it came through. Immutable by convention: nobody writes to `fields`.
    """

    topic: str
    time: Instant
    fields: Mapping[str, Any]
    source: str = ""


class AdmittedEvent(NamedTuple):
    """An event that passed admission; a `late` one stays out of windows and holds."""

    event: Event
    late: bool = False


class ReceivedEvent(NamedTuple):
    """An event of a durable source as received, before admission, and when."""

    event: Event
    received: Instant


_SORTED_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)
_SCALAR_TYPES = frozenset((int, float, str, bool, type(None)))
"""Values whose `repr` is as good as JSON, and faster."""


def compute_digest(event: Event) -> str:
    """Returns 16 hex digits of topic, time and fields: what makes two events the same.

    Only the names of the fields are used if these cannot be encoded, as when nested too deeply.
    """
    fields = event.fields
    try:
        if _SCALAR_TYPES.issuperset(map(type, fields.values())):
            body = repr(sorted(fields.items()))
        else:
            body = _SORTED_ENCODER.encode(fields)
    except (RecursionError, TypeError, ValueError):
        body = json.dumps(sorted(str(name) for name in fields))
    text = f"{event.topic}\0{event.time}\0{body}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A series of telemetry: `time` (float64, seconds since the epoch UTC) and named columns.

    Every column is a float64 array of the length of `time`; a missing value is NaN. `units`
    has the known units by column. `len(series)` is the number of samples.
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
            known_names = ", ".join(sorted(self.columns)) or "none"
            raise KeyError(f"the series has no column {name!r}; it has {known_names}") from None

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        return int(self.time.shape[0])

    def to_arrow(self) -> Any:
        """Returns an Arrow table: `time` (UTC timestamps), the columns, units in their metadata."""
        return dataframes.series_to_arrow(self)

    def to_pandas(self) -> Any:
        """Returns a pandas DataFrame with a UTC index; `attrs` has topic and units."""
        return dataframes.series_to_pandas(self)

    def to_polars(self) -> Any:
        """Returns a polars DataFrame with the column `time`."""
        return dataframes.series_to_polars(self)

    def to_xarray(self) -> Any:
        """Returns an xarray Dataset over `time`."""
        return dataframes.series_to_xarray(self)

    def to_astropy(self) -> Any:
        """Returns an astropy TimeSeries; columns are quantities where their unit is known."""
        return dataframes.series_to_astropy(self)
