"""What happens in a simulated night: one exposure after another, and what goes wrong with some."""

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
    to_seconds,
    utc_to_tai,
)

READOUT: Span = 2400 * MILLISECOND
END_READOUT = "lsst.sal.MTCamera.logevent_endReadout"
SCRIPT = "lsst.sal.Script.logevent_state"
_FIRST: Span = 8 * SECOND
_SHAKEN = (3, 24)
_FAILED = (4, 40)
_FIRST_SCRIPT = 200_000
_BANDS = ("r", "r", "r", "i", "i", "g")
_CONFIGURED, _RUNNING, _FAILING, _DONE, _SCRIPT_FAILED = 2, 3, 7, 8, 10


@dataclass(frozen=True, slots=True)
class Exposure:
    """One exposure of the plan. Angles in degrees, `seeing` the PSF's FWHM in arcsec."""

    number: int
    name: str
    begin: Instant
    length: Span
    band: str
    azimuth: float
    elevation: float
    seeing: float
    shaken: bool

    @property
    def end(self) -> Instant:
        """When the shutter is closed."""
        return self.begin + self.length

    @property
    def read(self) -> Instant:
        """When the image is read out."""
        return self.end + READOUT


def exposures(start: Instant, cadence: Span, length: Span, seed: int) -> Iterator[Exposure]:
    """The plan, without end: every `cadence` an exposure, the fourth of each 24 with a shake."""
    draw = np.random.default_rng((seed, 2))
    # An observing day begins at noon UTC-12 and has its images counted from 1.
    day = format_instant(start - 12 * HOUR)[:10].replace("-", "")
    number = 0
    while True:
        drift = 0.10 * float(np.sin(number / 7)) + 0.015 * float(draw.normal())
        yield Exposure(
            number=number + 1,
            name=f"MC_O_{day}_{number + 1:06d}",
            begin=start + _FIRST + number * cadence,
            length=length,
            band=_BANDS[number // 4 % len(_BANDS)],
            azimuth=120.0 + 3.5 * (number % 12) + float(draw.uniform(-0.5, 0.5)),
            elevation=62.0 + 1.2 * (number % 9) + float(draw.uniform(-0.3, 0.3)),
            seeing=0.78 + drift,
            shaken=number % _SHAKEN[1] == _SHAKEN[0],
        )
        number += 1


def readouts(plan: Iterator[Exposure], source: str) -> Iterator[Event]:
    """The camera's endReadout of each exposure; acquisition times are TAI."""
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
            "requestedExposureTime": to_seconds(exposure.length),
            "timestampAcquisitionStart": to_seconds(utc_to_tai(exposure.begin)),
            "timestampEndOfReadout": to_seconds(utc_to_tai(exposure.read)),
            "filterName": exposure.band,
            "private_sndStamp": to_seconds(utc_to_tai(exposure.read)),
        }
        yield Event(END_READOUT, exposure.read, fields, source)


def scripts(plan: Iterator[Exposure], source: str) -> Iterator[Event]:
    """The states of the script that takes each exposure; the fifth of each 40 fails at its end.

    A script is configured while the one before it still runs.
    """
    early, late = tee(plan)
    return heapq.merge(
        _states(early, source, late=False),
        _states(late, source, late=True),
        key=lambda event: event.time,
    )


def _states(plan: Iterator[Exposure], source: str, late: bool) -> Iterator[Event]:
    for exposure in plan:
        failed = (exposure.number - 1) % _FAILED[1] == _FAILED[0]
        begin, end = exposure.begin, exposure.read + SECOND
        if late:
            states = [(end, _FAILING if failed else _DONE)]
            states += [(end + SECOND, _SCRIPT_FAILED)] if failed else []
        else:
            states = [(begin - 4 * SECOND, _CONFIGURED), (begin - SECOND, _RUNNING)]
        for time, state in states:
            fields = {
                "salIndex": _FIRST_SCRIPT + exposure.number,
                "state": state,
                "numCheckpoints": 0,
                "private_sndStamp": to_seconds(utc_to_tai(time)),
            }
            yield Event(SCRIPT, time, fields, source)
