"""Exports query results as files: CSV, Parquet, a quick plot."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.table import Table
from catcher.model.time import instant_from_seconds, nanoseconds_to_seconds, parse_instant

Exportable = Table[Any] | Series
Row = dict[str, Any]
IMAGE_SUFFIXES = (".png", ".svg", ".pdf")
MAX_PANELS = 6
MAX_LINES = 8
HISTOGRAM_BINS = 60


def iter_rows(data: Exportable) -> Iterator[Row]:
    """Yields plain rows; those of a series have `time` and a cell per column, None if unknown."""
    if isinstance(data, Table):
        yield from data.rows()
        return
    from catcher.model.time import format_instant

    names = list(data.columns)
    columns = [data.columns[name].tolist() for name in names]
    for index, time in enumerate(data.time.tolist()):
        column_values = (column[index] for column in columns)
        values = (value if math.isfinite(value) else None for value in column_values)
        yield {
            "time": format_instant(instant_from_seconds(time)),
            **dict(zip(names, values, strict=True)),
        }


def write_csv(data: Exportable, stream: TextIO) -> None:
    """Writes the header and a line per row; nested values are JSON, a formula stays text."""
    writer = csv.writer(stream, lineterminator="\n")
    rows = iter_rows(data)
    first_row = next(rows, None)
    names = list(first_row) if first_row is not None else _get_column_names(data)
    writer.writerow(names)
    if first_row is not None:
        writer.writerow([_format_cell(first_row.get(name)) for name in names])
    for row in rows:
        writer.writerow([_format_cell(row.get(name)) for name in names])


def _get_column_names(data: Exportable) -> Sequence[str]:
    return data.names if isinstance(data, Table) else ["time", *data.columns]


def _format_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def write_parquet(data: Exportable, file: Path) -> None:
    """Writes typed columns, times as timestamps of UTC, units in the metadata."""
    import pyarrow.parquet as pq

    try:
        pq.write_table(data.to_arrow(), file, compression="zstd")
    except OSError as error:
        raise _build_write_error(file, error) from error


def _build_write_error(file: Path, error: OSError) -> CatcherError:
    return CatcherError(f"{file} cannot be written ({error})", "choose another place")


# -- a quick plot ---------------------------------------------------------------------------


def draw_plot(data: Exportable, file: Path, title: str) -> None:
    """Draws every number over time, a panel per unit; without numbers, a histogram of the times."""
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        raise CatcherError(
            f"{file.name} is no picture", f"end its name in {', '.join(IMAGE_SUFFIXES)}"
        )
    series = data if isinstance(data, Series) else table_to_series(data)
    if not len(series):
        raise CatcherError("nothing was found that could be drawn", "ask for a longer span")
    # Slow to import, and only a plot needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _group_columns_by_unit(series)
    figure = Figure(figsize=(10, 1.2 + 2.6 * max(1, len(panels))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.ravel(figure.subplots(max(1, len(panels)), 1, sharex=True, squeeze=False))
    times = np.asarray(np.round(series.time * 1e6), dtype="datetime64[us]")
    marker = "." if len(series) < 400 else ""
    for axis, (unit, names) in zip(axes, panels.items(), strict=False):
        for name in names[:MAX_LINES]:
            axis.plot(times, series[name], marker=marker, linewidth=1, label=_escape_label(name))
        axis.set_ylabel("" if unit.startswith(" ") else _escape_label(unit))
        axis.legend(loc="upper right", frameon=False, fontsize="small")
    if not panels:
        axes[0].hist(times.astype("datetime64[us]"), bins=HISTOGRAM_BINS, color="#4477aa")
        axes[0].set_ylabel("how many")
    axes[-1].set_xlabel("UTC")
    axes[0].set_title(_escape_label(title), loc="left")
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise _build_write_error(file, error) from error


def _escape_label(text: str) -> str:
    return text[:80].replace("$", r"\$")


def _group_columns_by_unit(series: Series) -> dict[str, list[str]]:
    """Groups the columns by unit, a panel each; a column without a unit has a panel of its own."""
    panels: dict[str, list[str]] = {}
    plotted_columns = [name for name in series.columns if not _is_metadata_column(name)]
    for name in plotted_columns or series.columns:
        panels.setdefault(series.units.get(name) or f" {name}", []).append(name)
    return dict(list(panels.items())[:MAX_PANELS])


def _is_metadata_column(name: str) -> bool:
    """True for SAL's metadata of every sample, and clocks: numbers that mean nothing over time."""
    return name.startswith("private_") or name.endswith("imestamp") or name == "salIndex"


def table_to_series(table: Table[Any]) -> Series:
    """Converts the numbers of rows to a series over their time: of metrics a column per name."""
    rows = [row for row in table.rows() if _parse_row_time(row) is not None]
    if rows and {"name", "value", "unit"} <= rows[0].keys():
        pivot_rows = [{"time": row["time"], row["name"]: row["value"]} for row in rows]
        units = {row["name"]: row["unit"] for row in rows if row["unit"]}
    else:
        pivot_rows, units = rows, {}
    timestamps = [_parse_row_time(row) or 0 for row in pivot_rows]
    order = np.argsort(np.array(timestamps, dtype=np.int64), kind="stable")
    names = dict.fromkeys(
        name for row in pivot_rows for name, value in row.items() if _is_number(value)
    )
    columns = {
        name: np.array([_number_or_nan(pivot_rows[index].get(name)) for index in order])
        for name in names
        if name not in _NON_PLOTTED
    }
    return Series(
        np.array([nanoseconds_to_seconds(timestamps[index]) for index in order]), columns, units
    )


_NON_PLOTTED = {"ns", "episode", "attempt", "size", "manual", "unknown", "latched"}


def _parse_row_time(row: Mapping[str, Any]) -> int | None:
    ns, text = row.get("ns"), row.get("time")
    if isinstance(ns, int):
        return ns
    try:
        return parse_instant(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number_or_nan(value: Any) -> float:
    return float(value) if _is_number(value) else math.nan
