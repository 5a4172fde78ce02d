"""Strict JSON documents: what JSON cannot represent is rejected by name, never guessed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np

from catcher.model.event import Series
from catcher.model.result import Field, Metric

TYPE_KEY = "catcher"
"""The key that marks a Series, Field or Metric within a document."""
MAX_DEPTH = 100


def encode_json_artifact(item: object) -> bytes:
    """Encodes a document as UTF-8 JSON. NaN and infinities become null, arrays and tuples lists."""
    return json.dumps(to_json_value(item), ensure_ascii=False, allow_nan=False, indent=1).encode()


def decode_json_artifact(data: bytes) -> Any:
    """Decodes a document of `encode_json_artifact`."""
    return json.loads(data, object_hook=_catcher_type_from_json)


def to_json_value(item: Any, path: str = "it", depth: int = 0) -> Any:
    """Converts an item to JSON values; TypeError names the path of what JSON cannot represent."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if item is None or isinstance(item, str | bool | int):
        return item
    if isinstance(item, float):
        return float(item) if math.isfinite(item) else None
    if isinstance(item, np.ndarray | np.generic):
        return _array_to_json(item, path, depth)
    if isinstance(item, Mapping):
        return {
            _check_key(name, path): to_json_value(value, f"{path}[{name!r}]", depth + 1)
            for name, value in item.items()
        }
    if isinstance(item, list | tuple):
        return [
            to_json_value(value, f"{path}[{index}]", depth + 1) for index, value in enumerate(item)
        ]
    if isinstance(item, datetime | date):
        return item.isoformat()
    return to_json_value(_catcher_type_to_json(item, path), path, depth + 1)


def _array_to_json(item: Any, path: str, depth: int) -> Any:
    if item.dtype.kind in "mM":
        return np.datetime_as_string(item).tolist() if item.dtype.kind == "M" else item.tolist()
    if item.dtype.kind not in "biufUO":
        raise TypeError(f"{path} is of {item.dtype}, which JSON cannot hold")
    return to_json_value(item.tolist(), path, depth + 1)


def _check_key(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{path} has the key {name!r}; JSON has text for keys, write str(...)")
    return name


def _catcher_type_to_json(item: object, path: str) -> Mapping[str, Any]:
    match item:
        case Series():
            columns = {"time": item.time, "columns": dict(item.columns)}
            return {TYPE_KEY: "series", **columns, "units": dict(item.units), "topic": item.topic}
        case Field():
            ids = list(item.ids)
            return {TYPE_KEY: "field", "over": item.over, "ids": ids, "values": item.values,
                    "unit": item.unit}  # fmt: skip
        case Metric():
            return {TYPE_KEY: "metric", "value": item.value, "unit": item.unit,
                    "labels": dict(item.labels), "reason": item.reason}  # fmt: skip
    raise TypeError(f"{path} is a {type(item).__name__}, which JSON cannot hold")


def _catcher_type_from_json(document: dict[str, Any]) -> Any:
    values = {name: value for name, value in document.items() if name != TYPE_KEY}
    match document.get(TYPE_KEY):
        case "series":
            columns = {name: _to_float_array(column) for name, column in values["columns"].items()}
            return Series(
                _to_float_array(values["time"]), columns, values["units"], values["topic"]
            )
        case "field":
            return Field(
                values["over"], values["ids"], _to_float_array(values["values"]), values["unit"]
            )
        case "metric":
            return Metric(values["value"], values["unit"], values["labels"], values["reason"])
    return document


def _to_float_array(values: list[float | None]) -> Any:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
