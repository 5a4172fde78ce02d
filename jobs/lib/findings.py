"""Everything that one detector's image is asked, in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .detector import Detector
from .sky import NoSky, Sky, measure_sky
from .stars import Psf, hits, measure_psf
from .trails import Trail, find_trail

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Findings:
    """What was measured; None where it could not be, and `no_sky` says why."""

    detector: Detector
    name: str
    pixel_scale: float
    sky: Sky | None = None
    no_sky: str = ""
    tracks: Mask | None = None
    trail: Trail | None = None
    psf: Psf | None = None

    @property
    def sources(self) -> int:
        """Sources that are no tracks of particles."""
        return len(self.sky.sources) - self.particles if self.sky is not None else 0

    @property
    def particles(self) -> int:
        """Tracks of particles."""
        return int(self.tracks.sum()) if self.tracks is not None else 0

    def catalogue(self) -> dict[str, npt.NDArray[Any]]:
        """The sources, brightest first: x and y in pixels from 0, flux in the image's unit."""
        if self.sky is None or self.tracks is None:
            return {}
        sources = self.sky.sources
        used = np.zeros(len(sources), np.bool_)
        if self.psf is not None:
            used[self.psf.chosen] = True
        return {
            "x": sources["x"], "y": sources["y"], "flux": sources["flux"],
            "psf_star": used, "cosmic_ray": self.tracks,
        }  # fmt: skip


def measure(image: Detector, name: str, pixel_scale: float, binning: int) -> Findings:
    """Sky, sources and stars. Without binning the sky is taken from the image in place."""
    scale = pixel_scale if pixel_scale > 0 else image.pixel_scale
    found = Findings(image, name, float(scale))
    try:
        sky = measure_sky(image, binning)
    except NoSky as error:
        return replace(found, no_sky=str(error))
    tracks = hits(sky)
    return replace(
        found,
        sky=sky,
        tracks=tracks,
        trail=find_trail(sky),
        psf=measure_psf(sky, image.bad, tracks),
    )
