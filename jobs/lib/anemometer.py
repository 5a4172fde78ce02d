"""Selects the valid samples of an anemometer, and checks whether they are enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catcher import Event, Series

from .wind import MINUTE, MinuteMeans

Array = npt.NDArray[np.float64]

HOUR, DAY = 3600.0, 86400.0
MAX_CLOCK_AHEAD = 5.0
"""Seconds that a sample's clock may be ahead of the event's."""
STUCK_DURATION = 1200.0
MIN_MINUTES = 5
MIN_COARSE_MINUTES, MIN_COARSE_SPAN = 3, 1200.0


@dataclass(frozen=True)
class WindSamples:
    """The valid samples up to `now`, and the number of discarded ones.
    gust: the highest speed within each sample (m/s), nan if it is not recorded.
    """

    time: Array
    speed: Array
    gust: Array
    discarded: int
    now: float

    def slice_from(self, start: float) -> WindSamples:
        """Returns the samples after `start` (seconds)."""
        is_kept = self.time > start
        return WindSamples(
            self.time[is_kept], self.speed[is_kept], self.gust[is_kept], self.discarded, self.now
        )


def select_valid_samples(
    wind: Series, column: str, max_speed: float, event: Event | None, gust_column: str = "maxSpeed"
) -> WindSamples:
    """Returns the valid samples in time order.
    Discarded are speeds that are no number, negative or faster than `max_speed`, those with a
    `direction` outside 0 to 360 degrees (such an anemometer is faulty), and those whose time is no
    number, far from the rest (Tukey's fences, twice the interquartile range and an hour), or later
    than the event.
    """
    speed, time = wind[column], wind.time
    valid = np.isfinite(speed) & (speed >= 0) & (speed <= max_speed) & np.isfinite(time)
    if "direction" in wind:
        direction = wind["direction"]
        valid &= ~((direction < 0) | (direction > 360))
    early, median_time, late = (
        np.percentile(time[valid], (25, 50, 75)) if valid.any() else np.zeros(3)
    )
    event_time = event.time / 1e9 if event is not None else -np.inf
    # An event a day or more before the samples is about something else, and does not define now.
    uses_event_time = event_time >= median_time - DAY
    margin = 2 * (late - early) + HOUR
    with np.errstate(invalid="ignore"):
        valid &= (time > early - margin) & (
            time < (event_time + MAX_CLOCK_AHEAD if uses_event_time else late + margin)
        )
    newest = float(time[valid].max()) if valid.any() else 0.0
    order = np.argsort(time[valid], kind="stable")
    gusts = wind[gust_column] if gust_column in wind else np.full(len(time), np.nan)
    gusts = np.where((gusts >= speed) & (gusts <= 1.5 * max_speed), gusts, np.nan)
    return WindSamples(
        time[valid][order], speed[valid][order], gusts[valid][order], int((~valid).sum()),
        max(event_time, newest) if uses_event_time else newest,
    )  # fmt: skip


def find_problem(
    samples: WindSamples, minutes: MinuteMeans, min_minutes: int = MIN_COARSE_MINUTES
) -> str:
    """Returns why there can be no forecast; empty if there can. `min_minutes`: minutes needed."""
    count = len(samples.time)
    if count == 0:
        return "there is no good sample of the wind"
    cadence = float(np.median(np.diff(samples.time))) if count > 1 else 0.0
    age = samples.now - float(samples.time[-1])
    if age > max(3 * cadence, 2 * MINUTE):
        return f"the newest good sample is {age / MINUTE:.0f} min old"
    span = float(minutes.time[-1] - minutes.time[0])
    minute_count = len(minutes.time)
    is_coarse = cadence > MINUTE and minute_count >= min_minutes and span >= MIN_COARSE_SPAN
    if minute_count < MIN_MINUTES and not is_coarse:
        return (
            f"only {minute_count} of the last minutes have good samples, {MIN_MINUTES} are needed"
        )
    return _find_stuck_sensor(samples)


def _find_stuck_sensor(samples: WindSamples) -> str:
    changed = np.flatnonzero(np.diff(samples.speed))
    start = int(changed[-1]) + 1 if len(changed) else 0
    duration = float(samples.time[-1] - samples.time[start])
    value = float(samples.speed[-1])
    if value > 0 and duration >= STUCK_DURATION and len(samples.time) - start >= 10:
        return f"the sensor looks stuck: exactly {value:g} m/s for {duration / MINUTE:.0f} min"
    return ""
