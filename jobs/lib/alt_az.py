"""Where a mount should point to follow a position on the sky, by astropy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .tracking import Array, Track


@dataclass(frozen=True)
class Target:
    """A position on the sky (ICRS, degrees) seen from a location on Earth (degrees, m)."""

    ra: float
    dec: float
    latitude: float
    longitude: float
    altitude: float = 0.0


def create_tracks(target: Target) -> tuple[Track, Track]:
    """Returns azimuth and elevation (degrees, without refraction) as functions of time (s, UTC)."""
    return lambda time: _compute_alt_az(target, time)[0], lambda time: _compute_alt_az(
        target, time
    )[1]


def _compute_alt_az(target: Target, time: Array) -> tuple[Array, Array]:
    # astropy takes a second to import, which jobs without a track need not wait for.
    from astropy import units
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    location = EarthLocation.from_geodetic(
        target.longitude * units.deg, target.latitude * units.deg, target.altitude * units.m
    )
    sky = SkyCoord(target.ra * units.deg, target.dec * units.deg)
    # Nothing is downloaded: astropy's own table is enough, since offsets are corrected.
    with (
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
    ):
        horizontal = sky.transform_to(AltAz(obstime=Time(time, format="unix"), location=location))
    return np.unwrap(np.asarray(horizontal.az.deg), period=360.0), np.asarray(horizontal.alt.deg)
