"""The quantities of `rapid_image_metrics` as a user of photutils gets them, by its manual.

Overscan with sigma clipping, Background2D with SExtractor's estimator, its SourceFinder (image
segmentation, with deblending or without), shapes from its catalogue, and the FWHM of 200 stars
from its Gaussian fits. It has no adaptive moments, cosmic rays or trails, which Catcher's figures
include.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

MAX_STARS = 200


def measure_image(path: Path, deblend: bool = True) -> dict[str, float]:
    """One detector's file; the figures that both contestants have."""
    from astropy.io import fits
    from astropy.stats import sigma_clipped_stats

    with fits.open(path, memmap=False) as file:
        amplifiers = [hdu for hdu in file if hdu.data is not None and hdu.data.ndim == 2]
        image = np.zeros(_parse_shape(amplifiers[0].header["DETSIZE"]), np.float32)
        levels, noises, saturated = [], [], 0
        for hdu in amplifiers:
            strip = hdu.data[_parse_section(hdu.header["BIASSEC"])]
            _, level, noise = sigma_clipped_stats(strip, sigma=6)
            position, orientation = _parse_detector_section(hdu.header["DETSEC"])
            pixels = hdu.data[_parse_section(hdu.header["DATASEC"])]
            saturated += int((pixels >= 65535).sum())
            image[position] = ((pixels - level) * hdu.header["GAIN"])[orientation]
            levels.append(level)
            noises.append(noise)
    return {
        "overscan_median": float(np.median(levels)),
        "overscan_noise": float(np.median(noises)),
        "saturated_fraction": saturated / image.size,
        **_measure_sources(image, deblend),
    }


def _measure_sources(image: Any, deblend: bool) -> dict[str, float]:
    from astropy.convolution import convolve
    from photutils.background import Background2D, SExtractorBackground, StdBackgroundRMS
    from photutils.segmentation import SourceCatalog, SourceFinder

    background = Background2D(
        image, 256, filter_size=3, bkg_estimator=SExtractorBackground(),
        bkg_rms_estimator=StdBackgroundRMS(),
    )  # fmt: skip
    residual = image - background.background
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    smooth = convolve(residual, kernel, normalize_kernel=False)
    finder = SourceFinder(5, deblend=deblend, progress_bar=False)
    segments = finder(smooth, 1.5 * background.background_rms_median)
    catalogue = SourceCatalog(residual, segments, convolved_data=smooth)
    return {
        "sky_bg": float(background.background_median),
        "sky_noise": float(background.background_rms_median),
        "dead_fraction": float((image < 0.5 * background.background_median).mean()),
        "source_count": float(len(catalogue)),
        **_measure_stars(residual, catalogue),
    }


def _measure_stars(residual: Any, catalogue: Any) -> dict[str, float]:
    from photutils.psf import fit_fwhm

    flux = catalogue.segment_flux
    sizes = np.sqrt(catalogue.semimajor_axis.value * catalogue.semiminor_axis.value)
    brightest = np.argsort(-flux)
    typical_size = float(np.median(sizes[brightest[:50]]))
    selected = [star for star in brightest if abs(sizes[star] - typical_size) < 0.3 * typical_size][
        :MAX_STARS
    ]
    x, y = catalogue.x_centroid[selected], catalogue.y_centroid[selected]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        widths = fit_fwhm(residual, xypos=np.column_stack((x, y)), fit_shape=15)
    covariance = catalogue.covariance.value[selected]
    ixx, iyy, ixy = covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 0, 1]
    return {
        "n_psf_star": float(len(selected)),
        "psf_fwhm": float(np.median(widths)),
        "e1": float(np.median((ixx - iyy) / (ixx + iyy))),
        "e2": float(np.median(2 * ixy / (ixx + iyy))),
    }


def _parse_numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _parse_section(text: str) -> tuple[slice, slice]:
    x1, x2, y1, y2 = _parse_numbers(text)
    return slice(y1 - 1, y2), slice(x1 - 1, x2)


def _parse_detector_section(text: str) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    x1, x2, y1, y2 = _parse_numbers(text)
    position = slice(min(y1, y2) - 1, max(y1, y2)), slice(min(x1, x2) - 1, max(x1, x2))
    return position, (
        slice(None, None, -1 if y1 > y2 else 1),
        slice(None, None, -1 if x1 > x2 else 1),
    )


def _parse_shape(text: str) -> tuple[int, int]:
    _, columns, _, rows = _parse_numbers(text)
    return rows, columns
