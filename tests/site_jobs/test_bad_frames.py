"""Frames that are no good: whatever can be had is told, the rest is unknown and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.synthetic_images import ImageSpec, write_image
from catcher import Metric, Result
from catcher.testing import load_job

rapid_image_metrics = load_job("rapid_image_metrics", site=Path(__file__).parents[2])
SKY = ImageSpec(shape=(600, 640), amps=(2, 4), stars=60, faintest=5_000.0)
AMPS = 8


def metric_value(result: Result, name: str) -> float:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is not None, f"{name}: {metric.reason}"
    return metric.value


def unknown_reason(result: Result, name: str) -> str:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is None
    return metric.reason


def assert_finite_or_reason(result: Result) -> None:
    """Each metric has a finite value or a reason."""
    assert result.note
    for name, metric in result.metrics.items():
        assert isinstance(metric, Metric)
        assert metric.is_known or metric.reason, name


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    write_image(tmp_path / "R22_S11.fits", SKY)
    return tmp_path / "R22_S11.fits"


def test_the_name_is_that_of_the_raft_and_the_slot(frame: Path) -> None:
    assert rapid_image_metrics(frame).note.startswith("R22_S11: PSF 0.8")


def test_of_a_file_cut_short_the_amplifiers_that_are_there_are_measured(frame: Path) -> None:
    content = frame.read_bytes()
    frame.write_bytes(content[: len(content) * 2 // 3])
    result = rapid_image_metrics(frame)
    assert_finite_or_reason(result)
    amplifier_count = int(metric_value(result, "amps"))
    assert 4 <= amplifier_count < AMPS
    assert metric_value(result, "amps_missing") == AMPS - amplifier_count
    assert metric_value(result, "dead_fraction") == 0, "what is missing is not dead"
    assert metric_value(result, "sky_bg") == pytest.approx(SKY.sky, rel=0.005)
    assert "missing" in result.note


@pytest.mark.parametrize("cut_bytes", [2880, 40_000])
def test_an_amplifier_of_which_the_end_is_lacking_is_missing_not_zero(
    frame: Path, cut_bytes: int
) -> None:
    content = frame.read_bytes()
    frame.write_bytes(content[:-cut_bytes])
    result = rapid_image_metrics(frame)
    assert_finite_or_reason(result)
    assert metric_value(result, "amps_missing") == 1
    medians = result.fields["overscan_median"]
    assert len(medians.ids) == AMPS
    assert np.isnan(medians.values[-1])
    assert np.isfinite(medians.values[:-1]).all()
    assert np.isnan(result.fields["sky_bg"].values[-1])
    assert np.isnan(result.fields["dead_fraction"].values[-1])
    assert "Segment03 cannot be read" in result.note
    assert metric_value(result, "psf_fwhm") == pytest.approx(SKY.fwhm, rel=0.03)


def change_headers(frame: Path, changes: dict[str, Any], amps: range = range(1, AMPS + 1)) -> None:
    with fitsio.FITS(str(frame), "rw") as file:
        for number in amps:
            for key, value in changes.items():
                file[number].write_key(key, value)


def test_amplifiers_whose_places_overlap_are_put_side_by_side(frame: Path) -> None:
    change_headers(frame, {"DETSEC": "[1:160,1:300]"})
    result = rapid_image_metrics(frame)
    assert_finite_or_reason(result)
    assert "overlap: the amplifiers were put side by side" in result.note
    assert metric_value(result, "sky_bg") == pytest.approx(SKY.sky, rel=0.005)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DETSEC": "[1:77,1:300]"}, "DETSEC [1:77,1:300] does not fit 160 x 300"),
        ({"DETSEC": "nonsense"}, "DETSEC nonsense is no section"),
        ({"DATASEC": "[4:9000,1:300]"}, "DATASEC [4:9000,1:300] does not lie within"),
    ],
)
def test_an_impossible_geometry_is_reported(
    frame: Path, changes: dict[str, Any], message: str
) -> None:
    change_headers(frame, changes)
    result = rapid_image_metrics(frame)
    assert_finite_or_reason(result)
    assert message in result.note


def test_an_overscan_that_lies_on_the_light_is_ignored(frame: Path) -> None:
    change_headers(frame, {"BIASSEC": "[100:120,1:300]"})
    result = rapid_image_metrics(frame)
    assert "lies on DATASEC" in unknown_reason(result, "overscan_median")
    assert "lies on DATASEC" in unknown_reason(result, "read_noise")
    assert_finite_or_reason(result)


def test_without_biassec_the_columns_behind_the_light_are_the_overscan(frame: Path) -> None:
    with_biassec = rapid_image_metrics(frame)
    with fitsio.FITS(str(frame), "rw") as file:
        for number in range(1, AMPS + 1):
            file[number].delete_key("BIASSEC")
    without_biassec = rapid_image_metrics(frame)
    assert metric_value(without_biassec, "overscan_median") == metric_value(
        with_biassec, "overscan_median"
    )
    change_headers(frame, {"DATASEC": "[4:227,1:300]"})
    assert "no BIASSEC" in unknown_reason(rapid_image_metrics(frame), "overscan_median")


@pytest.mark.parametrize("saturate", [0, -5, 1, 22_010, "full"])
def test_a_saturation_below_the_bias_is_ignored(frame: Path, saturate: Any) -> None:
    change_headers(frame, {"SATURATE": saturate})
    assert metric_value(rapid_image_metrics(frame), "saturated_fraction") == 0


def fill_amplifier(frame: Path, number: int, amount: float) -> None:
    with fitsio.FITS(str(frame), "rw") as file:
        pixels = file[number].read()
        pixels[:] = amount
        file[number].write(pixels)


@pytest.mark.parametrize("binning", [1, 2])
def test_a_dead_amplifier_is_dead_and_affects_no_other(frame: Path, binning: int) -> None:
    fill_amplifier(frame, 3, 22_074)
    result = rapid_image_metrics(frame, binning=binning)
    assert_finite_or_reason(result)
    dead = result.fields["dead_fraction"].values
    assert list(dead) == [0, 0, 1, 0, 0, 0, 0, 0]
    assert metric_value(result, "dead_fraction") == pytest.approx(1 / AMPS)
    assert metric_value(result, "sky_bg") == pytest.approx(SKY.sky, rel=0.005)
    assert metric_value(result, "psf_fwhm") == pytest.approx(SKY.fwhm, rel=0.03)


@pytest.mark.parametrize("binning", [1, 2])
def test_a_saturated_amplifier_is_saturated_and_affects_no_other(frame: Path, binning: int) -> None:
    fill_amplifier(frame, 3, 65535)
    result = rapid_image_metrics(frame, binning=binning)
    assert_finite_or_reason(result)
    saturated = result.fields["saturated_fraction"].values
    assert list(saturated) == [0, 0, 1, 0, 0, 0, 0, 0]
    assert np.isnan(result.fields["overscan_median"].values[2])
    assert metric_value(result, "sky_bg") == pytest.approx(SKY.sky, rel=0.005)
    assert metric_value(result, "psf_fwhm") == pytest.approx(SKY.fwhm, rel=0.03)


def test_65535_everywhere_leaves_nothing_but_reasons(frame: Path) -> None:
    for number in range(1, AMPS + 1):
        fill_amplifier(frame, number, 65535)
    result = rapid_image_metrics(frame)
    assert_finite_or_reason(result)
    assert metric_value(result, "saturated_fraction") == 1
    assert "the overscan is saturated" in unknown_reason(result, "overscan_median")
    for name in ("sky_bg", "sky_noise", "source_count", "streak", "psf_fwhm"):
        assert "100% are saturated" in unknown_reason(result, name)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((80, 90), np.nan, np.float32), np.full((80, 90), np.inf), np.zeros((80, 90)),
        np.full((80, 90), -1e30), np.full((3, 4), 7, np.int16), np.zeros((1, 500), np.uint8),
        np.random.default_rng(1).integers(0, 65536, (300, 300)).astype(np.uint16),
        np.random.default_rng(1).normal(0, 1e30, (300, 300)),
        np.tile([0, 60_000], (200, 100)).astype(np.uint16),
    ],
)  # fmt: skip
def test_arrays_without_a_sky_have_a_reason_for_each_metric(pixels: Any) -> None:
    assert_finite_or_reason(rapid_image_metrics(pixels))


@pytest.mark.parametrize("shape", [(0, 5), (7,), (2, 30, 30), ()])
def test_what_is_no_image_is_refused_with_a_message(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is no image; give rows and columns"):
        rapid_image_metrics(np.zeros(shape))


def create_star_array() -> Any:
    rng = np.random.default_rng(5)
    pixels = rng.normal(500, 20, (500, 500))
    y, x = np.mgrid[:500, :500]
    for row in range(40, 500, 70):
        for column in range(40, 500, 70):
            square = (x - column - 0.3) ** 2 + (y - row - 0.1) ** 2
            pixels += 3000 * np.exp(-square / (2 * 1.8**2))
    return pixels


def test_an_array_with_a_mask_is_measured_around_it() -> None:
    pixels = create_star_array()
    mask = np.zeros(pixels.shape, bool)
    mask[:, 100:140] = True
    pixels[mask] = 1e5
    for result in (
        rapid_image_metrics(pixels, mask=mask),
        rapid_image_metrics(np.ma.MaskedArray(pixels, mask)),
    ):
        assert_finite_or_reason(result)
        assert metric_value(result, "sky_bg") == pytest.approx(500, rel=0.005)
        assert metric_value(result, "psf_fwhm") == pytest.approx(2.3548 * 1.8, rel=0.02)
        assert metric_value(result, "dead_fraction") == 0
        assert 35 <= metric_value(result, "source_count") <= 45
        assert "BIASSEC" in unknown_reason(result, "overscan_median")


def test_a_mask_of_another_shape_is_not_used_and_is_reported() -> None:
    result = rapid_image_metrics(create_star_array(), mask=np.ones((3, 3)))
    assert "the mask has the shape (3, 3)" in result.note


def test_a_mask_is_read_for_each_detector(frame: Path, tmp_path: Path) -> None:
    mask_pixels = np.zeros(SKY.shape, np.uint8)
    mask_pixels[:100] = 1
    fitsio.write(str(tmp_path / "mask_R22_S11.fits"), mask_pixels)
    mask = str(tmp_path / "mask_{detector}.fits")
    unmasked = rapid_image_metrics(frame, detector="R22_S11")
    masked = rapid_image_metrics(frame, detector="R22_S11", mask=mask)
    assert metric_value(masked, "n_psf_star") < metric_value(unmasked, "n_psf_star")
    with pytest.raises(ValueError, match="the mask cannot be had: there is no image mask_S00"):
        rapid_image_metrics(frame, detector="S00", mask=mask)


def test_sections_and_gain_may_be_given_where_the_header_has_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.normal(1000, 4, (300, 340))
    pixels[:, :300] += rng.poisson(400, (300, 300)) / 2
    fitsio.write(str(tmp_path / "a.fits"), np.rint(pixels).astype(np.int32))
    result = rapid_image_metrics(
        tmp_path / "a.fits", gain=2.0, bias_section="[301:340,1:300]", data_section="[1:300,1:300]"
    )
    assert metric_value(result, "overscan_mean") == pytest.approx(1000, abs=0.2)
    assert metric_value(result, "sky_bg") == pytest.approx(400, rel=0.005)
    assert result.metrics["sky_bg"].unit == "electron"
    with pytest.raises(ValueError, match=r"binning is 3\.5"):
        rapid_image_metrics(tmp_path / "a.fits", binning=3.5)


def test_a_camera_that_bins_on_the_chip_is_put_together_all_the_same(tmp_path: Path) -> None:
    """Its DETSEC counts single pixels, two for each that is read."""
    light = np.random.default_rng(3).normal(1500, 20, (200, 200)).astype(np.float32)
    with fitsio.FITS(str(tmp_path / "a.fits"), "rw") as file:
        file.write(None)
        for name, detector_section in (("C0", "[1:200,1:400]"), ("C1", "[400:201,1:400]")):
            file.write(
                light[:, :100],
                header={"DETSEC": detector_section, "DETSIZE": "[1:400,1:400]"},
                extname=name,
            )
    result = rapid_image_metrics(tmp_path / "a.fits")
    assert (metric_value(result, "amps"), metric_value(result, "amps_missing")) == (2, 0)
    assert "side by side" not in result.note


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    arrays.arrays(
        st.sampled_from([np.uint16, np.int16, np.float32, np.float64]),
        st.tuples(st.integers(1, 60), st.integers(1, 60)),
    )
)
def test_any_pixels_give_a_value_or_a_reason(pixels: Any) -> None:
    assert_finite_or_reason(rapid_image_metrics(pixels))


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 40_000), junk=st.binary(min_size=1, max_size=200))
def test_bytes_written_over_a_file_never_end_a_run_without_a_message(
    tmp_path: Path, place: int, junk: bytes
) -> None:
    path = tmp_path / "junk.fits"
    spec = ImageSpec(shape=(64, 64), amps=(1, 2), stars=3)
    if not path.exists():
        write_image(path, spec)
        (tmp_path / "whole").write_bytes(path.read_bytes())
    content = (tmp_path / "whole").read_bytes()
    offset = place % len(content)
    path.write_bytes((content[:offset] + junk + content[offset + len(junk) :])[: len(content)])
    try:
        assert_finite_or_reason(rapid_image_metrics(path))
    except ValueError as error:
        assert "junk.fits" in str(error) or "claims" in str(error), error
