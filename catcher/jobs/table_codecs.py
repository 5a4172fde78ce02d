"""Tables as Parquet and CSV. The Parquet file records what kind of table it was."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from catcher.model.event import Series
from catcher.model.result import Field

METADATA_KEY = b"catcher"
"""The key of the Parquet metadata with the kind of table."""


def to_parquet(item: object) -> bytes:
    """Encodes a `Series`, `Field`, dict of columns, list of rows or Arrow table as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(item, pa.Table):
        table, table_info = item, {"kind": "table"}
    else:
        columns, table_info = _to_columns(item)
        table = pa.table({name: _to_arrow_array(values) for name, values in columns.items()})
    metadata = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(table_info).encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> Any:
    """Decodes what `to_parquet` was given; an Arrow table if another program wrote the file."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    metadata = dict(table.schema.metadata or {})
    table_info = json.loads(metadata.pop(METADATA_KEY, b'{"kind": "table"}'))
    if table_info["kind"] == "table":
        return table.replace_schema_metadata(metadata or None)
    if table_info["kind"] == "rows":
        return table.to_pylist()
    columns = {name: _to_numpy_array(table.column(name)) for name in table.column_names}
    if table_info["kind"] == "series":
        time = columns.pop("time")
        return Series(time, columns, table_info["units"], table_info["topic"])
    if table_info["kind"] == "field":
        return Field(
            table_info["over"], columns["id"].tolist(), columns["value"], table_info["unit"]
        )
    return columns


def to_csv(item: object) -> bytes:
    """Encodes the same tables as CSV with a header; floats in full, None and NaN empty."""
    if hasattr(item, "to_pydict"):
        item = item.to_pydict()
    columns, _ = _to_columns(item)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    lists = [np.asarray(values).tolist() for values in columns.values()]
    for row in zip(*lists, strict=True):
        writer.writerow(["" if value is None or value != value else value for value in row])
    return buffer.getvalue().encode()


def from_csv(data: bytes) -> dict[str, Any]:
    """Returns the columns by name: float64 arrays (empty cells NaN) if all cells are numbers."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    if not rows:
        return {}
    names, records = rows[0], [row for row in rows[1:] if row]
    if any(len(row) != len(names) for row in records):
        raise ValueError(f"a line has not the {len(names)} cells that the first names")
    return {
        name: _parse_column([row[index] for row in records]) for index, name in enumerate(names)
    }


def _to_columns(item: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns any table as columns of one length, and a description of what it was."""
    match item:
        case Series():
            if "time" in item.columns:
                raise ValueError("the series has a column 'time' beside its time")
            table_info = {"kind": "series", "units": dict(item.units), "topic": item.topic}
            return {"time": item.time, **item.columns}, table_info
        case Field():
            table_info = {"kind": "field", "over": item.over, "unit": item.unit}
            return {"id": list(item.ids), "value": item.values}, table_info
        case Mapping():
            return _check_equal_lengths({str(name): values for name, values in item.items()}), {
                "kind": "columns"
            }
        case list() | tuple() if all(isinstance(row, Mapping) for row in item):
            names = dict.fromkeys(str(name) for row in item for name in row)
            return {name: [row.get(name) for row in item] for name in names}, {"kind": "rows"}
    raise TypeError("give a Series, a Field, a dict of columns, a list of rows or an Arrow table")


def _check_equal_lengths(columns: dict[str, Any]) -> dict[str, Any]:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns differ in length: {lengths}")
    return columns


def _to_arrow_array(values: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim > 1:
        return pa.array(values.tolist())
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise TypeError(str(error)) from error


def _to_numpy_array(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return column.to_numpy()
    values: Sequence[Any] = column.to_pylist()
    if pa.types.is_list(column.type):
        return np.array(values)
    return np.array(values) if None not in values else np.array(values, dtype=object)


def _parse_column(cells: Sequence[str]) -> Any:
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)
    except ValueError:
        return np.array(cells)
