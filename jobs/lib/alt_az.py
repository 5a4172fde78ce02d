"""Where a mount should point to follow a place on the sky, by astropy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .tracking import Array, Track


@dataclass(frozen=True)
class Target:
    """A place on the sky (ICRS, degrees) seen from a place on Earth (degrees, m)."""

    ra: float
    dec: float
    latitude: float
    longitude: float
    height: float = 0.0


def tracks(target: Target) -> tuple[Track, Track]:
    """Azimuth and elevation (degrees, without refraction) as functions of time (s, UTC)."""
    return lambda time: _alt_az(target, time)[0], lambda time: _alt_az(target, time)[1]


def _alt_az(target: Target, time: Array) -> tuple[Array, Array]:
    # astropy takes a second to import, which jobs without a track need not wait for.
    from astropy import units
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    place = EarthLocation.from_geodetic(
        target.longitude * units.deg, target.latitude * units.deg, target.height * units.m
    )
    sky = SkyCoord(target.ra * units.deg, target.dec * units.deg)
    # Nothing is fetched: the table that comes with astropy serves, and offsets are put right.
    with (
        iers.conf.set_temp("auto_download", False),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
    ):
        seen = sky.transform_to(AltAz(obstime=Time(time, format="unix"), location=place))
    return np.unwrap(np.asarray(seen.az.deg), period=360.0), np.asarray(seen.alt.deg)
