"""What the hexapods' errors do to the image, as lsst-sitcom/summit_utils has it
(simonyi/mountAnalysis.py: coefficients from a Batoid simulation by J. Meyers)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catcher import Series

PER_MICRON = 0.2 / 10.0
"""Arcseconds on the sky for a micron of image motion: pixels of 0.2 arcsec and 10 micron."""
USED = (0, 1, 3, 4)
"""x, y, u, v: z and the turn about it do not move the image."""
FEWEST, LARGEST = 2, 1e6


@dataclass(frozen=True)
class Lever:
    """Microns of image motion for a micron of x or y, and for an arcsecond of tilt u or v."""

    shift: float
    tilt: float


CAMERA = Lever(1.00, 4.92)
M2 = Lever(1.13, 37.26)


def motion(series: Series, lever: Lever) -> float:
    """Root of the summed mean squares of errors 0, 1, 3 and 4 as image motion (arcsec).

    Errors (`error0` ...) are taken in microns and arcseconds, as summit_utils takes them; where a
    tilt's unit is known to be degrees it is converted. nan without two samples of each.
    """
    total = 0.0
    for place in USED:
        name = f"error{place}"
        error = series[name] if name in series else np.array([])
        error = error[np.isfinite(error) & (np.abs(error) < LARGEST)]
        if len(error) < FEWEST:
            return float("nan")
        turn = 3600.0 if series.units.get(name, "").startswith("deg") else 1.0
        scale = lever.shift if place < 3 else lever.tilt * turn
        total += float(np.mean((error * scale * PER_MICRON) ** 2))
    return float(np.sqrt(total))
