"""Packed series are unpacked by their own clock; names that are not there are guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catcher.model.errors import CatcherError
from catcher.model.event import Series
from catcher.model.suggestions import (
    build_unknown_field_error,
    build_unknown_topic_error,
    suggest_names,
)
from catcher.model.telemetry import build_index_predicate, list_numbered_columns, unpack_series
from catcher.model.time import SECOND, parse_instant, utc_to_tai

START = utc_to_tai(parse_instant("2023-07-28T12:00:00Z")) / SECOND


def create_packed_series(rows: int = 3, width: int = 12, gap: float = 0.0) -> Series:
    """Rows of a second, each with samples that count on."""
    clock = START + np.arange(rows, dtype=np.float64)
    clock[rows // 2 :] += gap
    values = {f"angle{n}": np.arange(rows, dtype=np.float64) * width + n for n in range(width)}
    return Series(clock + 5.0, {"cRIO_timestamp": clock, **values}, {"angle": "deg"}, "packed")


def test_a_packed_row_becomes_its_samples_in_order_on_utc() -> None:
    series = unpack_series(create_packed_series(), ["angle"])
    assert series["angle"].tolist() == list(range(36))
    expected = START - 37 + np.arange(36) / 12
    np.testing.assert_allclose(series.time, expected, atol=2e-7)
    assert (series.topic, series.units) == ("packed", {"angle": "deg"})


def test_samples_before_a_gap_are_as_dense_as_the_others() -> None:
    series = unpack_series(create_packed_series(rows=6, gap=100.0), ["angle"])
    steps = np.diff(series.time)
    assert np.sum(steps > 1) == 1
    np.testing.assert_allclose(np.delete(steps, np.argmax(steps)), 1 / 12, atol=2e-6)


def test_stride_skips_samples_and_must_divide() -> None:
    assert unpack_series(create_packed_series(), ["angle"], stride=4)["angle"].tolist() == list(
        range(0, 36, 4)
    )
    with pytest.raises(CatcherError, match="which 5 does not divide"):
        unpack_series(create_packed_series(), ["angle"], stride=5)


def test_one_row_alone_needs_its_rate() -> None:
    with pytest.raises(CatcherError, match="say the rate"):
        unpack_series(create_packed_series(rows=1), ["angle"])
    np.testing.assert_allclose(
        np.diff(unpack_series(create_packed_series(rows=1), ["angle"], rate=100.0).time),
        0.01,
        atol=1e-6,
    )


def test_missing_packed_field_is_reported() -> None:
    with pytest.raises(CatcherError, match="no packed field 'angel'"):
        unpack_series(create_packed_series(), ["angel"])
    with pytest.raises(CatcherError, match="no field 'clock'"):
        unpack_series(create_packed_series(), ["angle"], clock="clock")


def test_array_columns_are_sorted_by_number() -> None:
    names = ["force10", "force2", "force0", "forced", "force_1"]
    assert list_numbered_columns("force", names) == ["force0", "force2", "force10"]


def test_index_predicate_exposes_its_value() -> None:
    where = build_index_predicate(301)
    assert (where.equals, where({"salIndex": 301}), where({})) == ({"salIndex": 301}, True, False)


def test_the_topic_that_was_meant_is_named_among_thousands(shared_data: Path) -> None:
    known = (shared_data / "efd-measurements.txt").read_text().split()
    assert suggest_names("lsst.sal.MTMount.azimut", known)[0] == "lsst.sal.MTMount.azimuth"
    assert suggest_names("mtmount.azimuth", known)[0] == "lsst.sal.MTMount.azimuth"
    assert suggest_names("ESS.airflow", known)[0] == "lsst.sal.ESS.airFlow"
    error = build_unknown_topic_error("lsst.sal.MTMount.azimut", known, "the EFD")
    assert "did you mean lsst.sal.MTMount.azimuth" in str(error)
    assert "no topics are held" in str(build_unknown_topic_error("x", [], "the EFD"))
    assert "there are a, b" in str(build_unknown_field_error("speed", "t", ["a", "b"]))
