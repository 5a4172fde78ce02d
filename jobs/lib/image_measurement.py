"""All measurements of one detector's image, in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .detector import Detector
from .sky import SkyMeasurement, SkyUnavailable, measure_sky
from .stars import PsfMeasurement, find_cosmic_rays, measure_psf
from .trails import Trail, find_trail

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImageMeasurements:
    """What was measured; None if it could not be, and `no_sky` says why."""

    detector: Detector
    name: str
    pixel_scale: float
    sky: SkyMeasurement | None = None
    no_sky: str = ""
    tracks: Mask | None = None
    trail: Trail | None = None
    psf: PsfMeasurement | None = None

    @property
    def source_count(self) -> int:
        """The number of sources that are no particle tracks."""
        return len(self.sky.sources) - self.cosmic_ray_count if self.sky is not None else 0

    @property
    def cosmic_ray_count(self) -> int:
        """The number of particle tracks."""
        return int(self.tracks.sum()) if self.tracks is not None else 0

    def build_catalogue(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the sources, brightest first: x, y in pixels from 0, flux in the image's unit."""
        if self.sky is None or self.tracks is None:
            return {}
        sources = self.sky.sources
        is_psf_star = np.zeros(len(sources), np.bool_)
        if self.psf is not None:
            is_psf_star[self.psf.star_indices] = True
        return {
            "x": sources["x"], "y": sources["y"], "flux": sources["flux"],
            "psf_star": is_psf_star, "cosmic_ray": self.tracks,
        }  # fmt: skip


def measure_image(
    image: Detector, name: str, pixel_scale: float, binning: int
) -> ImageMeasurements:
    """Measures sky, sources and stars. Without binning the sky is subtracted in place."""
    scale = pixel_scale if pixel_scale > 0 else image.pixel_scale
    measurements = ImageMeasurements(image, name, float(scale))
    try:
        sky = measure_sky(image, binning)
    except SkyUnavailable as error:
        return replace(measurements, no_sky=str(error))
    cosmic_rays = find_cosmic_rays(sky)
    return replace(
        measurements,
        sky=sky,
        tracks=cosmic_rays,
        trail=find_trail(sky),
        psf=measure_psf(sky, image.bad, cosmic_rays),
    )
