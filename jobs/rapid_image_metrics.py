"""Measures an image seconds after it was taken: noise, sky, sources and the PSF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher import Field, Metric, Result, job

from .lib import blocks
from .lib.detector import Amplifier, Detector
from .lib.frame_reader import BadFrame, read_detector
from .lib.image_measurement import ImageMeasurements, measure_image
from .lib.sections import HeaderDefaults
from .lib.stars import FWHM, MIN_STARS

MAX_BINNING = 8
_MAX_THUMBNAIL_SIDE = 64
_MIN_BLOCKS = 8
PSF_UNITS = {
    "psf_fwhm": "pixel",
    "psf_fwhm_arcsec": "arcsec",
    "psf_fwhm_moments": "pixel",
    "psf_sigma": "pixel",
    "psf_ixx": "pixel^2",
    "psf_iyy": "pixel^2",
    "psf_ixy": "pixel^2",
    "psf_area": "pixel^2",
    "e1": "",
    "e2": "",
    "ellipticity_scatter": "",
    "psf_gradient": "pixel",
    "psf_gradient_x": "pixel",
    "psf_gradient_y": "pixel",
}
_AMPLIFIER_UNITS = {
    "overscan_median": "adu",
    "overscan_mean": "adu",
    "overscan_noise": "adu",
    "overscan_drift": "adu",
}


@job
def rapid_image_metrics(
    frame: Path,
    detector: str = "",
    pixel_scale: float = 0.0,
    preview: bool = False,
    binning: int = 1,
    thumbnail: int = 16,
    mask: str = "",
    catalogue: bool = False,
    gain: float = 0.0,
    bias_section: str = "",
    data_section: str = "",
    metrics: Sequence[str] | None = None,
) -> Result:
    """Measures one detector's raw frame.

    frame: a FITS file, plain, gzip or RICE: one amplifier with BIASSEC and DATASEC, or one
    extension an amplifier with DETSEC; or an array of pixels, masked or not. detector: its name.
    pixel_scale: arcsec a pixel; without it PIXSCALE of the header. preview: whether to draw the
    detector. binning: 2 finds sources and stars in pixels of 2 x 2, twice as fast; lengths come
    out in single pixels all the same. thumbnail: blocks along a side of the small image that the
    visit's mosaic is made of; 0 for none. mask: a FITS file whose pixels are not nought where the
    detector is bad, with `{detector}` in its name, or an array. catalogue: whether to keep the
    sources as `sources.parquet` (x, y from 0, flux, whether for the PSF, whether a cosmic ray).
    gain (electrons per ADU),
    bias_section, data_section: for headers that don't have them. metrics: keep only these, and no
    thumbnail.

    Fields over `amp`: `overscan_median`, `overscan_mean`, `overscan_noise`, `overscan_drift`,
    `read_noise`, `sky_bg`, `saturated_fraction`, `dead_fraction`. Metrics: their medians over the
    amplifiers under the same names (fractions: of all pixels); `amps`, `amps_missing`; `sky_bg`,
    `sky_noise`, `source_count`, `cosmic_ray_count`, `streak` (1 or 0), `pixel_scale`,
    `n_psf_star`, and of the PSF `psf_fwhm`, `psf_fwhm_arcsec`, `psf_fwhm_moments`, `psf_sigma`,
    `psf_ixx`, `psf_iyy`, `psf_ixy`, `psf_area`, `e1`, `e2`, `ellipticity_scatter`,
    `psf_gradient`, `psf_gradient_x`, `psf_gradient_y`. docs/jobs.md has the formulas and their
    sources. What cannot be had is unknown, with the reason; a file of which no amplifier can be
    read fails the run and says why.
    """
    if binning not in range(1, MAX_BINNING + 1):
        raise ValueError(f"binning is {binning}; give a whole number from 1 to {MAX_BINNING}")
    defaults = HeaderDefaults(bias_section, data_section, gain)
    source = frame if isinstance(frame, np.ndarray) else Path(frame)
    image = read_detector(source, _load_mask(mask, detector), defaults)
    measurements = measure_image(image, detector or image.name, pixel_scale, int(binning))
    all_metrics = {
        **_psf_metrics(measurements), **_sky_metrics(measurements), **_source_metrics(measurements),
        **_amplifier_metrics(image),
    }  # fmt: skip
    fields = {
        **_build_fields(measurements),
        **_thumbnail_field(measurements, thumbnail if metrics is None else 0),
    }
    return Result(
        metrics={
            name: value for name, value in all_metrics.items() if metrics is None or name in metrics
        },
        fields={
            name: value for name, value in fields.items() if metrics is None or name in metrics
        },
        artifacts={
            **(_draw_preview(measurements) if preview else {}),
            **(
                {"sources.parquet": measurements.build_catalogue()}
                if catalogue and measurements.sky
                else {}
            ),
        },
        note=_format_message(measurements),
    )


def _load_mask(mask: object, detector: str) -> npt.NDArray[np.bool_] | None:
    """Returns the mask as an array; None if there is none."""
    if isinstance(mask, np.ndarray):
        return np.asarray(mask != 0)
    if not mask:
        return None
    path = Path(str(mask).replace("{detector}", detector))
    try:
        mask_image = read_detector(path)
    except BadFrame as error:
        raise BadFrame(f"the mask cannot be had: {error}") from error
    return np.asarray(mask_image.image != 0)


def _build_fields(measurements: ImageMeasurements) -> dict[str, Field]:
    amplifiers = measurements.detector.amplifiers
    names = [amplifier.name for amplifier in amplifiers]

    def build_field(get_value: Callable[[Amplifier], float], unit: str = "") -> Field:
        return Field(
            "amp", names, np.array([get_value(amplifier) for amplifier in amplifiers]), unit
        )

    return {
        **{
            name: build_field(lambda amplifier, name=name: _overscan_value(amplifier, name), unit)  # type: ignore[misc]
            for name, unit in _AMPLIFIER_UNITS.items()
        },
        "read_noise": build_field(
            lambda amplifier: amplifier.overscan.noise * amplifier.gain, measurements.detector.unit
        ),
        "sky_bg": build_field(
            lambda amplifier: _amplifier_sky(measurements, amplifier), measurements.detector.unit
        ),
        "saturated_fraction": build_field(lambda amplifier: amplifier.saturated),
        "dead_fraction": build_field(lambda amplifier: amplifier.dead),
    }


def _overscan_value(amplifier: Amplifier, name: str) -> float:
    return float(getattr(amplifier.overscan, name.removeprefix("overscan_")))


def _amplifier_sky(measurements: ImageMeasurements, amplifier: Amplifier) -> float:
    """Returns the sky of one amplifier: of its blocks without sources, or of its pixels."""
    sky = measurements.sky
    if amplifier.light is None:
        return float("nan")
    if sky is not None:
        rows, columns = (
            slice(-(-span.start // sky.side), span.stop // sky.side) for span in amplifier.section
        )
        clean = sky.clean[rows, columns]
        if clean.sum() >= _MIN_BLOCKS:
            return float(np.median(sky.blocks[rows, columns][clean]))
    return amplifier.light.level * amplifier.gain


def _amplifier_metrics(image: Detector) -> dict[str, Metric]:
    readable = image.readable_amplifiers
    medians = {
        name: _median_metric(
            [_overscan_value(amplifier, name) for amplifier in readable],
            unit,
            _overscan_reason(readable),
        )
        for name, unit in _AMPLIFIER_UNITS.items()
    }
    noise = [amplifier.overscan.noise * amplifier.gain for amplifier in readable]
    medians["read_noise"] = _median_metric(noise, image.unit, _overscan_reason(readable))
    sizes = np.array([_count_pixels(amplifier) for amplifier in readable])
    unreadable_count = len(image.amplifiers) - len(readable)
    return {
        **medians,
        "saturated_fraction": Metric(
            float(np.average([amplifier.saturated for amplifier in readable], weights=sizes))
        ),
        "dead_fraction": Metric(
            float(np.average([amplifier.dead for amplifier in readable], weights=sizes))
        ),
        "amps": Metric(float(len(readable))),
        "amps_missing": Metric(float(unreadable_count + image.missing_amplifiers)),
    }


def _count_pixels(amplifier: Amplifier) -> int:
    rows, columns = amplifier.section
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _overscan_reason(amplifiers: Sequence[Amplifier]) -> str:
    reasons = dict.fromkeys(
        amplifier.overscan.reason for amplifier in amplifiers if amplifier.overscan.reason
    )
    return "; ".join(reasons) or "the overscan has too few rows"


def _median_metric(values: Sequence[float], unit: str, reason: str) -> Metric:
    finite = [value for value in values if np.isfinite(value)]
    return Metric(float(np.median(finite)), unit) if finite else Metric(None, unit, reason=reason)


def _sky_metrics(measurements: ImageMeasurements) -> dict[str, Metric]:
    unit = measurements.detector.unit
    if measurements.sky is None:
        return {
            name: Metric(None, unit, reason=measurements.no_sky) for name in ("sky_bg", "sky_noise")
        }
    return {
        "sky_bg": Metric(measurements.sky.level, unit),
        "sky_noise": Metric(measurements.sky.noise, unit),
    }


def _source_metrics(measurements: ImageMeasurements) -> dict[str, Metric]:
    scale = _metric_or_unknown(
        measurements.pixel_scale, "arcsec", "neither `with` nor the header says pixel_scale"
    )
    if measurements.sky is None:
        names = ("source_count", "cosmic_ray_count", "streak")
        return {
            **{name: Metric(None, reason=measurements.no_sky) for name in names},
            "pixel_scale": scale,
        }
    return {
        "source_count": Metric(float(measurements.source_count)),
        "cosmic_ray_count": Metric(float(measurements.cosmic_ray_count)),
        "streak": Metric(float(measurements.trail is not None)),
        "pixel_scale": scale,
    }


def _psf_metrics(measurements: ImageMeasurements) -> dict[str, Metric]:
    psf = measurements.psf
    star_count = {"n_psf_star": Metric(float(psf.star_count if psf else 0))}
    if psf is None:
        reason = f"fewer than {MIN_STARS} usable stars among {measurements.source_count} sources"
        reason = f"{reason}: {measurements.no_sky}" if measurements.no_sky else reason
        unknown = {name: Metric(None, unit, reason=reason) for name, unit in PSF_UNITS.items()}
        return {**unknown, **star_count}
    values = {
        "psf_fwhm": psf.fwhm,
        "psf_fwhm_arcsec": psf.fwhm * measurements.pixel_scale,
        "psf_fwhm_moments": psf.sigma * FWHM,
        "psf_sigma": psf.sigma,
        "psf_ixx": psf.ixx,
        "psf_iyy": psf.iyy,
        "psf_ixy": psf.ixy,
        "psf_area": psf.area,
        "e1": psf.e1,
        "e2": psf.e2,
        "ellipticity_scatter": psf.ellipticity_scatter,
        "psf_gradient": float(np.hypot(psf.gradient_x, psf.gradient_y)),
        "psf_gradient_x": psf.gradient_x,
        "psf_gradient_y": psf.gradient_y,
    }
    metrics = {
        name: _metric_or_unknown(values[name], unit, _unknown_reason(name))
        for name, unit in PSF_UNITS.items()
    }
    return {**metrics, **star_count}


def _unknown_reason(name: str) -> str:
    if name == "psf_fwhm_arcsec":
        return "the pixel scale is not known; give pixel_scale under `with`, or PIXSCALE"
    if name.startswith("psf_gradient"):
        return "too few stars for a plane across the field"
    return "the stars' profile has no such width"


def _thumbnail_field(measurements: ImageMeasurements, side: int) -> dict[str, Field]:
    """Returns a detector's thumbnail for the visit's mosaic, block by block from the lower left."""
    sky = measurements.sky
    if side <= 0 or sky is None:
        return {}
    thumbnail = blocks.shrink_image(sky.blocks, min(int(side), _MAX_THUMBNAIL_SIDE))
    rows, columns = thumbnail.shape
    values = thumbnail.ravel()
    ids = [f"{row},{column}" for row in range(rows) for column in range(columns)]
    return {"thumbnail": Field("block", ids, np.round(values, 1), measurements.detector.unit)}


def _format_message(measurements: ImageMeasurements) -> str:
    clauses = [f"{measurements.name}: {_format_psf(measurements)}"]
    image = measurements.detector
    unreadable = [amplifier.name for amplifier in image.amplifiers if amplifier.reason]
    if unreadable:
        reason = next(amplifier.reason for amplifier in image.amplifiers if amplifier.reason)
        clauses.append(f"{', '.join(unreadable[:4])} cannot be read ({reason})")
    if image.missing_amplifiers:
        clauses.append(f"{image.missing_amplifiers} amplifiers are missing from the file")
    if measurements.trail is not None:
        clauses.append("a satellite's trail")
    return "; ".join([*clauses, *image.notes])


def _format_psf(measurements: ImageMeasurements) -> str:
    psf = measurements.psf
    if psf is None:
        return f"no PSF, {measurements.no_sky or f'{measurements.source_count} sources'}"
    if np.isfinite(measurements.pixel_scale):
        return f'PSF {psf.fwhm * measurements.pixel_scale:.2f}" from {psf.star_count} stars'
    return f"PSF {psf.fwhm:.1f} pixels from {psf.star_count} stars"


def _draw_preview(measurements: ImageMeasurements) -> dict[str, Any]:
    # Drawing takes longer than measuring, and more memory, so it is imported only on request.
    from .lib.preview_plot import plot_preview

    return {"preview.png": plot_preview(measurements, _format_message(measurements))}


def _metric_or_unknown(value: float, unit: str, reason: str) -> Metric:
    return Metric(value, unit) if np.isfinite(value) else Metric(None, unit, reason=reason)
