"""Series and tables in the forms of other libraries, Arrow underneath.

None of these libraries is needed to hold a Series, and most jobs need none: each is imported
when it is asked for. Where one is not installed, the error says what to install.
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

from catcher.model.problem import CatcherError
from catcher.model.time import parse_instant

Row = Mapping[str, Any]
IntArray = npt.NDArray[np.int64]
INSTALL = "pip install 'observatory-catcher[frames]'"
_UNITLESS = {"", "unitless", "dimensionless", "none"}


class Columns(Protocol):
    """What has a time and columns of one length, with units where they are known."""

    @property
    def time(self) -> npt.NDArray[np.float64]: ...
    @property
    def columns(self) -> Mapping[str, npt.NDArray[np.float64]]: ...
    @property
    def units(self) -> Mapping[str, str]: ...
    @property
    def topic(self) -> str: ...


def needed(name: str) -> ModuleType:
    """A library that not everybody has."""
    try:
        return import_module(name)
    except ImportError as error:
        raise CatcherError(f"{name} is not installed", INSTALL) from error


def nanoseconds(time: npt.NDArray[np.float64]) -> IntArray:
    """Nanoseconds since the epoch; a float64 of seconds is good to a microsecond there."""
    return np.asarray(np.round(time * 1e6), dtype=np.int64) * 1000


# -- series -------------------------------------------------------------------------------------


def series_to_arrow(series: Columns) -> Any:
    """An Arrow table: `time` (timestamps of UTC) and the columns, units in their metadata."""
    pa = needed("pyarrow")
    _refuse_time(series)
    stamps = pa.array(nanoseconds(series.time), pa.timestamp("ns", tz="UTC"))
    fields, arrays = [pa.field("time", stamps.type)], [stamps]
    for name, column in series.columns.items():
        unit = series.units.get(name, "")
        fields.append(pa.field(name, pa.float64(), metadata={"unit": unit} if unit else None))
        arrays.append(pa.array(column))
    schema = pa.schema(fields, metadata={"topic": series.topic})
    return pa.Table.from_arrays(arrays, schema=schema)


def series_to_pandas(series: Columns) -> Any:
    """A DataFrame with an index of UTC; `attrs` has topic and units."""
    pandas = needed("pandas")
    _refuse_time(series)
    index = pandas.DatetimeIndex(nanoseconds(series.time), tz="UTC", name="time")
    frame = pandas.DataFrame(dict(series.columns), index=index)
    frame.attrs.update(topic=series.topic, units=dict(series.units))
    return frame


def series_to_polars(series: Columns) -> Any:
    """A DataFrame of polars with the column `time`."""
    return needed("polars").from_arrow(series_to_arrow(series))


def series_to_xarray(series: Columns) -> Any:
    """A Dataset over the coordinate `time` (UTC); each variable has its `units`."""
    xarray = needed("xarray")
    _refuse_time(series)
    variables = {
        name: ("time", column, {"units": series.units[name]} if name in series.units else {})
        for name, column in series.columns.items()
    }
    stamps = nanoseconds(series.time).astype("datetime64[ns]")
    return xarray.Dataset(variables, {"time": stamps}, {"topic": series.topic})


def series_to_astropy(series: Columns) -> Any:
    """A TimeSeries whose columns are quantities where their unit is known."""
    times, timeseries = needed("astropy.time"), needed("astropy.timeseries")
    _refuse_time(series)
    columns = {
        name: _quantity(column, series.units.get(name, ""))
        for name, column in series.columns.items()
    }
    time = times.Time(series.time, format="unix", scale="utc")
    made = timeseries.TimeSeries(time=time, data=columns or None)
    made.meta["topic"] = series.topic
    return made


def _quantity(column: npt.NDArray[np.float64], unit: str) -> Any:
    if unit.lower() in _UNITLESS:
        return column
    units = needed("astropy.units")
    return column * units.Unit(unit, parse_strict="silent")


def _refuse_time(series: Columns) -> None:
    if "time" in series.columns:
        raise CatcherError(
            "the series has a column 'time' beside its time", "take it out: name the fields"
        )


# -- rows ---------------------------------------------------------------------------------------


def rows_to_arrow(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """An Arrow table of rows: what is nested becomes `name.key`, a list its JSON.

    `times` are the columns that hold ISO 8601 text; they become timestamps of UTC. `names` are
    columns that are there even without rows.
    """
    pa = needed("pyarrow")
    flat = [dict(_flat(row)) for row in rows]
    known = dict.fromkeys([*names, *(name for row in flat for name in row)])
    columns = {name: [row.get(name) for row in flat] for name in known}
    return pa.table({name: _arrow(pa, name, cells, times) for name, cells in columns.items()})


def rows_to_pandas(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """A DataFrame with a row for each."""
    needed("pandas")
    return rows_to_arrow(rows, times, names).to_pandas()


def rows_to_polars(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """A DataFrame of polars with a row for each."""
    return needed("polars").from_arrow(rows_to_arrow(rows, times, names))


def rows_to_xarray(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """A Dataset over the number of the row."""
    xarray = needed("xarray")
    columns = _numpy_columns(rows, times, names)
    return xarray.Dataset({name: ("row", column) for name, column in columns.items()})


def rows_to_astropy(rows: Sequence[Row], times: frozenset[str], names: Sequence[str] = ()) -> Any:
    """A QTable; times are columns of Time."""
    table, astropy_time = needed("astropy.table"), needed("astropy.time")
    columns = _numpy_columns(rows, times, names)
    made = {
        name: astropy_time.Time(column, format="datetime64", scale="utc")
        if column.dtype.kind == "M" and not np.isnat(column).any()
        else column
        for name, column in columns.items()
    }
    return table.QTable(made)


def _numpy_columns(
    rows: Sequence[Row], times: frozenset[str], names: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    table = rows_to_arrow(rows, times, names)
    return {name: _numpy(table.column(name)) for name in table.column_names}


def _numpy(column: Any) -> npt.NDArray[Any]:
    pa = needed("pyarrow")
    if pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.timestamp("ns")).to_numpy(), dtype="datetime64[ns]")
    if pa.types.is_string(column.type):
        return np.array(["" if cell is None else cell for cell in column.to_pylist()], dtype=str)
    return np.asarray(column.to_numpy())


def _flat(row: Row, path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in row.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{path}{name}.")
        elif isinstance(value, list | tuple):
            found.append((f"{path}{name}", json.dumps(value, ensure_ascii=False, default=str)))
        else:
            found.append((f"{path}{name}", value))
    return found


def _arrow(pa: ModuleType, name: str, cells: list[Any], times: frozenset[str]) -> Any:
    if name in times:
        stamps = [None if cell is None else _stamp(cell) for cell in cells]
        return pa.array(stamps, pa.timestamp("ns", tz="UTC"))
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        # Cells of several kinds, as a column of SQLite may hold.
        return pa.array([None if cell is None else str(cell) for cell in cells])


def _stamp(cell: str | int | float | datetime) -> int:
    return parse_instant(cell)
