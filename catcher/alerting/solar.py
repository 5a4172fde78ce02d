"""The altitude of the sun: day or night at an observatory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from catcher.model.time import DAY, Instant

J2000: Instant = 946_728_000 * 10**9
"""2000-01-01T12:00:00Z, from which the almanac counts days."""


@dataclass(frozen=True, slots=True)
class GeoLocation:
    """A location on earth: degrees, north and east positive."""

    latitude: float
    longitude: float


def compute_sun_altitude(now: Instant, site_location: GeoLocation) -> float:
    """Returns the altitude of the sun's centre in degrees, without refraction.

    The low precision formulas of the Astronomical Almanac (section C, "Low precision formulas for
    the Sun"): 0.01 degrees in the years 1950 to 2050, and for the sidereal time Meeus, Astronomical
    Algorithms, 2nd edition, eq. 12.4.
    """
    days = (now - J2000) / DAY
    longitude = 280.460 + 0.9856474 * days
    anomaly = math.radians(357.528 + 0.9856003 * days)
    ecliptic = math.radians(longitude + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    obliquity = math.radians(23.439 - 0.0000004 * days)
    ascension = math.atan2(math.cos(obliquity) * math.sin(ecliptic), math.cos(ecliptic))
    declination = math.asin(math.sin(obliquity) * math.sin(ecliptic))
    sidereal = math.radians((280.46061837 + 360.98564736629 * days + site_location.longitude) % 360)
    latitude = math.radians(site_location.latitude)
    sine = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(
        declination
    ) * math.cos(sidereal - ascension)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))
