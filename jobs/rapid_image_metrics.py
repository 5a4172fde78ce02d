"""What an image is worth, seconds after it was taken: noise, sky, sources and the PSF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher import Field, Metric, Result, job

from .lib import blocks
from .lib.detector import Amplifier, Detector
from .lib.findings import Findings, measure
from .lib.reading import BadFrame, read_detector
from .lib.sections import Given
from .lib.stars import FEWEST_STARS, FWHM

LARGEST_BINNING = 8
_LARGEST_THUMBNAIL = 64
_FEW_BLOCKS = 8
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
    if binning not in range(1, LARGEST_BINNING + 1):
        raise ValueError(f"binning is {binning}; give a whole number from 1 to {LARGEST_BINNING}")
    given = Given(bias_section, data_section, gain)
    source = frame if isinstance(frame, np.ndarray) else Path(frame)
    image = read_detector(source, _mask(mask, detector), given)
    found = measure(image, detector or image.name, pixel_scale, int(binning))
    made = {
        **_psf_metrics(found), **_sky_metrics(found), **_source_metrics(found),
        **_amplifier_metrics(image),
    }  # fmt: skip
    fields = {**_fields(found), **_thumbnail(found, thumbnail if metrics is None else 0)}
    return Result(
        metrics={name: one for name, one in made.items() if metrics is None or name in metrics},
        fields={name: one for name, one in fields.items() if metrics is None or name in metrics},
        artifacts={
            **(_pictures(found) if preview else {}),
            **({"sources.parquet": found.catalogue()} if catalogue and found.sky else {}),
        },
        note=_message(found),
    )


def _mask(mask: object, detector: str) -> npt.NDArray[np.bool_] | None:
    """The mask as an array; None where none is asked for."""
    if isinstance(mask, np.ndarray):
        return np.asarray(mask != 0)
    if not mask:
        return None
    path = Path(str(mask).replace("{detector}", detector))
    try:
        marked = read_detector(path)
    except BadFrame as error:
        raise BadFrame(f"the mask cannot be had: {error}") from error
    return np.asarray(marked.image != 0)


def _fields(found: Findings) -> dict[str, Field]:
    amplifiers = found.detector.amplifiers
    names = [one.name for one in amplifiers]

    def over(get: Callable[[Amplifier], float], unit: str = "") -> Field:
        return Field("amp", names, np.array([get(one) for one in amplifiers]), unit)

    return {
        **{name: over(lambda one, name=name: _overscan(one, name), unit)  # type: ignore[misc]
           for name, unit in _AMPLIFIER_UNITS.items()},
        "read_noise": over(lambda one: one.overscan.noise * one.gain, found.detector.unit),
        "sky_bg": over(lambda one: _sky_of(found, one), found.detector.unit),
        "saturated_fraction": over(lambda one: one.saturated),
        "dead_fraction": over(lambda one: one.dead),
    }  # fmt: skip


def _overscan(one: Amplifier, name: str) -> float:
    return float(getattr(one.overscan, name.removeprefix("overscan_")))


def _sky_of(found: Findings, one: Amplifier) -> float:
    """The sky of one amplifier: of its blocks without sources, or of its pixels."""
    sky = found.sky
    if one.light is None:
        return float("nan")
    if sky is not None:
        rows, columns = (slice(-(-at.start // sky.side), at.stop // sky.side) for at in one.place)
        clean = sky.clean[rows, columns]
        if clean.sum() >= _FEW_BLOCKS:
            return float(np.median(sky.blocks[rows, columns][clean]))
    return one.light.level * one.gain


def _amplifier_metrics(image: Detector) -> dict[str, Metric]:
    read = image.read
    made = {
        name: _median([_overscan(one, name) for one in read], unit, _why_no_overscan(read))
        for name, unit in _AMPLIFIER_UNITS.items()
    }
    noise = [one.overscan.noise * one.gain for one in read]
    made["read_noise"] = _median(noise, image.unit, _why_no_overscan(read))
    sizes = np.array([_pixels(one) for one in read])
    unread = len(image.amplifiers) - len(read)
    return {
        **made,
        "saturated_fraction": Metric(float(np.average([one.saturated for one in read],
                                                      weights=sizes))),
        "dead_fraction": Metric(float(np.average([one.dead for one in read], weights=sizes))),
        "amps": Metric(float(len(read))),
        "amps_missing": Metric(float(unread + image.missing)),
    }  # fmt: skip


def _pixels(one: Amplifier) -> int:
    rows, columns = one.place
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _why_no_overscan(read: Sequence[Amplifier]) -> str:
    reasons = dict.fromkeys(one.overscan.reason for one in read if one.overscan.reason)
    return "; ".join(reasons) or "the overscan has too few rows"


def _median(values: Sequence[float], unit: str, reason: str) -> Metric:
    known = [value for value in values if np.isfinite(value)]
    return Metric(float(np.median(known)), unit) if known else Metric(None, unit, reason=reason)


def _sky_metrics(found: Findings) -> dict[str, Metric]:
    unit = found.detector.unit
    if found.sky is None:
        return {name: Metric(None, unit, reason=found.no_sky) for name in ("sky_bg", "sky_noise")}
    return {
        "sky_bg": Metric(found.sky.level, unit),
        "sky_noise": Metric(found.sky.noise, unit),
    }


def _source_metrics(found: Findings) -> dict[str, Metric]:
    scale = _known(found.pixel_scale, "arcsec", "neither `with` nor the header says pixel_scale")
    if found.sky is None:
        names = ("source_count", "cosmic_ray_count", "streak")
        return {**{name: Metric(None, reason=found.no_sky) for name in names}, "pixel_scale": scale}
    return {
        "source_count": Metric(float(found.sources)),
        "cosmic_ray_count": Metric(float(found.particles)),
        "streak": Metric(float(found.trail is not None)),
        "pixel_scale": scale,
    }


def _psf_metrics(found: Findings) -> dict[str, Metric]:
    psf = found.psf
    stars = {"n_psf_star": Metric(float(psf.stars if psf else 0))}
    if psf is None:
        reason = f"fewer than {FEWEST_STARS} usable stars among {found.sources} sources"
        reason = f"{reason}: {found.no_sky}" if found.no_sky else reason
        unknown = {name: Metric(None, unit, reason=reason) for name, unit in PSF_UNITS.items()}
        return {**unknown, **stars}
    values = {
        "psf_fwhm": psf.fwhm,
        "psf_fwhm_arcsec": psf.fwhm * found.pixel_scale,
        "psf_fwhm_moments": psf.sigma * FWHM,
        "psf_sigma": psf.sigma,
        "psf_ixx": psf.ixx,
        "psf_iyy": psf.iyy,
        "psf_ixy": psf.ixy,
        "psf_area": psf.area,
        "e1": psf.e1,
        "e2": psf.e2,
        "ellipticity_scatter": psf.scatter,
        "psf_gradient": float(np.hypot(psf.gradient_x, psf.gradient_y)),
        "psf_gradient_x": psf.gradient_x,
        "psf_gradient_y": psf.gradient_y,
    }
    made = {name: _known(values[name], unit, _why(name)) for name, unit in PSF_UNITS.items()}
    return {**made, **stars}


def _why(name: str) -> str:
    if name == "psf_fwhm_arcsec":
        return "the pixel scale is not known; give pixel_scale under `with`, or PIXSCALE"
    if name.startswith("psf_gradient"):
        return "too few stars for a plane across the field"
    return "the stars' profile has no such width"


def _thumbnail(found: Findings, side: int) -> dict[str, Field]:
    """The small image of a detector for the visit's mosaic, block by block from the lower left."""
    sky = found.sky
    if side <= 0 or sky is None:
        return {}
    small = blocks.shrunk(sky.blocks, min(int(side), _LARGEST_THUMBNAIL))
    rows, columns = small.shape
    values = small.ravel()
    ids = [f"{row},{column}" for row in range(rows) for column in range(columns)]
    return {"thumbnail": Field("block", ids, np.round(values, 1), found.detector.unit)}


def _message(found: Findings) -> str:
    words = [f"{found.name}: {_psf_words(found)}"]
    image = found.detector
    unread = [one.name for one in image.amplifiers if one.reason]
    if unread:
        reason = next(one.reason for one in image.amplifiers if one.reason)
        words.append(f"{', '.join(unread[:4])} cannot be read ({reason})")
    if image.missing:
        words.append(f"{image.missing} amplifiers are missing from the file")
    if found.trail is not None:
        words.append("a satellite's trail")
    return "; ".join([*words, *image.notes])


def _psf_words(found: Findings) -> str:
    psf = found.psf
    if psf is None:
        return f"no PSF, {found.no_sky or f'{found.sources} sources'}"
    if np.isfinite(found.pixel_scale):
        return f'PSF {psf.fwhm * found.pixel_scale:.2f}" from {psf.stars} stars'
    return f"PSF {psf.fwhm:.1f} pixels from {psf.stars} stars"


def _pictures(found: Findings) -> dict[str, Any]:
    # Drawing takes longer than measuring, and more memory: only who asks for it pays.
    from .lib.portrait import portrait

    return {"preview.png": portrait(found, _message(found))}


def _known(value: float, unit: str, reason: str) -> Metric:
    return Metric(value, unit) if np.isfinite(value) else Metric(None, unit, reason=reason)
