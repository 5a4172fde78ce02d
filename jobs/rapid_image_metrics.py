"""What an image is worth, a minute after it was taken: noise, sky, sources and the PSF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catcher import Field, Metric, Result, job

from .lib import plots
from .lib.detector import Detector, read_detector
from .lib.stars import FWHM, Psf, Sky, find_sources, measure_psf, measure_sky

PSF_UNITS = {
    "psf_fwhm": "pixel",
    "psf_fwhm_moments": "pixel",
    "psf_sigma": "pixel",
    "psf_fwhm_arcsec": "arcsec",
    "psf_ixx": "pixel^2",
    "psf_iyy": "pixel^2",
    "psf_ixy": "pixel^2",
    "e1": "",
    "e2": "",
    "ellipticity_scatter": "",
}


@dataclass(frozen=True)
class Findings:
    """What was measured; None where it could not be."""

    detector: Detector
    sky: Sky | None
    sources: int
    psf: Psf | None
    pixel_scale: float


@job
def rapid_image_metrics(
    frame: Path, detector: str = "", pixel_scale: float = 0.0, preview: bool = True
) -> Result:
    """Measures one detector's raw frame.

    frame: a FITS file, plain, gzip or RICE: one amplifier with BIASSEC and DATASEC, or one
    extension an amplifier with DETSEC. detector: its name, for the plot. pixel_scale: arcsec a
    pixel; without it PIXSCALE of the header. preview: whether to draw the picture.

    Fields over `amp`: `overscan_median`, `overscan_noise` (ADU), `sky_bg`, `saturated_fraction`,
    `dead_fraction`. Metrics: their medians (fractions: means) under the same names; `sky_bg`,
    `sky_noise` (electrons where GAIN is known, else ADU), `source_count`, `n_psf_star`,
    `psf_fwhm` (half maximum of the stacked star), `psf_fwhm_moments` (2.3548 `psf_sigma`),
    `psf_sigma`, `psf_ixx`, `psf_iyy`, `psf_ixy` (adaptive moments), `psf_fwhm_arcsec`, `e1`, `e2`,
    `ellipticity_scatter`. lib/stars.py has the formulas and their sources. What cannot be had is
    unknown, with the reason; a file that cannot be read fails the run and says why.
    """
    image = read_detector(Path(frame))
    found = _measure(image, pixel_scale)
    name = detector or image.name
    artifacts = {"preview.png": _picture(found, name)} if preview else {}
    return Result(
        metrics={**_psf_metrics(found), **_sky_metrics(found), **_amplifier_metrics(image)},
        fields=_fields(image),
        artifacts=artifacts,
        note=_message(found, name),
    )


def _measure(image: Detector, pixel_scale: float) -> Findings:
    scale = pixel_scale if pixel_scale > 0 else image.pixel_scale
    bad = image.bad
    sky = measure_sky(image.image, bad)
    if sky is None:
        return Findings(image, None, 0, None, scale)
    sources = find_sources(sky, bad)
    return Findings(image, sky, len(sources), measure_psf(sky, bad, sources), scale)


def _fields(image: Detector) -> dict[str, Field]:
    amplifiers = image.amplifiers
    names = _unique([one.name for one in amplifiers])

    def over(values: list[float], unit: str = "") -> Field:
        return Field("amp", names, np.array(values), unit)

    return {
        "overscan_median": over([one.overscan_median for one in amplifiers], "adu"),
        "overscan_noise": over([one.overscan_noise for one in amplifiers], "adu"),
        "sky_bg": over([_median(one.data[~(one.dead | one.saturated)]) for one in amplifiers],
                       image.unit),
        "saturated_fraction": over([float(one.saturated.mean()) for one in amplifiers]),
        "dead_fraction": over([float(one.dead.mean()) for one in amplifiers]),
    }  # fmt: skip


def _amplifier_metrics(image: Detector) -> dict[str, Metric]:
    missing = "no amplifier has a readable BIASSEC in its header"
    levels = np.array([(one.overscan_median, one.overscan_noise) for one in image.amplifiers])
    known = levels[np.isfinite(levels).all(axis=1)]
    median, noise = np.median(known, axis=0) if len(known) else (np.nan, np.nan)
    return {
        "overscan_median": _known(float(median), "adu", missing),
        "overscan_noise": _known(float(noise), "adu", missing),
        "saturated_fraction": Metric(float(image.saturated.mean())),
        "dead_fraction": Metric(float(image.dead.mean())),
    }


def _sky_metrics(found: Findings) -> dict[str, Metric]:
    unit = found.detector.unit
    if found.sky is None:
        reason = "hardly a pixel is good: the rest is saturated, dead or not a number"
        unknown = {name: Metric(None, unit, reason=reason) for name in ("sky_bg", "sky_noise")}
        return {**unknown, "source_count": Metric(None, reason=reason)}
    return {
        "sky_bg": Metric(found.sky.level, unit),
        "sky_noise": Metric(found.sky.noise, unit),
        "source_count": Metric(float(found.sources)),
    }


def _psf_metrics(found: Findings) -> dict[str, Metric]:
    psf = found.psf
    stars = {"n_psf_star": Metric(float(psf.stars if psf else 0))}
    if psf is None:
        reason = f"fewer than 5 usable stars among {found.sources} sources"
        unknown = {name: Metric(None, unit, reason=reason) for name, unit in PSF_UNITS.items()}
        return {**unknown, **stars}
    values = {
        "psf_fwhm": psf.fwhm,
        "psf_fwhm_moments": psf.sigma * FWHM,
        "psf_sigma": psf.sigma,
        "psf_fwhm_arcsec": psf.fwhm * found.pixel_scale,
        "psf_ixx": psf.ixx,
        "psf_iyy": psf.iyy,
        "psf_ixy": psf.ixy,
        "e1": psf.e1,
        "e2": psf.e2,
        "ellipticity_scatter": psf.scatter,
    }
    reason = "the pixel scale is not known; give pixel_scale under `with`, or PIXSCALE"
    return {**{name: _known(values[name], unit, reason) for name, unit in PSF_UNITS.items()},
            **stars}  # fmt: skip


def _message(found: Findings, name: str) -> str:
    psf = found.psf
    if psf is None:
        return f"{name}: no PSF, {found.sources} sources"
    if np.isfinite(found.pixel_scale):
        return f'{name}: PSF {psf.fwhm * found.pixel_scale:.2f}" from {psf.stars} stars'
    return f"{name}: PSF {psf.fwhm:.1f} pixels from {psf.stars} stars"


def _picture(found: Findings, name: str) -> plots.Figure:
    image = found.detector
    subtitle = f"{found.sources} sources"
    if found.sky is not None:
        subtitle = f"sky {found.sky.level:.0f} ± {found.sky.noise:.1f} {image.unit} · {subtitle}"
    if found.psf is not None:
        subtitle += f" · e1 {found.psf.e1:+.3f} · e2 {found.psf.e2:+.3f}"
    figure = plots.figure(_message(found, name), subtitle)
    plots.picture(figure, image.image, (0.045, 0.05, 0.60, 0.74))
    _table(figure, image)
    return figure


def _table(figure: plots.Figure, image: Detector) -> None:
    rows = [
        (one.name, f"{one.overscan_median:.0f}", f"{one.overscan_noise:.1f}")
        for one in image.amplifiers[:16]
    ]
    shown = [tuple("unknown" if cell == "nan" else cell for cell in row) for row in rows]
    plots.table(figure, ("amp", "bias ADU", "noise ADU"), shown, (0.68, 0.05, 0.285, 0.74))


def _known(value: float, unit: str, reason: str) -> Metric:
    return Metric(value, unit) if np.isfinite(value) else Metric(None, unit, reason=reason)


def _median(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _unique(names: list[str]) -> list[str]:
    seen: Mapping[str, int] = {name: names.count(name) for name in names}
    return [name if seen[name] == 1 else f"{name}-{i}" for i, name in enumerate(names)]
