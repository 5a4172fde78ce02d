"""Artifacts come back as they went in, under names that are plain, in sizes that are bounded."""

from __future__ import annotations

import io
import pickle
import re
from datetime import UTC, datetime
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from bokeh.layouts import column
from bokeh.plotting import figure as bokeh_figure
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from catcher import Field, Metric, Series
from catcher.jobs.artifact_codecs import CODECS, decode_artifact, encode_artifact
from catcher.model.errors import CatcherError

matplotlib.use("Agg")
SERIES = Series(
    np.array([1.5, 2.5]), {"speed": np.array([3.0, np.nan])}, {"speed": "m/s"}, "lsst.sal.X"
)
FIELD = Field("amp", ["C00", "C01"], np.array([1.0, np.nan]), "ADU")


def round_trip(name: str, item: object) -> Any:
    return decode_artifact(name, encode_artifact(name, item).data)


def assert_same_series(actual: Series, expected: Series) -> None:
    assert (actual.units, actual.topic) == (expected.units, expected.topic)
    np.testing.assert_array_equal(actual.time, expected.time)
    assert actual.columns.keys() == expected.columns.keys()
    for name in actual.columns:
        np.testing.assert_array_equal(actual[name], expected[name])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False,
                                                                     allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text().filter(lambda name: name != "catcher"), inner, max_size=4
    ),
)  # fmt: skip


@given(json_values)
def test_any_json_value_comes_back(item: Any) -> None:
    assert round_trip("a.json", item) == item


@given(st.dictionaries(st.text("abc", min_size=1), st.lists(st.floats(width=64)), max_size=3))
def test_any_arrays_come_back(item: dict[str, list[float]]) -> None:
    restored = round_trip("a.npz", {name: np.array(values) for name, values in item.items()})
    assert restored.keys() == item.keys()
    for name, values in item.items():
        np.testing.assert_array_equal(restored[name], np.array(values))


@pytest.mark.parametrize("name", ["a.json", "a.parquet"])
def test_a_series_comes_back(name: str) -> None:
    assert_same_series(round_trip(name, SERIES), SERIES)


@pytest.mark.parametrize("name", ["a.json", "a.parquet"])
def test_a_field_comes_back(name: str) -> None:
    restored = round_trip(name, FIELD)
    assert (restored.over, restored.ids, restored.unit) == (FIELD.over, FIELD.ids, FIELD.unit)
    np.testing.assert_array_equal(restored.values, FIELD.values)


def test_numpy_and_model_types_within_a_document_come_back() -> None:
    when = datetime(2025, 4, 24, tzinfo=UTC)
    item = {
        "scalar": np.float32(1.5), "count": np.int64(3), "yes": np.bool_(True),
        "array": np.arange(3), "pair": (1, 2), "bad": float("nan"), "when": when,
        "metric": Metric(1.0, "m/s"),
    }  # fmt: skip
    assert round_trip("a.json", item) == {
        "scalar": 1.5, "count": 3, "yes": True, "array": [0, 1, 2], "pair": [1, 2],
        "bad": None, "when": "2025-04-24T00:00:00+00:00", "metric": Metric(1.0, "m/s"),
    }  # fmt: skip


def test_columns_and_rows_come_back_from_parquet() -> None:
    rows = [{"id": "a", "n": 1, "x": None}, {"id": "b", "n": 2, "x": 0.5}]
    assert round_trip("a.parquet", rows) == rows
    columns = round_trip("a.parquet", {"id": ["a", "b"], "x": np.array([0.1, np.nan])})
    assert columns["id"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(columns["x"], [0.1, np.nan])


def test_an_arrow_table_comes_back() -> None:
    table = pa.table({"id": ["a"], "vector": [[1.0, 2.0]]})
    assert round_trip("a.parquet", table).equals(table)


def test_csv_comes_back_as_columns() -> None:
    restored = round_trip("a.csv", {"name": ["a,b", 'c"d'], "x": [1.5, None], "n": [1, 2]})
    assert restored["name"].tolist() == ["a,b", 'c"d']
    np.testing.assert_array_equal(restored["x"], [1.5, np.nan])
    assert round_trip("a.csv", pa.table({"x": [1.0]}))["x"].tolist() == [1.0]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_an_image_comes_back_from_fits(dtype: str) -> None:
    image = np.arange(12, dtype=dtype).reshape(3, 4)
    np.testing.assert_array_equal(round_trip("a.fits", image), image)


def test_fits_holds_lists_and_astropys_own() -> None:
    first, second = np.ones((2, 2)), np.zeros(3)
    restored = round_trip("a.fits", [first, second])
    np.testing.assert_array_equal(restored[0], first)
    np.testing.assert_array_equal(restored[1], second)
    for hdus in (
        fits.PrimaryHDU(first),
        fits.ImageHDU(first),
        fits.HDUList(fits.PrimaryHDU(first)),
    ):
        np.testing.assert_array_equal(round_trip("a.fits", hdus), first)


def test_a_figure_becomes_a_picture_and_is_closed() -> None:
    import matplotlib.pyplot as plt

    figure, _ = plt.subplots()
    png = round_trip("a.png", figure)
    assert png.startswith(b"\x89PNG")
    assert not plt.fignum_exists(figure.number)
    plain_figure = Figure()
    plain_figure.subplots().plot([1, 2])
    assert "<svg" in round_trip("a.svg", plain_figure)
    assert round_trip("a.png", png) == png


def test_the_same_figure_gives_the_same_bytes() -> None:
    pictures = []
    for _ in range(2):
        figure = Figure()
        figure.subplots().plot([1, 2])
        pictures.append(encode_artifact("a.png", figure).data)
    assert pictures[0] == pictures[1]


def test_a_bokeh_layout_becomes_a_page_that_needs_no_network() -> None:
    plot = bokeh_figure(width=200, height=200)
    plot.line([1, 2], [3, 4])
    page = round_trip("a.html", column(plot))
    assert "<html" in page
    assert re.search(r'<(script|link)[^>]*(src|href)="http', page) is None


def test_text_comes_back() -> None:
    assert round_trip("a.txt", "Grüße\n") == "Grüße\n"
    assert round_trip("a.html", b"<p>x</p>") == "<p>x</p>"


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("a.json", {"x": object()}),
        ("a.json", {1: 2}),
        ("a.json", {"x": 1j}),
        ("a.json", {"x": {1, 2}}),
        ("a.npz", {"x": np.array([object()])}),
        ("a.npz", {"x": [[1], [2, 3]]}),
        ("a.parquet", {"x": [1], "y": [1, 2]}),
        ("a.parquet", "text"),
        ("a.parquet", {"x": [object()]}),
        ("a.csv", 5),
        ("a.png", [1, 2]),
        ("a.png", b"GIF89a"),
        ("a.html", {"a": 1}),
        ("a.fits", "text"),
        ("a.fits", np.array(["a"])),
        ("a.txt", 5),
        ("a.txt", b"\xff\xfe"),
    ],
)
def test_what_a_format_cannot_store_is_refused_by_name(name: str, item: object) -> None:
    with pytest.raises(CatcherError, match=name):
        encode_artifact(name, item)


def test_the_path_within_a_document_is_named() -> None:
    with pytest.raises(CatcherError, match=r"it\['a'\]\[1\] is a object"):
        encode_artifact("a.json", {"a": [1, object()]})


def test_a_document_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CatcherError, match="nested more than"):
        encode_artifact("a.json", endless)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a.png", "a/b.png", "a\\b.png", ".a.png", "a.png\n", " a.png", "a", "a.pkl",
     "a.png\0", "x" * 200 + ".png", "a.exe"],
)  # fmt: skip
def test_a_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(CatcherError, match=r"name|form"):
        encode_artifact(name, "text")


def test_a_suffix_in_capitals_is_the_same_format() -> None:
    assert encode_artifact("A.TXT", "x").mime == "text/plain"


def test_an_artifact_that_is_too_large_is_refused() -> None:
    with pytest.raises(CatcherError, match=r"2 MiB, at most 1 MiB"):
        encode_artifact("a.txt", "x" * 2 * 2**20, max_bytes=2**20)


def test_a_pickle_in_disguise_is_not_opened() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{"a": 1}]))
    for data in (buffer.getvalue(), pickle.dumps({"a": 1})):
        with pytest.raises(CatcherError, match=r"a\.npz"):
            decode_artifact("a.npz", data)


@pytest.mark.parametrize("name", [f"a{suffix}" for suffix in CODECS if suffix != ".png"])
def test_damaged_bytes_give_a_clear_error(name: str) -> None:
    with pytest.raises(CatcherError, match=r"cannot be read|damaged"):
        decode_artifact(name, b"\xff\xfenothing of the kind")


@pytest.mark.parametrize("name", ["a.npz", "a.parquet", "a.fits"])
def test_a_file_cut_in_half_gives_a_clear_error(name: str) -> None:
    data = encode_artifact(
        name, {"x": np.arange(5000.0)} if name != "a.fits" else np.ones((90, 90))
    ).data
    with pytest.raises(CatcherError, match=name):
        decode_artifact(name, data[: len(data) // 2])
