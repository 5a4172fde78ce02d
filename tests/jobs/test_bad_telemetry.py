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


def times(draw: np.random.Generator, count: int) -> Array:
    kind = draw.integers(5)
    made = START + np.cumsum(draw.exponential(draw.choice([0.01, 0.05, 1, 60, 600]), count))
    if kind == 3:
        made = START + draw.normal(0, 100, count)
    if kind == 4:
        made = np.full(count, START)
    if count and draw.random() < 0.3:
        made[draw.integers(count)] = draw.choice(WILD_TIMES)
    return np.asarray(made)


def values(draw: np.random.Generator, count: int, about: float) -> Array:
    kind = draw.integers(6)
    made = draw.normal(about, 1, count)
    if kind == 3:
        made = np.zeros(count)
    if kind == 4:
        made = np.full(count, np.nan)
    if kind == 5:
        made = np.cumsum(made)
    for _ in range(draw.integers(4) if count else 0):
        made[draw.integers(count)] = draw.choice(WILD_VALUES)
    return made


def axis(draw: np.random.Generator) -> Series:
    count = int(draw.choice(COUNTS))
    columns = {"actualPosition": values(draw, count, 60)}
    if draw.random() < 0.6:
        columns["demandPosition"] = values(draw, count, 60)
    if draw.random() < 0.3:
        columns["actualPositionTimestamp"] = times(draw, count)
        columns["demandPositionTimestamp"] = times(draw, count)
    return Series(times(draw, count), columns)


def exposure(draw: np.random.Generator) -> Observation | None:
    if draw.random() < 0.5:
        return None
    length = float(draw.choice([0, 1, 2, 30]))
    return Observation("exposure", "X", int(START * 1e9), int((START + length) * 1e9))


def honest(result: Result) -> None:
    for name, metric in result.metrics.items():
        assert isinstance(metric, Metric)
        if metric.value is None:
            assert metric.reason, name
        else:
            assert math.isfinite(metric.value), name


@pytest.mark.parametrize("seed", range(24))
def test_wind(seed: int) -> None:
    draw = np.random.default_rng((seed, 1))
    count = int(draw.choice(COUNTS))
    columns = {"speed": values(draw, count, 8), "maxSpeed": values(draw, count, 10)}
    if draw.random() < 0.3:
        columns["direction"] = values(draw, count, 200)
    event = Event("t", int((START + draw.normal(0, 1000)) * 1e9), {})
    honest(wind_extrapolation(
        Series(times(draw, count), columns),
        horizon=float(draw.choice([1, 10, 60, 90, 600, 3600, 21600])),
        threshold=float(draw.choice([-1, 0, 8, 15])),
        method=str(draw.choice(["line", "mean_reverting"])),
        memory=float(draw.choice([0, 86400])),
        event=event if draw.random() < 0.5 else None,
    ))  # fmt: skip


@pytest.mark.parametrize("seed", range(24))
def test_mounts(seed: int) -> None:
    draw = np.random.default_rng((seed, 2))
    hexapod = Series(times(draw, 20), {f"error{n}": values(draw, 20, 0) for n in range(6)})
    honest(mount_jitter(
        axis(draw), axis(draw),
        rotator=axis(draw) if draw.random() < 0.3 else None,
        m2_hexapod=hexapod if draw.random() < 0.3 else None,
        observation=exposure(draw),
        filter_glitches=bool(draw.random() < 0.5),
        after_slew=bool(draw.random() < 0.5),
        reference=str(draw.choice(["auto", "polynomial"])),
    ))  # fmt: skip
    count = int(draw.choice(COUNTS))
    angles = {
        "azimuthCalculatedAngle": values(draw, count, 150),
        "elevationCalculatedAngle": values(draw, count, 60),
    }
    honest(auxtel_jitter(Series(times(draw, count), angles), observation=exposure(draw)))
