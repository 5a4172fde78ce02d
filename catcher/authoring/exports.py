"""What a question found, as a file: CSV, Parquet, a quick plot."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from catcher.model.event import Series
from catcher.model.problem import CatcherError
from catcher.model.table import Table
from catcher.model.time import from_seconds, parse_instant, to_seconds

Found = Table[Any] | Series
Row = dict[str, Any]
FORMS = (".png", ".svg", ".pdf")
MOST_PANELS = 6
MOST_LINES = 8
BINS = 60


def rows_of(found: Found) -> Iterator[Row]:
    """Plain rows; those of a series have `time` and a cell for each column, None where unknown."""
    if isinstance(found, Table):
        yield from found.rows()
        return
    from catcher.model.time import format_instant

    names = list(found.columns)
    columns = [found.columns[name].tolist() for name in names]
    for place, time in enumerate(found.time.tolist()):
        cells = (column[place] for column in columns)
        values = (cell if math.isfinite(cell) else None for cell in cells)
        yield {"time": format_instant(from_seconds(time)), **dict(zip(names, values, strict=True))}


def write_csv(found: Found, out: TextIO) -> None:
    """A line of names, then a line a row; what is nested is JSON, a formula stays text."""
    writer = csv.writer(out, lineterminator="\n")
    rows = rows_of(found)
    first = next(rows, None)
    names = list(first) if first is not None else _names(found)
    writer.writerow(names)
    if first is not None:
        writer.writerow([_cell(first.get(name)) for name in names])
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])


def _names(found: Found) -> Sequence[str]:
    return found.names if isinstance(found, Table) else ["time", *found.columns]


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def write_parquet(found: Found, file: Path) -> None:
    """Typed columns, times as timestamps of UTC, units in the metadata."""
    import pyarrow.parquet as pq

    try:
        pq.write_table(found.to_arrow(), file, compression="zstd")
    except OSError as trouble:
        raise _unwritable(file, trouble) from trouble


def _unwritable(file: Path, trouble: OSError) -> CatcherError:
    return CatcherError(f"{file} cannot be written ({trouble})", "choose another place")


# -- a quick plot ---------------------------------------------------------------------------


def draw(found: Found, file: Path, title: str) -> None:
    """Every number over time, a panel for each unit; what has no numbers is counted."""
    if file.suffix.lower() not in FORMS:
        raise CatcherError(f"{file.name} is no picture", f"end its name in {', '.join(FORMS)}")
    series = found if isinstance(found, Series) else numbers_of(found)
    if not len(series):
        raise CatcherError("nothing was found that could be drawn", "ask for a longer span")
    # Slow to import, and only a picture needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(series)
    figure = Figure(figsize=(10, 1.2 + 2.6 * max(1, len(panels))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.ravel(figure.subplots(max(1, len(panels)), 1, sharex=True, squeeze=False))
    times = np.asarray(np.round(series.time * 1e6), dtype="datetime64[us]")
    mark = "." if len(series) < 400 else ""
    for place, (unit, names) in zip(axes, panels.items(), strict=False):
        for name in names[:MOST_LINES]:
            place.plot(times, series[name], marker=mark, linewidth=1, label=_plain(name))
        place.set_ylabel("" if unit.startswith(" ") else _plain(unit))
        place.legend(loc="upper right", frameon=False, fontsize="small")
    if not panels:
        axes[0].hist(times.astype("datetime64[us]"), bins=BINS, color="#4477aa")
        axes[0].set_ylabel("how many")
    axes[-1].set_xlabel("UTC")
    axes[0].set_title(_plain(title), loc="left")
    try:
        figure.savefig(file, dpi=120)
    except OSError as trouble:
        raise _unwritable(file, trouble) from trouble


def _plain(text: str) -> str:
    return text[:80].replace("$", r"\$")


def _panels(series: Series) -> dict[str, list[str]]:
    """The columns that share a unit share a panel; without a unit each has one of its own."""
    panels: dict[str, list[str]] = {}
    telling = [name for name in series.columns if not _is_stamp(name)]
    for name in telling or series.columns:
        panels.setdefault(series.units.get(name) or f" {name}", []).append(name)
    return dict(list(panels.items())[:MOST_PANELS])


def _is_stamp(name: str) -> bool:
    """What SAL adds to every sample, and clocks: numbers that say nothing over time."""
    return name.startswith("private_") or name.endswith("imestamp") or name == "salIndex"


def numbers_of(found: Table[Any]) -> Series:
    """The numbers of rows over their time: of metrics a column for each name."""
    rows = [row for row in found.rows() if _time_of(row) is not None]
    if rows and {"name", "value", "unit"} <= rows[0].keys():
        pivoted = [{"time": row["time"], row["name"]: row["value"]} for row in rows]
        units = {row["name"]: row["unit"] for row in rows if row["unit"]}
    else:
        pivoted, units = rows, {}
    stamps = [_time_of(row) or 0 for row in pivoted]
    order = np.argsort(np.array(stamps, dtype=np.int64), kind="stable")
    names = dict.fromkeys(name for row in pivoted for name, cell in row.items() if _number(cell))
    columns = {
        name: np.array([_float(pivoted[place].get(name)) for place in order])
        for name in names
        if name not in _NO_FIGURES
    }
    return Series(np.array([to_seconds(stamps[place]) for place in order]), columns, units)


_NO_FIGURES = {"ns", "episode", "attempt", "size", "manual", "unknown", "latched"}


def _time_of(row: Mapping[str, Any]) -> int | None:
    ns, text = row.get("ns"), row.get("time")
    if isinstance(ns, int):
        return ns
    try:
        return parse_instant(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _float(cell: Any) -> float:
    return float(cell) if _number(cell) else math.nan
