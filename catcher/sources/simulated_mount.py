"""The telescope mount of a simulated night: slews, tracking, and a shake now and then."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from catcher.model.event import Event
from catcher.model.time import MILLISECOND, SECOND, Instant, Span, to_seconds, utc_to_tai
from catcher.sources.simulated_night import Exposure

AZIMUTH = "lsst.sal.MTMount.azimuth"
ELEVATION = "lsst.sal.MTMount.elevation"
IN_POSITION = "lsst.sal.MTMount.logevent_{}InPosition"
_AXES = ("azimuth", "elevation")
_FAST: Span = 50 * MILLISECOND
_SLOW: Span = SECOND
_SETTLED: Span = 3 * SECOND
_SLEW: Span = 20 * SECOND
_RATES = {"azimuth": 0.0035, "elevation": 0.0021}
_NOISE = {"azimuth": 0.022, "elevation": 0.012}
_SHAKE_HERTZ, _SHAKE_ARCSEC = 2.3, 0.26
_ARCSEC = 1 / 3600


def mount(plan: Iterator[Exposure], seed: int, source: str) -> Iterator[Event]:
    """Both axes' telemetry and in-position events, in time order, for a plan without end.

    20 Hz from shortly before an exposure until it is read out, else 1 Hz. A quiet exposure's
    tracking error is 0.01 to 0.03 arcsec on the sky, a shaken one's above 0.1.
    """
    draw = np.random.default_rng((seed, 3))
    before = next(plan)
    yield from _in_position(before.begin - _SETTLED, True, source)
    yield from _tracking(before, draw, source)
    for exposure in plan:
        settled = exposure.begin - _SETTLED
        leaves = max(before.read + SECOND, settled - _SLEW)
        yield from _stretch(before, before.read, leaves, _SLOW, draw, source)
        yield from _in_position(leaves, False, source)
        yield from _slew(before, exposure, leaves, settled, source)
        yield from _in_position(settled, True, source)
        yield from _tracking(exposure, draw, source)
        before = exposure


def _tracking(exposure: Exposure, draw: np.random.Generator, source: str) -> Iterator[Event]:
    return _stretch(exposure, exposure.begin - _SETTLED, exposure.read, _FAST, draw, source)


def _stretch(
    exposure: Exposure,
    start: Instant,
    end: Instant,
    cadence: Span,
    draw: np.random.Generator,
    source: str,
) -> Iterator[Event]:
    """Samples of both axes from `start` up to before `end`, following the sky."""
    for time in range(start, end, cadence):
        phase = 2 * np.pi * _SHAKE_HERTZ * to_seconds(time - exposure.begin)
        shaking = exposure.shaken and exposure.begin <= time < exposure.end
        for axis in _AXES:
            demand = target(exposure, axis, time)
            error = float(draw.normal(0, _NOISE[axis]))
            if shaking:
                error += _SHAKE_ARCSEC * float(np.sin(phase + (axis == "azimuth")))
            yield _sample(axis, time, demand, error, _RATES[axis], source)


def _slew(
    before: Exposure, after: Exposure, start: Instant, end: Instant, source: str
) -> Iterator[Event]:
    for time in range(start, end, _SLOW):
        done = (time - start) / (end - start)
        part = done * done * (3 - 2 * done)
        speed = 6 * done * (1 - done) / to_seconds(end - start)
        for axis in _AXES:
            here, there = target(before, axis, start), target(after, axis, end)
            demand = here + (there - here) * part
            yield _sample(axis, time, demand, 2.0, (there - here) * speed, source)


def target(exposure: Exposure, axis: str, time: Instant) -> float:
    """Where an axis is to point (degrees): the field's position, moving with the sky."""
    middle: float = getattr(exposure, axis)
    return middle + _RATES[axis] * to_seconds(time - exposure.begin)


def _in_position(time: Instant, reached: bool, source: str) -> Iterator[Event]:
    for axis in _AXES:
        fields = {"inPosition": reached, "private_sndStamp": to_seconds(utc_to_tai(time))}
        yield Event(IN_POSITION.format(axis), time, fields, source)


def _sample(
    axis: str, time: Instant, demand: float, error: float, velocity: float, source: str
) -> Event:
    stamp = to_seconds(utc_to_tai(time))
    fields = {
        "actualPosition": demand + error * _ARCSEC,
        "demandPosition": demand,
        "actualVelocity": velocity,
        "actualTorque": round(6500.0 + 900.0 * error, 3),
        "timestamp": stamp,
        "private_sndStamp": stamp,
    }
    return Event(AZIMUTH if axis == "azimuth" else ELEVATION, time, fields, source)
