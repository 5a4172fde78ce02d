"""How the hexapods' errors move the image, as in lsst-sitcom/summit_utils
(simonyi/mountAnalysis.py: coefficients from a Batoid simulation by J. Meyers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catcher import Series

ARCSEC_PER_MICRON = 0.2 / 10.0
"""Arcseconds on the sky for a micron of image motion: pixels of 0.2 arcsec and 10 micron."""
IMAGE_AXES = (0, 1, 3, 4)
"""x, y, u, v: z and the rotation about it do not move the image."""
MIN_SAMPLES, MAX_ERROR = 2, 1e6


@dataclass(frozen=True)
class ImageSensitivity:
    """Microns of image motion for a micron of x or y, and for an arcsecond of tilt u or v."""

    shift: float
    tilt: float


CAMERA = ImageSensitivity(1.00, 4.92)
M2 = ImageSensitivity(1.13, 37.26)


def compute_image_motion(series: Series, sensitivity: ImageSensitivity) -> float:
    """Returns the root of the summed mean squares of errors 0, 1, 3 and 4 as image motion (arcsec).
    Errors (`error0` ...) are in microns and arcseconds, as in summit_utils; if a tilt's unit is
    known to be degrees it is converted. nan without two samples of each.
    """
    total = 0.0
    for axis in IMAGE_AXES:
        name = f"error{axis}"
        error = series[name] if name in series else np.array([])
        error = error[np.isfinite(error) & (np.abs(error) < MAX_ERROR)]
        if len(error) < MIN_SAMPLES:
            return float("nan")
        unit_factor = 3600.0 if series.units.get(name, "").startswith("deg") else 1.0
        scale = sensitivity.shift if axis < 3 else sensitivity.tilt * unit_factor
        total += float(np.mean((error * scale * ARCSEC_PER_MICRON) ** 2))
    return float(np.sqrt(total))
