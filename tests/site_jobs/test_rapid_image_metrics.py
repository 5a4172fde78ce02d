"""Image metrics against injected truth, a real frame, and files that are no good."""

from __future__ import annotations

from pathlib import Path

import fitsio
import numpy as np
import pytest
from astropy.io import fits

from catcher import Metric, Result
from catcher.testing import load_job
from tests.site_jobs.frame_builders import (
    BIAS,
    GAIN,
    READ_NOISE,
    SKY,
    create_headers,
    create_raw_pixels,
    create_star_field,
    write_single_amplifier,
    write_two_amplifiers,
)

rapid_image_metrics = load_job("rapid_image_metrics", site=Path(__file__).parents[2])
SHAPE = (400, 400)


def metric_value(result: Result, name: str) -> float:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is not None, metric.reason
    return metric.value


def unknown_reason(result: Result, name: str) -> str:
    metric = result.metrics[name]
    assert isinstance(metric, Metric)
    assert metric.value is None
    return metric.reason


def test_overscan_of_a_real_frame_equals_numpy_on_biassec(shared_data: Path) -> None:
    frame = shared_data / "ccd-overscan-a8280271.fits"
    with fits.open(frame) as file:
        overscan = file[0].data[0:520, 3:13].astype(float)
    result = rapid_image_metrics(frame, preview=False)
    assert metric_value(result, "overscan_median") == np.median(overscan) == 214.0
    assert metric_value(result, "overscan_noise") == pytest.approx(overscan.std(), rel=1e-9)
    assert list(result.fields["overscan_median"].values) == [214.0]
    assert result.fields["overscan_noise"].over == "amp"
    assert result.metrics["sky_bg"].unit == "electron"


@pytest.mark.parametrize(
    ("sigma", "e1", "e2", "seed"), [(1.5, 0.0, 0.0, 1), (2.0, 0.1, -0.05, 2), (1.8, -0.04, 0.08, 3)]
)
def test_injected_stars_are_measured_as_they_are(
    tmp_path: Path, sigma: float, e1: float, e2: float, seed: int
) -> None:
    frame = write_single_amplifier(
        tmp_path / "a.fits", create_star_field(SHAPE, sigma, e1, e2, seed=seed), PIXSCALE=0.2
    )
    result = rapid_image_metrics(frame, preview=False)
    fwhm = 2.3548 * sigma
    assert metric_value(result, "psf_fwhm") == pytest.approx(fwhm, rel=0.02)
    assert metric_value(result, "psf_fwhm_moments") == pytest.approx(fwhm, rel=0.02)
    assert metric_value(result, "psf_sigma") == pytest.approx(sigma, rel=0.02)
    assert metric_value(result, "psf_fwhm_arcsec") == pytest.approx(0.2 * fwhm, rel=0.02)
    assert metric_value(result, "e1") == pytest.approx(e1, abs=0.008)
    assert metric_value(result, "e2") == pytest.approx(e2, abs=0.008)
    assert metric_value(result, "n_psf_star") >= 36
    assert metric_value(result, "source_count") == pytest.approx(40, abs=1)


@pytest.mark.parametrize(("alpha", "beta"), [(3.0, 3.0), (2.5, 2.5), (4.0, 4.5)])
def test_half_maximum_and_moments_differ_for_stars_with_wings(
    tmp_path: Path, alpha: float, beta: float
) -> None:
    frame = write_single_amplifier(
        tmp_path / "a.fits", create_star_field(SHAPE, alpha, stars=36, beta=beta)
    )
    result = rapid_image_metrics(frame, preview=False)
    fwhm = 2 * alpha * np.sqrt(2 ** (1 / beta) - 1)
    assert metric_value(result, "psf_fwhm") == pytest.approx(fwhm, rel=0.02)
    assert metric_value(result, "psf_fwhm_moments") > 1.05 * fwhm


def test_sky_and_noise_are_in_electrons(tmp_path: Path) -> None:
    result = rapid_image_metrics(
        write_single_amplifier(tmp_path / "a.fits", create_star_field(SHAPE, 1.5)), preview=False
    )
    assert metric_value(result, "sky_bg") == pytest.approx(SKY, rel=0.005)
    assert metric_value(result, "sky_noise") == pytest.approx(
        np.hypot(np.sqrt(SKY), READ_NOISE), rel=0.03
    )
    assert metric_value(result, "overscan_median") == pytest.approx(BIAS, abs=0.5)
    assert metric_value(result, "overscan_noise") == pytest.approx(READ_NOISE / GAIN, rel=0.02)
    assert metric_value(result, "saturated_fraction") == metric_value(result, "dead_fraction") == 0


def test_two_amplifiers_make_one_detector(tmp_path: Path) -> None:
    electrons = create_star_field(SHAPE, 2.0, 0.1, -0.05)
    result = rapid_image_metrics(
        write_two_amplifiers(tmp_path / "a.fits", electrons, gains=(GAIN, 0.5 * GAIN)), preview=True
    )
    assert result.fields["overscan_median"].ids == ("C00", "C01")
    assert metric_value(result, "source_count") == pytest.approx(40, abs=1)
    # The second half is stored mirrored and in other units; e2 would come out as nought otherwise.
    assert metric_value(result, "psf_fwhm") == pytest.approx(2.3548 * 2.0, rel=0.03)
    assert metric_value(result, "e2") == pytest.approx(-0.05, abs=0.01)
    sky = result.fields["sky_bg"].values
    assert sky[1] == pytest.approx(0.5 * sky[0], rel=0.01)
    assert set(result.artifacts) == {"preview.png"}


@pytest.mark.parametrize("suffix", ["fits.gz", "fits.fz"])
def test_compressed_files_read_the_same(tmp_path: Path, suffix: str) -> None:
    electrons = create_star_field(SHAPE, 1.5)
    plain = rapid_image_metrics(
        write_single_amplifier(tmp_path / "a.fits", electrons), preview=False
    )
    packed = tmp_path / f"a.{suffix}"
    with fitsio.FITS(str(packed), "rw") as file:
        compress = "RICE" if suffix.endswith("fz") else None
        file.write(create_raw_pixels(electrons), header=create_headers(SHAPE), compress=compress)
    result = rapid_image_metrics(packed, preview=False)
    assert metric_value(result, "overscan_noise") == metric_value(plain, "overscan_noise")
    assert metric_value(result, "psf_fwhm") == metric_value(plain, "psf_fwhm")


def test_saturated_and_dead_pixels_are_counted_and_measured_around(tmp_path: Path) -> None:
    frame = write_single_amplifier(tmp_path / "a.fits", create_star_field(SHAPE, 1.5))
    pixels = fitsio.read(str(frame))
    pixels[:40, :400] = 65535
    pixels[:, 100:104] = int(BIAS)
    fitsio.write(str(frame), pixels, header=create_headers(SHAPE), clobber=True)
    result = rapid_image_metrics(frame, preview=False)
    assert metric_value(result, "saturated_fraction") == pytest.approx(0.1 * 396 / 400, abs=1e-4)
    assert metric_value(result, "dead_fraction") == pytest.approx(0.01, abs=1e-4)
    assert metric_value(result, "sky_bg") == pytest.approx(SKY, rel=0.01)
    assert metric_value(result, "psf_fwhm") == pytest.approx(2.3548 * 1.5, rel=0.03)


def test_without_biassec_the_overscan_is_unknown_and_the_rest_is_not(tmp_path: Path) -> None:
    fitsio.write(
        str(tmp_path / "a.fits"), create_raw_pixels(create_star_field(SHAPE, 1.5))[:, :400]
    )
    result = rapid_image_metrics(tmp_path / "a.fits", preview=False)
    assert "BIASSEC" in unknown_reason(result, "overscan_median")
    assert "BIASSEC" in unknown_reason(result, "overscan_noise")
    assert metric_value(result, "n_psf_star") > 30
    assert result.metrics["sky_bg"].unit == "adu"


def test_an_impossible_header_is_ignored(tmp_path: Path) -> None:
    header = {"BIASSEC": "[9000:9016,1:400]", "DATASEC": "[0:-4,x]", "GAIN": -1.0}
    fitsio.write(
        str(tmp_path / "a.fits"), create_raw_pixels(create_star_field(SHAPE, 1.5)), header=header
    )
    result = rapid_image_metrics(tmp_path / "a.fits", preview=False)
    assert "BIASSEC" in unknown_reason(result, "overscan_median")
    assert result.metrics["sky_bg"].unit == "adu"


@pytest.mark.parametrize(
    ("pixels", "unknown"),
    [
        (np.full((64, 64), np.nan, np.float32), "hardly a pixel is good"),
        (np.full((64, 64), 65535, np.uint16), "hardly a pixel is good"),
        (np.zeros((64, 64), np.float32), ""),
    ],
)  # fmt: skip
def test_frames_without_a_sky_say_so(tmp_path: Path, pixels: np.ndarray, unknown: str) -> None:
    fitsio.write(str(tmp_path / "a.fits"), pixels)
    result = rapid_image_metrics(tmp_path / "a.fits")
    assert "fewer than 5 usable stars" in unknown_reason(result, "psf_fwhm")
    if unknown:
        assert unknown in unknown_reason(result, "sky_bg")
    else:
        assert metric_value(result, "sky_bg") == 0


def test_an_empty_sky_has_no_psf(tmp_path: Path) -> None:
    frame = write_single_amplifier(tmp_path / "a.fits", np.zeros(SHAPE))
    result = rapid_image_metrics(frame, preview=False)
    assert metric_value(result, "n_psf_star") == 0
    assert "fewer than 5 usable stars" in unknown_reason(result, "e1")
    assert metric_value(result, "sky_bg") == pytest.approx(SKY, rel=0.005)


def test_a_file_cut_in_half_is_refused_with_a_message(tmp_path: Path) -> None:
    frame = write_single_amplifier(tmp_path / "a.fits", create_star_field(SHAPE, 1.5))
    content = frame.read_bytes()
    for size in (0, 100, 2000, 2880, len(content) // 2):
        frame.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"a\.fits (cannot be read|holds no)"):
            rapid_image_metrics(frame)


def test_what_is_no_image_is_refused_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(b"not a FITS file at all" * 500)
    with pytest.raises(ValueError, match="cannot be read"):
        rapid_image_metrics(tmp_path / "a.fits")
    with pytest.raises(ValueError, match=r"there is no image b\.fits"):
        rapid_image_metrics(tmp_path / "b.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(
        [fits.Column("x", "D", array=np.zeros(3))])]).writeto(tmp_path / "c.fits")  # fmt: skip
    with pytest.raises(ValueError, match="holds no two-dimensional image"):
        rapid_image_metrics(tmp_path / "c.fits")


def test_only_the_requested_metrics_are_returned(tmp_path: Path) -> None:
    frame = write_single_amplifier(tmp_path / "a.fits", create_star_field(SHAPE, 1.5))
    result = rapid_image_metrics(frame, metrics=["psf_fwhm", "sky_bg"])
    assert set(result.metrics) == {"psf_fwhm", "sky_bg"}
    assert set(result.fields) == {"sky_bg"}
