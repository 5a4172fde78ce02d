"""The mount's jitter, against a truth that is known and against real mounts."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from catcher import Metric, Observation, Result, Series
from catcher.testing import load_job

mount_jitter = load_job("mount_jitter", site=Path(__file__).parents[2])
Array = npt.NDArray[np.float64]
START = 1_745_454_000.0
EMPTY = Series(np.array([]))
JUDGED = ("azimuth_rms", "elevation_rms", "image_impact_rms", "image_impact_p95")


def tracking(
    rate: float, start: float, jitter: Array, seconds: float = 30.0, demand: bool = True
) -> Series:
    """An axis that follows its demand (degrees, degrees a second) with `jitter` arcsec."""
    time = START + np.linspace(0, seconds, len(jitter))
    asked = start + rate * (time - START)
    columns = {"actualPosition": asked + jitter / 3600}
    return Series(time, {**columns, "demandPosition": asked} if demand else columns)


def shake(amplitude: float, count: int = 601, seed: int = 1) -> Array:
    draw = np.random.default_rng(seed)
    return amplitude * np.sin(2 * np.pi * 1.3 * np.linspace(0, 30, count)) + draw.normal(
        0, 0.01, count
    )


def exposure(seconds: float = 30.0) -> Observation:
    start = int(START * 1e9)
    return Observation("exposure", "MC_O_1", start, start + int(seconds * 1e9), "", {"band": "r"})


def value(result: Result, name: str) -> float:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is not None, metric.reason
    return metric.value


def reason(result: Result, name: str = "image_impact_rms") -> str:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is None
    return metric.reason


def independent(series: Series) -> Array:
    """The error by brute force: every shift of a fine grid within 1 ms, one after the other."""
    actual, demand = series["actualPosition"], series["demandPosition"]

    def error(shift: float) -> Array:
        moved = series.time + shift
        place = np.clip(np.searchsorted(moved, series.time) - 1, 0, len(moved) - 2)
        slope = (demand[place + 1] - demand[place]) / (moved[place + 1] - moved[place])
        line = demand[place] + slope * (series.time - moved[place])
        line = np.where(series.time <= moved[0], demand[0], line)
        line = np.where(series.time >= moved[-1], demand[-1], line)
        return np.asarray((actual - line) * 3600)

    low, high = -1e-3, 1e-3
    for _ in range(5):
        shifts = np.linspace(low, high, 201)
        medians = [abs(np.median(error(float(shift)))) for shift in shifts]
        best = float(shifts[int(np.argmin(medians))])
        width = (high - low) / 100
        low, high = max(best - width, -1e-3), min(best + width, 1e-3)
    return error(best)


@pytest.mark.parametrize("offset", [0.0, 0.004, -0.02, 0.3])
def test_it_equals_an_independent_computation_to_a_microarcsecond(offset: float) -> None:
    azimuth = tracking(0.004, 150.0, shake(0.08) + offset)
    elevation = tracking(0.0021, 62.0, shake(0.05, seed=2) - offset)
    rotator = tracking(0.001, 10.0, shake(0.5, seed=3))
    result = mount_jitter(azimuth, elevation, rotator, observation=exposure())
    across, up, turn = (
        np.sqrt(np.mean(independent(s) ** 2)) for s in (azimuth, elevation, rotator)
    )
    height = np.radians(np.median(elevation["actualPosition"]))
    whole = np.sqrt(
        (across * np.cos(height)) ** 2 + up**2 + (turn * 8500 * np.pi / 180 / 3600) ** 2
    )
    assert value(result, "azimuth_rms") == pytest.approx(across, abs=1e-6)
    assert value(result, "elevation_rms") == pytest.approx(up, abs=1e-6)
    assert value(result, "rotator_rms") == pytest.approx(turn, abs=1e-6)
    assert value(result, "image_impact_rms") == pytest.approx(whole, abs=1e-6)


def test_a_clock_that_is_half_a_millisecond_off_is_put_right() -> None:
    axis = tracking(0.004, 150.0, np.zeros(601))
    late = Series(
        axis.time, {**axis.columns, "demandPosition": axis["demandPosition"] - 0.004 * 5e-4}
    )
    result = mount_jitter(late, tracking(0.0, 60.0, np.zeros(601)))
    # 7.2 milliarcsec of error are gone, but for the first sample, which has no demand before it.
    assert value(result, "azimuth_rms") < 0.0005


def test_a_point_of_the_worst_second_stands_out() -> None:
    jitter = np.zeros(601)
    jitter[200:220] = 0.5
    result = mount_jitter(tracking(0.0, 150.0, jitter), tracking(0.0, 0.0, np.zeros(601)))
    assert value(result, "image_impact_worst_second") == pytest.approx(0.5, rel=0.05)
    assert value(result, "image_impact_rms") == pytest.approx(0.5 * np.sqrt(20 / 601), rel=1e-3)


def test_azimuth_counts_less_near_the_zenith() -> None:
    high = tracking(0.0, 80.0, np.zeros(601))
    low = tracking(0.0, 20.0, np.zeros(601))
    azimuth = tracking(0.0, 150.0, shake(0.1))
    near_zenith = value(mount_jitter(azimuth, high), "image_impact_rms")
    near_horizon = value(mount_jitter(azimuth, low), "image_impact_rms")
    assert near_zenith / near_horizon == pytest.approx(
        np.cos(np.radians(80)) / np.cos(np.radians(20))
    )


def test_single_point_glitches_are_filtered_when_asked() -> None:
    jitter = shake(0.0)
    glitched = jitter.copy()
    glitched[[100, 300, 301]] += 5.0
    axis, still = tracking(0.0, 150.0, glitched), tracking(0.0, 60.0, np.zeros(601))
    raw, filtered = mount_jitter(axis, still), mount_jitter(axis, still, filter_glitches=True)
    assert value(raw, "azimuth_rms") > 0.3
    assert value(filtered, "azimuth_rms") == pytest.approx(0.01, rel=0.1)
    assert value(filtered, "glitches") == 3


def test_a_slew_is_called_a_slew() -> None:
    turned = tracking(2.0, 150.0, np.zeros(601), demand=False)
    still = tracking(0.0, 60.0, np.zeros(601), demand=False)
    assert mount_jitter(turned, still).note.endswith("while it slewed 60 deg")


def test_an_angle_may_pass_through_north() -> None:
    time = START + np.linspace(0, 30, 601)
    asked = (359.95 + 0.004 * (time - START)) % 360
    actual = (asked + 0.01 / 3600) % 360
    azimuth = Series(time, {"actualPosition": actual, "demandPosition": asked})
    result = mount_jitter(azimuth, tracking(0.0, 60.0, np.zeros(601)))
    assert value(result, "azimuth_rms") < 0.02


def test_without_telemetry_all_is_unknown_and_nothing_fails() -> None:
    result = mount_jitter(EMPTY, EMPTY, observation=exposure())
    assert all("no usable telemetry" in reason(result, name) for name in JUDGED)
    assert value(result, "samples") == 0
    assert value(result, "fraction_seen") == 0
    assert not result.artifacts


def test_a_few_samples_are_not_enough() -> None:
    few = tracking(0.0, 150.0, np.zeros(8))
    assert "only 8 samples of the azimuth" in reason(mount_jitter(few, few))


def test_under_nine_tenths_of_the_exposure_are_not_enough() -> None:
    axis = tracking(0.0, 60.0, np.zeros(601))
    half = Series(axis.time[:400], {name: column[:400] for name, column in axis.columns.items()})
    result = mount_jitter(half, half, observation=exposure())
    assert reason(result) == "only 67 % of the exposure has telemetry, 90 % are needed"
    assert value(result, "fraction_seen") == pytest.approx(0.665, abs=0.01)
    hole = np.r_[0:200, 230:601]
    holed = Series(axis.time[hole], {name: column[hole] for name, column in axis.columns.items()})
    seen = mount_jitter(holed, holed, observation=exposure())
    assert value(seen, "fraction_seen") == pytest.approx(0.95, abs=0.01)


def test_a_band_labels_the_metrics() -> None:
    axis = tracking(0.0, 60.0, shake(0.02))
    result = mount_jitter(axis, axis, observation=exposure(), band="r")
    assert result.metrics["image_impact_rms"].labels == {"band": "r"}


def test_the_errors_are_kept_beside_the_plot() -> None:
    axis = tracking(0.0, 60.0, shake(0.02))
    result = mount_jitter(axis, axis, observation=exposure())
    assert set(result.artifacts) == {"jitter.png", "errors.npz"}
    assert result.artifacts["errors.npz"]["azimuth_error"].shape == (601,)


def test_the_medicina_telescope_about_its_quartic(shared_data: Path) -> None:
    with gzip.open(shared_data / "mount" / "medicina_otf_25hz.csv.gz", "rt") as stream:
        rows = [
            (float(row["time"]), float(row["az_deg"]), float(row["el_deg"]))
            for row in csv.DictReader(stream)
        ]
    time, azimuth, elevation = np.array(rows).T
    result = mount_jitter(
        Series(time, {"actualPosition": azimuth}), Series(time, {"actualPosition": elevation})
    )
    assert value(result, "azimuth_rms") == pytest.approx(0.59, abs=0.005)
    assert value(result, "elevation_rms") == pytest.approx(1.09, abs=0.005)


def test_the_simonyi_telescope_about_its_demand(shared_data: Path) -> None:
    lines = (shared_data / "efd-mount-demand-2023-06-01.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    time = np.array([datetime.fromisoformat(row["time"]).timestamp() for row in rows])
    columns = {
        name: np.array([row["fields"][name] for row in rows])
        for name in ("actualPosition", "demandPosition")
    }
    still = tracking(0.0, 0.0, np.zeros(601))
    held = Series(time, {name: np.zeros(len(time)) for name in still.columns})
    result = mount_jitter(Series(time, columns), held)
    # The demand stands still, so that no shift of its clock can matter.
    error = (columns["actualPosition"] - columns["demandPosition"]) * 3600
    assert value(result, "samples") == 47
    assert value(result, "azimuth_rms") == pytest.approx(np.sqrt(np.mean(error**2)), abs=1e-9)
