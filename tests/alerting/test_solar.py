"""Day and night by the sun."""

from __future__ import annotations

import pytest
from astropy import units
from astropy.coordinates import AltAz, EarthLocation, get_sun
from astropy.time import Time
from astropy.utils import iers

from catcher.alerting.solar import GeoLocation, compute_sun_altitude
from catcher.alerting.time_intervals import SolarInterval, parse_interval
from catcher.model.time import DAY, HOUR, format_instant, parse_instant

PACHON = GeoLocation(-30.2446, -70.7494)
LOCATIONS = (PACHON, GeoLocation(19.83, -155.47), GeoLocation(78.2, 15.6), GeoLocation(0.0, 179.9))
START = parse_instant("2020-01-01T00:00:00Z")


@pytest.mark.parametrize("location", LOCATIONS, ids=str)
def test_sun_altitude_agrees_with_astropy(location: GeoLocation) -> None:
    instants = [START + step * (11 * DAY + 7 * HOUR) for step in range(120)]
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
        times = Time([format_instant(instant).rstrip("Z") for instant in instants], scale="utc")
        earth_location = EarthLocation(
            lat=location.latitude * units.deg, lon=location.longitude * units.deg
        )
        exact = get_sun(times).transform_to(AltAz(obstime=times, location=earth_location)).alt.deg
    altitudes = [compute_sun_altitude(instant, location) for instant in instants]
    assert max(abs(a - b) for a, b in zip(altitudes, exact, strict=True)) < 0.1


@pytest.mark.parametrize(
    ("text", "instant", "expected"),
    [
        ("night", "2025-04-24T03:00:00Z", True),
        ("day", "2025-04-24T03:00:00Z", False),
        ("night", "2025-04-24T16:00:00Z", False),
        ("Day", "2025-04-24T16:00:00Z", True),
        ("sun < -18", "2025-04-23T22:45:00Z", False),
        ("night", "2025-04-23T22:45:00Z", True),
        ("sun > 45", "2025-04-24T16:40:00Z", True),
    ],
)
def test_day_and_night_at_the_observatory(text: str, instant: str, expected: bool) -> None:
    assert parse_interval(text).contains_instant(parse_instant(instant), PACHON) is expected


def test_without_a_location_no_solar_interval_holds() -> None:
    assert not SolarInterval(0, is_below=True).contains_instant(START, None)
    assert not SolarInterval(0, is_below=False).contains_instant(START, None)


@pytest.mark.parametrize(
    ("text", "expected"), [("night", "night"), ("day", "day"), ("sun<-12", "sun < -12")]
)
def test_interval_is_formatted(text: str, expected: str) -> None:
    assert str(parse_interval(text)) == expected
