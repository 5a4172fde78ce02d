"""Day and night by the sun."""

from __future__ import annotations

import pytest
from astropy import units
from astropy.coordinates import AltAz, EarthLocation, get_sun
from astropy.time import Time
from astropy.utils import iers

from catcher.alerting.sun import Ground, sun_altitude
from catcher.alerting.windows import SunWindow, parse_window
from catcher.model.time import DAY, HOUR, format_instant, parse_instant

PACHON = Ground(-30.2446, -70.7494)
PLACES = (PACHON, Ground(19.83, -155.47), Ground(78.2, 15.6), Ground(0.0, 179.9))
START = parse_instant("2020-01-01T00:00:00Z")


@pytest.mark.parametrize("ground", PLACES, ids=str)
def test_the_sun_stands_where_astropy_says(ground: Ground) -> None:
    instants = [START + step * (11 * DAY + 7 * HOUR) for step in range(120)]
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
        times = Time([format_instant(one).rstrip("Z") for one in instants], scale="utc")
        here = EarthLocation(lat=ground.latitude * units.deg, lon=ground.longitude * units.deg)
        exact = get_sun(times).transform_to(AltAz(obstime=times, location=here)).alt.deg
    found = [sun_altitude(one, ground) for one in instants]
    assert max(abs(a - b) for a, b in zip(found, exact, strict=True)) < 0.1


@pytest.mark.parametrize(
    ("window", "instant", "holds"),
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
def test_day_and_night_at_the_observatory(window: str, instant: str, holds: bool) -> None:
    assert parse_window(window).holds(parse_instant(instant), PACHON) is holds


def test_without_a_place_on_earth_the_sun_is_nowhere() -> None:
    assert not SunWindow(0, below=True).holds(START, None)
    assert not SunWindow(0, below=False).holds(START, None)


@pytest.mark.parametrize(
    ("text", "words"), [("night", "night"), ("day", "day"), ("sun<-12", "sun < -12")]
)
def test_a_window_says_what_it_is(text: str, words: str) -> None:
    assert str(parse_window(text)) == words
