"""The wind of a simulated night: calm, a rise beyond what a telescope bears, and calm again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from catcher.model.event import Event
from catcher.model.time import MINUTE, SECOND, Instant, Span, to_seconds, utc_to_tai

TOPIC = "lsst.sal.ESS.airFlow"
CADENCE: Span = 5 * SECOND
BEFORE: Span = 35 * MINUTE
"""How long before the night begins the wind is known."""
_DOME, _SHELTERED = 301, 302
_CYCLE = 90.0
_MINUTES = (0.0, 0.5, 4.5, 8.5, 12.5, 15.0, 24.0, 34.0, 45.0, _CYCLE)
_SPEEDS = (5.5, 6.0, 11.0, 14.0, 15.5, 16.5, 16.5, 9.0, 6.0, 5.5)
_MEMORY = 60.0
_TURBULENCE = 0.05


def wind(start: Instant, seed: int, source: str) -> Iterator[Event]:
    """Both anemometers' samples, in time order and without end, from `BEFORE` the start.

    The mean follows a fixed story in a cycle of 90 minutes. Turbulence about it is an
    Ornstein-Uhlenbeck process of one minute's memory and 5 % of the mean.
    """
    draw = np.random.default_rng((seed, 1))
    keep = float(np.exp(-to_seconds(CADENCE) / _MEMORY))
    state = 0.0
    time = start - BEFORE
    while True:
        state = keep * state + float(np.sqrt(1 - keep**2)) * float(draw.normal())
        mean = expected_speed(time - start) * (1 + _TURBULENCE * state)
        for sensor, share in ((_DOME, 1.0), (_SHELTERED, 0.55)):
            yield _sample(sensor, time, mean * share, draw, source)
        time += CADENCE


def expected_speed(since: Span) -> float:
    """The story's mean wind speed (m/s) a span after the start; calm before it."""
    minutes = since / MINUTE
    return float(np.interp(minutes % _CYCLE if minutes > 0 else 0.0, _MINUTES, _SPEEDS))


def _sample(
    sensor: int, time: Instant, mean: float, draw: np.random.Generator, source: str
) -> Event:
    spread = 0.06 * mean
    speed = max(0.0, mean + float(draw.normal(0, 0.3 * spread)))
    fields = {
        "salIndex": sensor,
        "sensorName": f"airFlow-{sensor}",
        "speed": round(speed, 3),
        "speedStdDev": round(spread, 3),
        "maxSpeed": round(speed + abs(float(draw.normal(0, 2 * spread))), 3),
        "direction": round(float(draw.normal(320, 8)) % 360, 1),
        "private_sndStamp": to_seconds(utc_to_tai(time)),
    }
    return Event(TOPIC, time, fields, source)
