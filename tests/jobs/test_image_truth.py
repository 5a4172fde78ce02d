"""Image metrics against injected truth: skies of seeds that nothing was tuned on.

The generator is the one that the weights of the stars were chosen on, with seeds 101 to 124.

`make test-long` goes through many more of them, at the size of a detector of LSSTCam.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.skies import PARALLEL, Sky, Truth, write
from catcher import Metric, Result
from catcher.testing import load_job

rapid_image_metrics = load_job("rapid_image_metrics", site=Path(__file__).parents[2])
SMALL = {"shape": (1200, 1280), "amps": (2, 2), "stars": 200, "faintest": 3_000.0}
COMPLETE = 4_000.0
"""Electrons from which on stars have to be found."""
Array = npt.NDArray[np.float64]


def sky_of(seed: int, **more: object) -> Sky:
    """A sky that depends on the seed alone."""
    draw = np.random.default_rng((seed, 77))
    made = Sky(
        seed=seed,
        fwhm=float(draw.uniform(2.8, 6.0)),
        e1=float(draw.uniform(-0.1, 0.1)),
        e2=float(draw.uniform(-0.1, 0.1)),
        beta=(None, 4.765, 3.0)[int(draw.integers(3))],
        sky=float(np.exp(draw.uniform(np.log(60), np.log(1500)))),
        gain=float(draw.uniform(0.8, 2.0)),
        read_noise=float(draw.uniform(4, 10)),
        bias=float(draw.uniform(800, 25_000)),
        drift=float(draw.uniform(-6, 6)),
        hits=int(draw.integers(0, 60)),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def value(result: Result, name: str) -> float:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is not None, metric.reason
    return metric.value


def judge(result: Result, sky: Sky, truth: Truth) -> None:
    """The targets; each is a promise of docs/jobs.md."""
    assert value(result, "sky_bg") == pytest.approx(sky.sky, rel=1e-3)
    noise = float(np.hypot(np.sqrt(sky.sky), sky.read_noise))
    assert value(result, "sky_noise") == pytest.approx(noise, rel=0.02)
    judge_overscan(result, sky, truth)
    assert value(result, "psf_fwhm") == pytest.approx(sky.fwhm, rel=0.02)
    if sky.beta is None:
        assert value(result, "psf_fwhm_moments") == pytest.approx(sky.fwhm, rel=0.02)
    assert value(result, "e1") == pytest.approx(sky.e1, abs=0.005)
    assert value(result, "e2") == pytest.approx(sky.e2, abs=0.005)
    judge_catalogue(result.artifacts["sources.parquet"], truth)


def judge_overscan(result: Result, sky: Sky, truth: Truth) -> None:
    """BIASSEC has the rows of light, which the parallel overscan follows."""
    rows = sky.shape[0] // sky.amps[0]
    seen = rows / (rows + PARALLEL)
    levels = np.array(truth.biases) - sky.drift * (1 - seen) / 2
    medians = result.fields["overscan_median"]
    assert medians.ids == truth.names
    # Of whole numbers: half a unit is what rounding alone may take.
    assert np.abs(medians.values - levels).max() <= 0.5 + 0.05
    assert np.abs(result.fields["overscan_mean"].values - levels).max() < 0.1
    assert np.abs(result.fields["overscan_drift"].values - sky.drift * seen).max() < 0.5
    drifting = np.array(truth.gains) * abs(sky.drift) * seen / np.sqrt(12)
    expected = np.hypot(sky.read_noise, drifting)
    assert result.fields["read_noise"].values == pytest.approx(expected, rel=0.02)


def judge_catalogue(sources: dict[str, Array], truth: Truth) -> None:
    light = ~sources["cosmic_ray"].astype(bool)
    bright = truth.flux > COMPLETE
    found = nearest(truth.x[bright], truth.y[bright], sources["x"][light], sources["y"][light])
    assert (found < 2).mean() >= 0.92
    used = sources["psf_star"].astype(bool)
    false = nearest(sources["x"][used], sources["y"][used], truth.x, truth.y) > 2
    assert false.mean() < 0.02


def nearest(x: Array, y: Array, others_x: Array, others_y: Array) -> Array:
    """How far the nearest of the others is from each."""
    away = np.hypot(x[:, None] - others_x, y[:, None] - others_y)
    return np.asarray(away.min(axis=1))


@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("seed", range(3001, 3007))
def test_a_small_detector_is_measured_as_it_was_made(
    tmp_path: Path, seed: int, binning: int
) -> None:
    sky = sky_of(seed, **SMALL)
    truth = write(tmp_path / "a.fits", sky)
    judge(rapid_image_metrics(tmp_path / "a.fits", binning=binning, catalogue=True), sky, truth)


@pytest.mark.long
@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("seed", range(200, 240))
def test_a_detector_of_lsstcam_is_measured_as_it_was_made(
    tmp_path: Path, seed: int, binning: int
) -> None:
    sky = sky_of(seed)
    truth = write(tmp_path / "a.fits", sky)
    judge(rapid_image_metrics(tmp_path / "a.fits", binning=binning, catalogue=True), sky, truth)
