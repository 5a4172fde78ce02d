"""The telescope mount of a simulated night: slews, tracking, and an occasional shake."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from catcher.model.event import Event
from catcher.model.time import (
    MILLISECOND,
    SECOND,
    Instant,
    Span,
    nanoseconds_to_seconds,
    utc_to_tai,
)
from catcher.simulation.schedule import Exposure

AZIMUTH_TOPIC = "lsst.sal.MTMount.azimuth"
ELEVATION_TOPIC = "lsst.sal.MTMount.elevation"
IN_POSITION_TOPIC = "lsst.sal.MTMount.logevent_{}InPosition"
_AXES = ("azimuth", "elevation")
_FAST_CADENCE: Span = 50 * MILLISECOND
_SLOW_CADENCE: Span = SECOND
_SETTLE_TIME: Span = 3 * SECOND
_SLEW_TIME: Span = 20 * SECOND
_RATES = {"azimuth": 0.0035, "elevation": 0.0021}
_NOISE = {"azimuth": 0.022, "elevation": 0.012}
_SHAKE_HERTZ, _SHAKE_ARCSEC = 2.3, 0.26
_ARCSEC = 1 / 3600


def simulate_mount(plan: Iterator[Exposure], seed: int, source: str) -> Iterator[Event]:
    """Yields both axes' telemetry and in-position events, in time order, for an endless plan.

    20 Hz from shortly before an exposure until it is read out, else 1 Hz. A quiet exposure's
    tracking error is 0.01 to 0.03 arcsec on the sky, a shaken one's above 0.1.
    """
    rng = np.random.default_rng((seed, 3))
    previous = next(plan)
    yield from _iter_in_position_events(previous.start - _SETTLE_TIME, True, source)
    yield from _simulate_tracking(previous, rng, source)
    for exposure in plan:
        slew_end = exposure.start - _SETTLE_TIME
        slew_start = max(previous.readout_end + SECOND, slew_end - _SLEW_TIME)
        yield from _simulate_samples(
            previous, previous.readout_end, slew_start, _SLOW_CADENCE, rng, source
        )
        yield from _iter_in_position_events(slew_start, False, source)
        yield from _simulate_slew(previous, exposure, slew_start, slew_end, source)
        yield from _iter_in_position_events(slew_end, True, source)
        yield from _simulate_tracking(exposure, rng, source)
        previous = exposure


def _simulate_tracking(
    exposure: Exposure, rng: np.random.Generator, source: str
) -> Iterator[Event]:
    return _simulate_samples(
        exposure, exposure.start - _SETTLE_TIME, exposure.readout_end, _FAST_CADENCE, rng, source
    )


def _simulate_samples(
    exposure: Exposure,
    start: Instant,
    end: Instant,
    cadence: Span,
    rng: np.random.Generator,
    source: str,
) -> Iterator[Event]:
    """Yields samples of both axes from `start` until before `end`, following the sky."""
    for time in range(start, end, cadence):
        phase = 2 * np.pi * _SHAKE_HERTZ * nanoseconds_to_seconds(time - exposure.start)
        is_shaking = exposure.shaken and exposure.start <= time < exposure.end
        for axis in _AXES:
            demand = compute_axis_target(exposure, axis, time)
            error = float(rng.normal(0, _NOISE[axis]))
            if is_shaking:
                error += _SHAKE_ARCSEC * float(np.sin(phase + (axis == "azimuth")))
            yield _build_axis_event(axis, time, demand, error, _RATES[axis], source)


def _simulate_slew(
    previous: Exposure, following: Exposure, start: Instant, end: Instant, source: str
) -> Iterator[Event]:
    for time in range(start, end, _SLOW_CADENCE):
        fraction = (time - start) / (end - start)
        eased = fraction * fraction * (3 - 2 * fraction)
        speed = 6 * fraction * (1 - fraction) / nanoseconds_to_seconds(end - start)
        for axis in _AXES:
            start_position, end_position = (
                compute_axis_target(previous, axis, start),
                compute_axis_target(following, axis, end),
            )
            demand = start_position + (end_position - start_position) * eased
            yield _build_axis_event(
                axis, time, demand, 2.0, (end_position - start_position) * speed, source
            )


def compute_axis_target(exposure: Exposure, axis: str, time: Instant) -> float:
    """Returns an axis' target in degrees: the field's position, moving with the sky."""
    center: float = getattr(exposure, axis)
    return center + _RATES[axis] * nanoseconds_to_seconds(time - exposure.start)


def _iter_in_position_events(time: Instant, in_position: bool, source: str) -> Iterator[Event]:
    for axis in _AXES:
        fields = {
            "inPosition": in_position,
            "private_sndStamp": nanoseconds_to_seconds(utc_to_tai(time)),
        }
        yield Event(IN_POSITION_TOPIC.format(axis), time, fields, source)


def _build_axis_event(
    axis: str, time: Instant, demand: float, error: float, velocity: float, source: str
) -> Event:
    timestamp = nanoseconds_to_seconds(utc_to_tai(time))
    fields = {
        "actualPosition": demand + error * _ARCSEC,
        "demandPosition": demand,
        "actualVelocity": velocity,
        "actualTorque": round(6500.0 + 900.0 * error, 3),
        "timestamp": timestamp,
        "private_sndStamp": timestamp,
    }
    return Event(AZIMUTH_TOPIC if axis == "azimuth" else ELEVATION_TOPIC, time, fields, source)
