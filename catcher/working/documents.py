"""JSON documents, strict: what JSON cannot say is refused by name, never guessed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np

from catcher.model.event import Series
from catcher.model.result import Field, Metric

TAG = "catcher"
"""The key that marks a Series, Field or Metric within a document."""
DEEPEST = 100


def to_json(item: object) -> bytes:
    """A document as UTF-8 JSON. NaN and infinities become null, arrays and tuples lists."""
    return json.dumps(plain(item), ensure_ascii=False, allow_nan=False, indent=1).encode()


def from_json(data: bytes) -> Any:
    """A document as it went in."""
    return json.loads(data, object_hook=_restored)


def plain(item: Any, path: str = "it", depth: int = 0) -> Any:
    """JSON values for an item; TypeError names the place of what cannot be said in JSON."""
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if item is None or isinstance(item, str | bool | int):
        return item
    if isinstance(item, float):
        return float(item) if math.isfinite(item) else None
    if isinstance(item, np.ndarray | np.generic):
        return _plain_array(item, path, depth)
    if isinstance(item, Mapping):
        return {
            _key(name, path): plain(value, f"{path}[{name!r}]", depth + 1)
            for name, value in item.items()
        }
    if isinstance(item, list | tuple):
        return [plain(value, f"{path}[{n}]", depth + 1) for n, value in enumerate(item)]
    if isinstance(item, datetime | date):
        return item.isoformat()
    return plain(_tagged(item, path), path, depth + 1)


def _plain_array(item: Any, path: str, depth: int) -> Any:
    if item.dtype.kind in "mM":
        return np.datetime_as_string(item).tolist() if item.dtype.kind == "M" else item.tolist()
    if item.dtype.kind not in "biufUO":
        raise TypeError(f"{path} is of {item.dtype}, which JSON cannot hold")
    return plain(item.tolist(), path, depth + 1)


def _key(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{path} has the key {name!r}; JSON has text for keys, write str(...)")
    return name


def _tagged(item: object, path: str) -> Mapping[str, Any]:
    match item:
        case Series():
            columns = {"time": item.time, "columns": dict(item.columns)}
            return {TAG: "series", **columns, "units": dict(item.units), "topic": item.topic}
        case Field():
            ids = list(item.ids)
            return {TAG: "field", "over": item.over, "ids": ids, "values": item.values,
                    "unit": item.unit}  # fmt: skip
        case Metric():
            return {TAG: "metric", "value": item.value, "unit": item.unit,
                    "labels": dict(item.labels), "reason": item.reason}  # fmt: skip
    raise TypeError(f"{path} is a {type(item).__name__}, which JSON cannot hold")


def _restored(document: dict[str, Any]) -> Any:
    rest = {name: value for name, value in document.items() if name != TAG}
    match document.get(TAG):
        case "series":
            columns = {name: _floats(column) for name, column in rest["columns"].items()}
            return Series(_floats(rest["time"]), columns, rest["units"], rest["topic"])
        case "field":
            return Field(rest["over"], rest["ids"], _floats(rest["values"]), rest["unit"])
        case "metric":
            return Metric(rest["value"], rest["unit"], rest["labels"], rest["reason"])
    return document


def _floats(values: list[float | None]) -> Any:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
