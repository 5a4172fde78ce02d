"""The wind of a simulated night: calm, a rise beyond the telescope's limit, and calm again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from catcher.model.event import Event
from catcher.model.time import MINUTE, SECOND, Instant, Span, nanoseconds_to_seconds, utc_to_tai

WIND_TOPIC = "lsst.sal.ESS.airFlow"
CADENCE: Span = 5 * SECOND
LEAD_TIME: Span = 35 * MINUTE
"""How long before the start of the night the wind begins."""
_DOME, _SHELTERED = 301, 302
_CYCLE = 90.0
_MINUTES = (0.0, 0.5, 4.5, 8.5, 12.5, 15.0, 24.0, 34.0, 45.0, _CYCLE)
_SPEEDS = (5.5, 6.0, 11.0, 14.0, 15.5, 16.5, 16.5, 9.0, 6.0, 5.5)
_CORRELATION_TIME = 60.0
_TURBULENCE = 0.05


def simulate_wind(start: Instant, seed: int, source: str) -> Iterator[Event]:
    """Yields both anemometers' samples, in time order and endlessly, from `LEAD_TIME` before the
    start.

    The mean follows a fixed profile in a cycle of 90 minutes. The turbulence around it is an
    Ornstein-Uhlenbeck process with a memory of one minute and an amplitude of 5 % of the mean.
    """
    rng = np.random.default_rng((seed, 1))
    correlation = float(np.exp(-nanoseconds_to_seconds(CADENCE) / _CORRELATION_TIME))
    state = 0.0
    time = start - LEAD_TIME
    while True:
        state = correlation * state + float(np.sqrt(1 - correlation**2)) * float(rng.normal())
        mean = compute_mean_wind_speed(time - start) * (1 + _TURBULENCE * state)
        for sensor, factor in ((_DOME, 1.0), (_SHELTERED, 0.55)):
            yield _build_wind_event(sensor, time, mean * factor, rng, source)
        time += CADENCE


def compute_mean_wind_speed(elapsed: Span) -> float:
    """Returns the profile's mean wind speed (m/s) some time after the start; calm before it."""
    minutes = elapsed / MINUTE
    return float(np.interp(minutes % _CYCLE if minutes > 0 else 0.0, _MINUTES, _SPEEDS))


def _build_wind_event(
    sensor: int, time: Instant, mean: float, rng: np.random.Generator, source: str
) -> Event:
    deviation = 0.06 * mean
    speed = max(0.0, mean + float(rng.normal(0, 0.3 * deviation)))
    fields = {
        "salIndex": sensor,
        "sensorName": f"airFlow-{sensor}",
        "speed": round(speed, 3),
        "speedStdDev": round(deviation, 3),
        "maxSpeed": round(speed + abs(float(rng.normal(0, 2 * deviation))), 3),
        "direction": round(float(rng.normal(320, 8)) % 360, 1),
        "private_sndStamp": nanoseconds_to_seconds(utc_to_tai(time)),
    }
    return Event(WIND_TOPIC, time, fields, source)
