"""The schedule of a simulated night: one exposure after another, some of them with faults."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee

import numpy as np

from catcher.model.event import Event
from catcher.model.time import (
    HOUR,
    MILLISECOND,
    SECOND,
    Instant,
    Span,
    format_instant,
    nanoseconds_to_seconds,
    utc_to_tai,
)

READOUT_TIME: Span = 2400 * MILLISECOND
END_READOUT_TOPIC = "lsst.sal.MTCamera.logevent_endReadout"
SCRIPT_TOPIC = "lsst.sal.Script.logevent_state"
_FIRST_DELAY: Span = 8 * SECOND
_SHAKEN_CYCLE = (3, 24)
_FAILED_CYCLE = (4, 40)
_FIRST_SCRIPT_INDEX = 200_000
_BANDS = ("r", "r", "r", "i", "i", "g")
_CONFIGURED, _RUNNING, _FAILING, _DONE, _SCRIPT_FAILED = 2, 3, 7, 8, 10


@dataclass(frozen=True, slots=True)
class Exposure:
    """One exposure of the plan. Angles in degrees, `seeing` the PSF's FWHM in arcsec."""

    number: int
    name: str
    start: Instant
    length: Span
    band: str
    azimuth: float
    elevation: float
    seeing: float
    shaken: bool

    @property
    def end(self) -> Instant:
        """When the shutter is closed."""
        return self.start + self.length

    @property
    def readout_end(self) -> Instant:
        """When the image is read out."""
        return self.end + READOUT_TIME


def plan_exposures(start: Instant, cadence: Span, length: Span, seed: int) -> Iterator[Exposure]:
    """Yields an endless plan: an exposure every `cadence`, the fourth of each 24 with a shake."""
    rng = np.random.default_rng((seed, 2))
    # An observing day begins at noon UTC-12, and its images are numbered from 1.
    day = format_instant(start - 12 * HOUR)[:10].replace("-", "")
    number = 0
    while True:
        drift = 0.10 * float(np.sin(number / 7)) + 0.015 * float(rng.normal())
        yield Exposure(
            number=number + 1,
            name=f"MC_O_{day}_{number + 1:06d}",
            start=start + _FIRST_DELAY + number * cadence,
            length=length,
            band=_BANDS[number // 4 % len(_BANDS)],
            azimuth=120.0 + 3.5 * (number % 12) + float(rng.uniform(-0.5, 0.5)),
            elevation=62.0 + 1.2 * (number % 9) + float(rng.uniform(-0.3, 0.3)),
            seeing=0.78 + drift,
            shaken=number % _SHAKEN_CYCLE[1] == _SHAKEN_CYCLE[0],
        )
        number += 1


def simulate_readouts(plan: Iterator[Exposure], source: str) -> Iterator[Event]:
    """Yields the camera's endReadout of each exposure; acquisition times are TAI."""
    for exposure in plan:
        fields = {
            "salIndex": 0,
            "imageName": exposure.name,
            "imageSource": "MC",
            "imageController": "O",
            "imageDate": exposure.name.split("_")[2],
            "imageNumber": exposure.number,
            "imagesInSequence": 1,
            "imageIndex": 1,
            "requestedExposureTime": nanoseconds_to_seconds(exposure.length),
            "timestampAcquisitionStart": nanoseconds_to_seconds(utc_to_tai(exposure.start)),
            "timestampEndOfReadout": nanoseconds_to_seconds(utc_to_tai(exposure.readout_end)),
            "filterName": exposure.band,
            "private_sndStamp": nanoseconds_to_seconds(utc_to_tai(exposure.readout_end)),
        }
        yield Event(END_READOUT_TOPIC, exposure.readout_end, fields, source)


def simulate_scripts(plan: Iterator[Exposure], source: str) -> Iterator[Event]:
    """Yields the states of each exposure's script; the fifth of each 40 fails at its end.

    A script is configured while the one before it is still running.
    """
    early, late = tee(plan)
    return heapq.merge(
        _simulate_script_states(early, source, late=False),
        _simulate_script_states(late, source, late=True),
        key=lambda event: event.time,
    )


def _simulate_script_states(plan: Iterator[Exposure], source: str, late: bool) -> Iterator[Event]:
    for exposure in plan:
        failed = (exposure.number - 1) % _FAILED_CYCLE[1] == _FAILED_CYCLE[0]
        start, end = exposure.start, exposure.readout_end + SECOND
        if late:
            states = [(end, _FAILING if failed else _DONE)]
            states += [(end + SECOND, _SCRIPT_FAILED)] if failed else []
        else:
            states = [(start - 4 * SECOND, _CONFIGURED), (start - SECOND, _RUNNING)]
        for time, state in states:
            fields = {
                "salIndex": _FIRST_SCRIPT_INDEX + exposure.number,
                "state": state,
                "numCheckpoints": 0,
                "private_sndStamp": nanoseconds_to_seconds(utc_to_tai(time)),
            }
            yield Event(SCRIPT_TOPIC, time, fields, source)
