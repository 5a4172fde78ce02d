"""One message of a stream, and a stretch of telemetry as arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from catcher.model import frames
from catcher.model.time import Instant

FloatArray = npt.NDArray[np.float64]

RESULT_PREFIX = "catcher."
"""A committed run's result enters the streams as the topic `catcher.RULE`."""
HTTP_PREFIX = "catcher.http."
"""A post to `/http/NAME` enters as the topic `catcher.http.NAME` (the trigger `http: NAME`)."""
HEALTH_TOPIC = "catcher.health"
"""How the parts of the pipeline do enters the streams as this topic; no rule is called so."""


def is_result(topic: str) -> bool:
    """Whether the events of a topic are the results of a rule."""
    own = topic == HEALTH_TOPIC or topic.startswith(HTTP_PREFIX)
    return topic.startswith(RESULT_PREFIX) and not own


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


class Arrived(NamedTuple):
    """An event of a durable source as it came, before admission judged it, and when."""

    event: Event
    received: Instant


_IN_ORDER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)
_FLAT = frozenset((int, float, str, bool, type(None)))
"""Values whose `repr` is as good as JSON, and quicker had."""


def digest(event: Event) -> str:
    """16 hex digits of topic, time and fields: what makes two events the same.

    Of the names of the fields alone where the fields defeat it, as a nesting that is too deep.
    """
    fields = event.fields
    try:
        if _FLAT.issuperset(map(type, fields.values())):
            body = repr(sorted(fields.items()))
        else:
            body = _IN_ORDER.encode(fields)
    except (RecursionError, TypeError, ValueError):
        body = json.dumps(sorted(str(name) for name in fields))
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

    def to_arrow(self) -> Any:
        """An Arrow table: `time` (timestamps of UTC) and the columns, units in their metadata."""
        return frames.series_to_arrow(self)

    def to_pandas(self) -> Any:
        """A DataFrame of pandas with an index of UTC; `attrs` has topic and units."""
        return frames.series_to_pandas(self)

    def to_polars(self) -> Any:
        """A DataFrame of polars with the column `time`."""
        return frames.series_to_polars(self)

    def to_xarray(self) -> Any:
        """A Dataset of xarray over `time`."""
        return frames.series_to_xarray(self)

    def to_astropy(self) -> Any:
        """A TimeSeries of astropy; columns are quantities where their unit is known."""
        return frames.series_to_astropy(self)
