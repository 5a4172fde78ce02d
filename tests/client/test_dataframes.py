"""Series and tables in the forms of other libraries."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.table import Table
from catcher.model.time import SECOND, parse_instant

T0 = parse_instant("2025-04-24T00:00:00Z") / SECOND
WIND = Series(
    T0 + np.array([0, 0.25, 0.1 + 0.2]),
    {"speed": np.array([1.0, np.nan, 3.0]), "mast": np.arange(3.0)},
    {"speed": "m/s", "mast": "unitless"},
    "wind",
)
ROWS = Table(
    [
        {"time": "2025-04-24T00:00:00Z", "name": "a", "labels": {"band": "r"}, "list": [1, 2]},
        {"time": None, "name": "b", "labels": {}, "list": []},
    ],
    dict,
    times=frozenset({"time"}),
)


def test_a_series_as_arrow() -> None:
    table = WIND.to_arrow()
    assert table.column_names == ["time", "speed", "mast"]
    assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert table.schema.field("speed").metadata == {b"unit": b"m/s"}
    assert table.column("time").cast("int64").to_pylist()[2] == 1_745_452_800_300_000_000


def test_a_series_as_pandas() -> None:
    frame = WIND.to_pandas()
    assert str(frame.index.tz) == "UTC"
    assert frame.index[1].isoformat() == "2025-04-24T00:00:00.250000+00:00"
    assert frame.attrs == {"topic": "wind", "units": dict(WIND.units)}
    assert frame["speed"].sum() == 4.0


def test_a_series_as_polars() -> None:
    frame = WIND.to_polars()
    assert frame.columns == ["time", "speed", "mast"]
    assert frame["mast"].to_list() == [0.0, 1.0, 2.0]


def test_a_series_as_xarray() -> None:
    dataset = WIND.to_xarray()
    assert dataset["speed"].attrs == {"units": "m/s"}
    assert dataset["time"].values[1] == np.datetime64("2025-04-24T00:00:00.25", "ns")


def test_a_series_as_astropy() -> None:
    series = WIND.to_astropy()
    assert str(series["speed"].unit) == "m / s"
    assert series.time[1].isot == "2025-04-24T00:00:00.250"
    assert series.meta["topic"] == "wind"
    assert len(Series(np.empty(0), {}).to_astropy()) == 0


def test_empty_series_is_converted() -> None:
    empty = Series(np.empty(0), {"speed": np.empty(0)})
    assert len(empty.to_pandas()) == len(empty.to_polars()) == empty.to_arrow().num_rows == 0
    assert empty.to_xarray().sizes["time"] == 0


def test_a_column_named_time_is_refused() -> None:
    series = Series(np.zeros(1), {"time": np.zeros(1)})
    for convert in (series.to_arrow, series.to_pandas, series.to_xarray, series.to_astropy):
        with pytest.raises(CatcherError, match="a column 'time' beside its time"):
            convert()


def test_rows_in_every_form() -> None:
    arrow = ROWS.to_arrow()
    assert arrow.column_names == ["time", "name", "labels.band", "list"]
    assert arrow.column("labels.band").to_pylist() == ["r", None]
    assert arrow.column("list").to_pylist() == ["[1, 2]", "[]"]
    frame = ROWS.to_pandas()
    assert frame["time"][0].isoformat() == "2025-04-24T00:00:00+00:00"
    assert frame["time"].isna().tolist() == [False, True]
    assert ROWS.to_polars()["name"].to_list() == ["a", "b"]
    assert ROWS.to_xarray()["name"].values.tolist() == ["a", "b"]
    assert ROWS.to_astropy()["name"].tolist() == ["a", "b"]


def test_cells_of_several_kinds_and_no_rows() -> None:
    assert Table([{"a": 1}, {"a": "x"}], dict).to_arrow().column("a").to_pylist() == ["1", "x"]
    assert Table([], dict, names=("a", "b")).to_pandas().columns.tolist() == ["a", "b"]


def test_a_table_is_a_sequence_and_a_page() -> None:
    assert len(ROWS) == 2
    assert ROWS[0]["name"] == "a"
    assert [row["name"] for row in ROWS[:1]] == ["a"]
    assert [ROWS[0], ROWS[1]] == ROWS
    html = Table([{"a": "<script>"}], dict, cut=True)._repr_html_()
    assert "&lt;script&gt;" in html
    assert "there are more" in html
    assert "and there are more" in repr(Table([{"a": 1}], dict, cut=True))


@pytest.mark.parametrize("library", ["pandas", "polars", "xarray"])
def test_missing_library_is_named(library: str) -> None:
    script = f"""
import sys
sys.modules[{library!r}] = None
import numpy as np
from catcher import Series
from catcher.model.table import Table
for one in (Series(np.zeros(2), {{"a": np.zeros(2)}}), Table([{{"a": 1}}], dict)):
    try:
        one.to_{library}()
    except Exception as error:
        print(error)
"""
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    message = f"{library} is not installed; pip install 'observatory-catcher[frames]'"
    assert completed.stdout.splitlines() == [message, message]
