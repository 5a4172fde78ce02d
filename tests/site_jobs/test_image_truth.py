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

from benchmarks.synthetic_images import PARALLEL_OVERSCAN, GroundTruth, ImageSpec, write_image
from catcher import Metric, Result
from catcher.testing import load_job

rapid_image_metrics = load_job("rapid_image_metrics", site=Path(__file__).parents[2])
SMALL_SPEC = {"shape": (1200, 1280), "amps": (2, 2), "stars": 200, "faintest": 3_000.0}
MIN_COMPLETE_FLUX = 4_000.0
"""Electrons from which on stars have to be found."""
Array = npt.NDArray[np.float64]


def create_spec(seed: int, **changes: object) -> ImageSpec:
    """A sky that depends on the seed alone."""
    rng = np.random.default_rng((seed, 77))
    spec = ImageSpec(
        seed=seed,
        fwhm=float(rng.uniform(2.8, 6.0)),
        e1=float(rng.uniform(-0.1, 0.1)),
        e2=float(rng.uniform(-0.1, 0.1)),
        beta=(None, 4.765, 3.0)[int(rng.integers(3))],
        sky=float(np.exp(rng.uniform(np.log(60), np.log(1500)))),
        gain=float(rng.uniform(0.8, 2.0)),
        read_noise=float(rng.uniform(4, 10)),
        bias=float(rng.uniform(800, 25_000)),
        drift=float(rng.uniform(-6, 6)),
        cosmic_rays=int(rng.integers(0, 60)),
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def metric_value(result: Result, name: str) -> float:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is not None, metric.reason
    return metric.value


def assert_matches_truth(result: Result, spec: ImageSpec, truth: GroundTruth) -> None:
    """The targets; each is a promise of docs/jobs.md."""
    assert metric_value(result, "sky_bg") == pytest.approx(spec.sky, rel=1e-3)
    noise = float(np.hypot(np.sqrt(spec.sky), spec.read_noise))
    assert metric_value(result, "sky_noise") == pytest.approx(noise, rel=0.02)
    assert_overscan_matches(result, spec, truth)
    assert metric_value(result, "psf_fwhm") == pytest.approx(spec.fwhm, rel=0.02)
    if spec.beta is None:
        assert metric_value(result, "psf_fwhm_moments") == pytest.approx(spec.fwhm, rel=0.02)
    assert metric_value(result, "e1") == pytest.approx(spec.e1, abs=0.005)
    assert metric_value(result, "e2") == pytest.approx(spec.e2, abs=0.005)
    assert_catalogue_matches(result.artifacts["sources.parquet"], truth)


def assert_overscan_matches(result: Result, spec: ImageSpec, truth: GroundTruth) -> None:
    """BIASSEC has the rows of light, which the parallel overscan follows."""
    rows = spec.shape[0] // spec.amps[0]
    light_fraction = rows / (rows + PARALLEL_OVERSCAN)
    levels = np.array(truth.biases) - spec.drift * (1 - light_fraction) / 2
    medians = result.fields["overscan_median"]
    assert medians.ids == truth.names
    # Of whole numbers: half a unit is what rounding alone may take.
    assert np.abs(medians.values - levels).max() <= 0.5 + 0.05
    assert np.abs(result.fields["overscan_mean"].values - levels).max() < 0.1
    assert np.abs(result.fields["overscan_drift"].values - spec.drift * light_fraction).max() < 0.5
    drifting = np.array(truth.gains) * abs(spec.drift) * light_fraction / np.sqrt(12)
    expected = np.hypot(spec.read_noise, drifting)
    assert result.fields["read_noise"].values == pytest.approx(expected, rel=0.02)


def assert_catalogue_matches(sources: dict[str, Array], truth: GroundTruth) -> None:
    is_source = ~sources["cosmic_ray"].astype(bool)
    is_bright = truth.flux > MIN_COMPLETE_FLUX
    distances = nearest_distances(
        truth.x[is_bright], truth.y[is_bright], sources["x"][is_source], sources["y"][is_source]
    )
    assert (distances < 2).mean() >= 0.92
    is_psf_star = sources["psf_star"].astype(bool)
    is_false_star = (
        nearest_distances(sources["x"][is_psf_star], sources["y"][is_psf_star], truth.x, truth.y)
        > 2
    )
    assert is_false_star.mean() < 0.02


def nearest_distances(x: Array, y: Array, others_x: Array, others_y: Array) -> Array:
    """How far the nearest of the others is from each."""
    distances = np.hypot(x[:, None] - others_x, y[:, None] - others_y)
    return np.asarray(distances.min(axis=1))


@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("seed", range(3001, 3007))
def test_a_small_detector_is_measured_as_it_was_made(
    tmp_path: Path, seed: int, binning: int
) -> None:
    spec = create_spec(seed, **SMALL_SPEC)
    truth = write_image(tmp_path / "a.fits", spec)
    assert_matches_truth(
        rapid_image_metrics(tmp_path / "a.fits", binning=binning, catalogue=True), spec, truth
    )


@pytest.mark.long
@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("seed", range(200, 240))
def test_a_detector_of_lsstcam_is_measured_as_it_was_made(
    tmp_path: Path, seed: int, binning: int
) -> None:
    spec = create_spec(seed)
    truth = write_image(tmp_path / "a.fits", spec)
    assert_matches_truth(
        rapid_image_metrics(tmp_path / "a.fits", binning=binning, catalogue=True), spec, truth
    )
