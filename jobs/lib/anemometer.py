"""Which samples of an anemometer can be believed, and whether they are enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catcher import Event, Series

from .wind import MINUTE, Minutes

Array = npt.NDArray[np.float64]

HOUR, DAY = 3600.0, 86400.0
AHEAD = 5.0
"""Seconds that a sample's clock may be ahead of the event's."""
STUCK_AFTER = 1200.0
FEWEST_MINUTES = 5
FEWEST_COARSE, COARSE_SPAN = 3, 1200.0


@dataclass(frozen=True)
class Reading:
    """The samples that can be believed, up to `now`, and how many could not be.

    gust: the highest speed within each sample (m/s), nan where it is not recorded.
    """

    time: Array
    speed: Array
    gust: Array
    discarded: int
    now: float

    def since(self, start: float) -> Reading:
        """The samples after `start` (seconds)."""
        kept = self.time > start
        return Reading(self.time[kept], self.speed[kept], self.gust[kept], self.discarded, self.now)


def believable(
    wind: Series, column: str, highest: float, event: Event | None, gust: str = "maxSpeed"
) -> Reading:
    """The good samples in order of time.

    Discarded are speeds that are no number, negative or faster than `highest`, those with a
    `direction` outside 0 to 360 degrees (an anemometer that says so is not well), and those whose
    time is no number, far from the rest (Tukey's fences, twice the span of the middle half and an
    hour), or later than the event.
    """
    speed, time = wind[column], wind.time
    good = np.isfinite(speed) & (speed >= 0) & (speed <= highest) & np.isfinite(time)
    if "direction" in wind:
        direction = wind["direction"]
        good &= ~((direction < 0) | (direction > 360))
    early, usual, late = np.percentile(time[good], (25, 50, 75)) if good.any() else np.zeros(3)
    at = event.time / 1e9 if event is not None else -np.inf
    # An event a day or more before the samples is about something else: it is not their now.
    told = at >= usual - DAY
    fence = 2 * (late - early) + HOUR
    with np.errstate(invalid="ignore"):
        good &= (time > early - fence) & (time < (at + AHEAD if told else late + fence))
    newest = float(time[good].max()) if good.any() else 0.0
    order = np.argsort(time[good], kind="stable")
    gusty = wind[gust] if gust in wind else np.full(len(time), np.nan)
    gusty = np.where((gusty >= speed) & (gusty <= 1.5 * highest), gusty, np.nan)
    return Reading(
        time[good][order], speed[good][order], gusty[good][order], int((~good).sum()),
        max(at, newest) if told else newest,
    )  # fmt: skip


def unusable(reading: Reading, minutes: Minutes, fewest: int = FEWEST_COARSE) -> str:
    """Why there can be no forecast; empty where there can be one. `fewest`: minutes needed."""
    count = len(reading.time)
    if count == 0:
        return "there is no good sample of the wind"
    cadence = float(np.median(np.diff(reading.time))) if count > 1 else 0.0
    age = reading.now - float(reading.time[-1])
    if age > max(3 * cadence, 2 * MINUTE):
        return f"the newest good sample is {age / MINUTE:.0f} min old"
    span = float(minutes.time[-1] - minutes.time[0])
    known = len(minutes.time)
    coarse = cadence > MINUTE and known >= fewest and span >= COARSE_SPAN
    if known < FEWEST_MINUTES and not coarse:
        return f"only {known} of the last minutes have good samples, {FEWEST_MINUTES} are needed"
    return _stuck(reading)


def _stuck(reading: Reading) -> str:
    changed = np.flatnonzero(np.diff(reading.speed))
    start = int(changed[-1]) + 1 if len(changed) else 0
    lasted = float(reading.time[-1] - reading.time[start])
    value = float(reading.speed[-1])
    if value > 0 and lasted >= STUCK_AFTER and len(reading.time) - start >= 10:
        return f"the sensor looks stuck: exactly {value:g} m/s for {lasted / MINUTE:.0f} min"
    return ""
