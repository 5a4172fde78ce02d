"""Packed series are unpacked by their own clock; names that are not there are guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catcher.model.event import Series
from catcher.model.naming import meant, unknown_field, unknown_topic
from catcher.model.problem import CatcherError
from catcher.model.telemetry import indexed, numbered, unpacked
from catcher.model.time import SECOND, parse_instant, utc_to_tai

START = utc_to_tai(parse_instant("2023-07-28T12:00:00Z")) / SECOND


def packed(rows: int = 3, width: int = 12, gap: float = 0.0) -> Series:
    """Rows of a second, each with samples that count on."""
    clock = START + np.arange(rows, dtype=np.float64)
    clock[rows // 2 :] += gap
    values = {f"angle{n}": np.arange(rows, dtype=np.float64) * width + n for n in range(width)}
    return Series(clock + 5.0, {"cRIO_timestamp": clock, **values}, {"angle": "deg"}, "packed")


def test_a_packed_row_becomes_its_samples_in_order_on_utc() -> None:
    series = unpacked(packed(), ["angle"])
    assert series["angle"].tolist() == list(range(36))
    expected = START - 37 + np.arange(36) / 12
    np.testing.assert_allclose(series.time, expected, atol=2e-7)
    assert (series.topic, series.units) == ("packed", {"angle": "deg"})


def test_samples_before_a_gap_are_as_dense_as_the_others() -> None:
    series = unpacked(packed(rows=6, gap=100.0), ["angle"])
    steps = np.diff(series.time)
    assert np.sum(steps > 1) == 1
    np.testing.assert_allclose(np.delete(steps, np.argmax(steps)), 1 / 12, atol=2e-6)


def test_a_stride_takes_every_so_many_and_must_fit() -> None:
    assert unpacked(packed(), ["angle"], stride=4)["angle"].tolist() == list(range(0, 36, 4))
    with pytest.raises(CatcherError, match="which 5 does not divide"):
        unpacked(packed(), ["angle"], stride=5)


def test_one_row_alone_needs_its_rate() -> None:
    with pytest.raises(CatcherError, match="say the rate"):
        unpacked(packed(rows=1), ["angle"])
    np.testing.assert_allclose(
        np.diff(unpacked(packed(rows=1), ["angle"], rate=100.0).time), 0.01, atol=1e-6
    )


def test_what_is_not_packed_is_told() -> None:
    with pytest.raises(CatcherError, match="no packed field 'angel'"):
        unpacked(packed(), ["angel"])
    with pytest.raises(CatcherError, match="no field 'clock'"):
        unpacked(packed(), ["angle"], clock="clock")


def test_places_of_an_array_are_in_the_order_of_their_numbers() -> None:
    names = ["force10", "force2", "force0", "forced", "force_1"]
    assert numbered("force", names) == ["force0", "force2", "force10"]


def test_an_index_is_a_condition_that_a_store_sees_through() -> None:
    where = indexed(301)
    assert (where.equal, where({"salIndex": 301}), where({})) == ({"salIndex": 301}, True, False)


def test_the_topic_that_was_meant_is_named_among_thousands(shared_data: Path) -> None:
    known = (shared_data / "efd-measurements.txt").read_text().split()
    assert meant("lsst.sal.MTMount.azimut", known)[0] == "lsst.sal.MTMount.azimuth"
    assert meant("mtmount.azimuth", known)[0] == "lsst.sal.MTMount.azimuth"
    assert meant("ESS.airflow", known)[0] == "lsst.sal.ESS.airFlow"
    error = unknown_topic("lsst.sal.MTMount.azimut", known, "the EFD")
    assert "did you mean lsst.sal.MTMount.azimuth" in str(error)
    assert "no topics are held" in str(unknown_topic("x", [], "the EFD"))
    assert "there are a, b" in str(unknown_field("speed", "t", ["a", "b"]))
