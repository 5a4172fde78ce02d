"""Telemetry as bad as it comes: jobs give finite numbers, or *unknown* and why, never a crash.

Clocks that jump, stand still or are no number, values that are impossible or missing, series that
are short, empty or of different lengths, drawn at random from fixed seeds.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from catcher import Event, Metric, Observation, Result, Series
from catcher.testing import load_job

SITE = Path(__file__).parents[2]
wind_extrapolation = load_job("wind_extrapolation", site=SITE)
mount_jitter = load_job("mount_jitter", site=SITE)
auxtel_jitter = load_job("auxtel_jitter", site=SITE)
Array = npt.NDArray[np.float64]
START = 1_745_454_000.0
COUNTS = (0, 1, 2, 3, 5, 6, 7, 10, 12, 20, 40, 200, 600)
WILD_TIMES = (np.nan, np.inf, -np.inf, 0.0, 4e9, -1e18, 1e300)
WILD_VALUES = (np.nan, np.inf, -np.inf, 1e30, -1e30, 100.8, 592.0, 1e300)


def create_times(rng: np.random.Generator, count: int) -> Array:
    kind = rng.integers(5)
    times = START + np.cumsum(rng.exponential(rng.choice([0.01, 0.05, 1, 60, 600]), count))
    if kind == 3:
        times = START + rng.normal(0, 100, count)
    if kind == 4:
        times = np.full(count, START)
    if count and rng.random() < 0.3:
        times[rng.integers(count)] = rng.choice(WILD_TIMES)
    return np.asarray(times)


def create_values(rng: np.random.Generator, count: int, mean: float) -> Array:
    kind = rng.integers(6)
    values = rng.normal(mean, 1, count)
    if kind == 3:
        values = np.zeros(count)
    if kind == 4:
        values = np.full(count, np.nan)
    if kind == 5:
        values = np.cumsum(values)
    for _ in range(rng.integers(4) if count else 0):
        values[rng.integers(count)] = rng.choice(WILD_VALUES)
    return values


def create_axis(rng: np.random.Generator) -> Series:
    count = int(rng.choice(COUNTS))
    columns = {"actualPosition": create_values(rng, count, 60)}
    if rng.random() < 0.6:
        columns["demandPosition"] = create_values(rng, count, 60)
    if rng.random() < 0.3:
        columns["actualPositionTimestamp"] = create_times(rng, count)
        columns["demandPositionTimestamp"] = create_times(rng, count)
    return Series(create_times(rng, count), columns)


def create_exposure(rng: np.random.Generator) -> Observation | None:
    if rng.random() < 0.5:
        return None
    length = float(rng.choice([0, 1, 2, 30]))
    return Observation("exposure", "X", int(START * 1e9), int((START + length) * 1e9))


def assert_finite_or_reason(result: Result) -> None:
    for name, metric in result.metrics.items():
        assert isinstance(metric, Metric)
        if metric.value is None:
            assert metric.reason, name
        else:
            assert math.isfinite(metric.value), name


@pytest.mark.parametrize("seed", range(24))
def test_wind(seed: int) -> None:
    rng = np.random.default_rng((seed, 1))
    count = int(rng.choice(COUNTS))
    columns = {"speed": create_values(rng, count, 8), "maxSpeed": create_values(rng, count, 10)}
    if rng.random() < 0.3:
        columns["direction"] = create_values(rng, count, 200)
    event = Event("t", int((START + rng.normal(0, 1000)) * 1e9), {})
    assert_finite_or_reason(wind_extrapolation(
        Series(create_times(rng, count), columns),
        horizon=float(rng.choice([1, 10, 60, 90, 600, 3600, 21600])),
        threshold=float(rng.choice([-1, 0, 8, 15])),
        method=str(rng.choice(["line", "mean_reverting"])),
        memory=float(rng.choice([0, 86400])),
        event=event if rng.random() < 0.5 else None,
    ))  # fmt: skip


@pytest.mark.parametrize("seed", range(24))
def test_mounts(seed: int) -> None:
    rng = np.random.default_rng((seed, 2))
    hexapod = Series(
        create_times(rng, 20), {f"error{n}": create_values(rng, 20, 0) for n in range(6)}
    )
    assert_finite_or_reason(mount_jitter(
        create_axis(rng), create_axis(rng),
        rotator=create_axis(rng) if rng.random() < 0.3 else None,
        m2_hexapod=hexapod if rng.random() < 0.3 else None,
        observation=create_exposure(rng),
        filter_glitches=bool(rng.random() < 0.5),
        after_slew=bool(rng.random() < 0.5),
        reference=str(rng.choice(["auto", "polynomial"])),
    ))  # fmt: skip
    count = int(rng.choice(COUNTS))
    angles = {
        "azimuthCalculatedAngle": create_values(rng, count, 150),
        "elevationCalculatedAngle": create_values(rng, count, 60),
    }
    assert_finite_or_reason(
        auxtel_jitter(Series(create_times(rng, count), angles), observation=create_exposure(rng))
    )
