"""Converts series and tables to the types of other libraries, with Arrow underneath.

None of these libraries is needed to hold a Series, and most jobs need none: each is imported
on demand. If one is not installed, the error says what to install.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from catcher.model.errors import CatcherError
from catcher.model.time import parse_instant

Row = Mapping[str, Any]
IntArray = npt.NDArray[np.int64]
INSTALL_HINT = "pip install 'observatory-catcher[frames]'"
_UNITLESS = {"", "unitless", "dimensionless", "none"}


class Columns(Protocol):
    """A time and columns of one length, with units where they are known."""

    @property
    def time(self) -> npt.NDArray[np.float64]: ...
    @property
    def columns(self) -> Mapping[str, npt.NDArray[np.float64]]: ...
    @property
    def units(self) -> Mapping[str, str]: ...
    @property
    def topic(self) -> str: ...


def import_optional(name: str) -> ModuleType:
    """Imports an optional library; raises CatcherError if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise CatcherError(f"{name} is not installed", INSTALL_HINT) from error


def seconds_to_nanoseconds(time: npt.NDArray[np.float64]) -> IntArray:
    """Returns nanoseconds since the epoch; float64 seconds are accurate to a microsecond there."""
    return np.asarray(np.round(time * 1e6), dtype=np.int64) * 1000


# -- series -------------------------------------------------------------------------------------


def series_to_arrow(series: Columns) -> Any:
    """Returns an Arrow table: `time` (UTC timestamps) and the columns, units in their metadata."""
    pa = import_optional("pyarrow")
    _reject_time_column(series)
    timestamps = pa.array(seconds_to_nanoseconds(series.time), pa.timestamp("ns", tz="UTC"))
    fields, arrays = [pa.field("time", timestamps.type)], [timestamps]
    for name, column in series.columns.items():
        unit = series.units.get(name, "")
        fields.append(pa.field(name, pa.float64(), metadata={"unit": unit} if unit else None))
        arrays.append(pa.array(column))
    schema = pa.schema(fields, metadata={"topic": series.topic})
    return pa.Table.from_arrays(arrays, schema=schema)


def series_to_pandas(series: Columns) -> Any:
    """Returns a DataFrame with a UTC index; `attrs` has topic and units."""
    pandas = import_optional("pandas")
    _reject_time_column(series)
    index = pandas.DatetimeIndex(seconds_to_nanoseconds(series.time), tz="UTC", name="time")
    frame = pandas.DataFrame(dict(series.columns), index=index)
    frame.attrs.update(topic=series.topic, units=dict(series.units))
    return frame


def series_to_polars(series: Columns) -> Any:
    """Returns a polars DataFrame with the column `time`."""
    return import_optional("polars").from_arrow(series_to_arrow(series))


def series_to_xarray(series: Columns) -> Any:
    """Returns a Dataset over the coordinate `time` (UTC); each variable has its `units`."""
    xarray = import_optional("xarray")
    _reject_time_column(series)
    variables = {
        name: ("time", column, {"units": series.units[name]} if name in series.units else {})
        for name, column in series.columns.items()
    }
    timestamps = seconds_to_nanoseconds(series.time).astype("datetime64[ns]")
    return xarray.Dataset(variables, {"time": timestamps}, {"topic": series.topic})


def series_to_astropy(series: Columns) -> Any:
    """Returns a TimeSeries whose columns are quantities where their unit is known."""
    times, timeseries = import_optional("astropy.time"), import_optional("astropy.timeseries")
    _reject_time_column(series)
    columns = {
        name: _column_to_quantity(column, series.units.get(name, ""))
        for name, column in series.columns.items()
    }
    time = times.Time(series.time, format="unix", scale="utc")
    time_series = timeseries.TimeSeries(time=time, data=columns or None)
    time_series.meta["topic"] = series.topic
    return time_series


def _column_to_quantity(column: npt.NDArray[np.float64], unit: str) -> Any:
    if unit.lower() in _UNITLESS:
        return column
    units = import_optional("astropy.units")
    return column * units.Unit(unit, parse_strict="silent")


def _reject_time_column(series: Columns) -> None:
    if "time" in series.columns:
        raise CatcherError(
            "the series has a column 'time' beside its time", "take it out: name the fields"
        )


# -- rows ---------------------------------------------------------------------------------------


def rows_to_arrow(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """Returns an Arrow table of rows: nested values become `name.key`, a list its JSON.

    `times` are the columns that hold ISO 8601 text; they become UTC timestamps. `names` are
    columns that exist even without rows.
    """
    pa = import_optional("pyarrow")
    flat_rows = [dict(_flatten_row(row)) for row in rows]
    column_names = dict.fromkeys([*names, *(name for row in flat_rows for name in row)])
    columns = {name: [row.get(name) for row in flat_rows] for name in column_names}
    return pa.table(
        {name: _to_arrow_array(pa, name, values, times) for name, values in columns.items()}
    )


def rows_to_pandas(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """Returns a DataFrame with one row for each."""
    import_optional("pandas")
    return rows_to_arrow(rows, times, names).to_pandas()


def rows_to_polars(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """Returns a polars DataFrame with one row for each."""
    return import_optional("polars").from_arrow(rows_to_arrow(rows, times, names))


def rows_to_xarray(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """Returns a Dataset over the row number."""
    xarray = import_optional("xarray")
    columns = _rows_to_numpy(rows, times, names)
    return xarray.Dataset({name: ("row", column) for name, column in columns.items()})


def rows_to_astropy(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """Returns a QTable; times are Time columns."""
    table, astropy_time = import_optional("astropy.table"), import_optional("astropy.time")
    columns = _rows_to_numpy(rows, times, names)
    table_columns = {
        name: astropy_time.Time(column, format="datetime64", scale="utc")
        if column.dtype.kind == "M" and not np.isnat(column).any()
        else column
        for name, column in columns.items()
    }
    return table.QTable(table_columns)


def _rows_to_numpy(
    rows: Sequence[Row], times: frozenset[str], names: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    table = rows_to_arrow(rows, times, names)
    return {name: _column_to_numpy(table.column(name)) for name in table.column_names}


def _column_to_numpy(column: Any) -> npt.NDArray[Any]:
    pa = import_optional("pyarrow")
    if pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.timestamp("ns")).to_numpy(), dtype="datetime64[ns]")
    if pa.types.is_string(column.type):
        return np.array(["" if value is None else value for value in column.to_pylist()], dtype=str)
    return np.asarray(column.to_numpy())


def _flatten_row(row: Row, path: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in row.items():
        if isinstance(value, Mapping):
            pairs += _flatten_row(value, f"{path}{name}.")
        elif isinstance(value, list | tuple):
            pairs.append((f"{path}{name}", json.dumps(value, ensure_ascii=False, default=str)))
        else:
            pairs.append((f"{path}{name}", value))
    return pairs


def _to_arrow_array(pa: ModuleType, name: str, values: list[Any], times: frozenset[str]) -> Any:
    if name in times:
        timestamps = [
            None if value is None else _timestamp_to_nanoseconds(value) for value in values
        ]
        return pa.array(timestamps, pa.timestamp("ns", tz="UTC"))
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        # Cells of mixed types, as a SQLite column may hold.
        return pa.array([None if value is None else str(value) for value in values])


def _timestamp_to_nanoseconds(value: str | int | float | datetime) -> int:
    return parse_instant(value)
