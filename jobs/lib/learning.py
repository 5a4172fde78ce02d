"""What a site's own past says about the spread of its forecasts.

The forecast is made again for half hours of the past whose outcome is known. If its errors were,
in the mean of their squares, twice what it expected, its variance is doubled. Old outcomes fade
with the memory; a prior of PRIOR outcomes as expected keeps a short past from saying much. To let
a site's past choose among the experts, or correct their mean, was tried and made no forecast
better (docs/adr/0100-experts-on-wind.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .experts import Panel
from .wind import CONSTANTS, DEGREES, MINUTE, Minutes, moments

Array = npt.NDArray[np.float64]

PAST, EVERY, LONGEST = 30, 5, 60
"""Minutes of a window, from one to the next, and of the horizon that is judged at most."""
MOST_JUDGED = 5000
PRIOR, MOST_SQUARE = 50.0, 16.0
LEAST, GREATEST = 0.25, 4.0


@dataclass(frozen=True)
class Learned:
    """The factor on the variance, and from how many outcomes (faded) it was learned."""

    factor: float = 1.0
    judged: int = 0
    weight: float = 0.0


def learned(minutes: Minutes, horizon: float, memory: float) -> Learned:
    """What the minutes teach about forecasts `horizon` seconds ahead, with a memory in seconds."""
    steps = int(np.clip(round(horizon / MINUTE), 1, LONGEST))
    rows = _windows(minutes, PAST + steps)
    if memory <= 0 or not len(rows):
        return Learned()
    panel = Panel(np.arange(PAST, dtype=float), np.array([PAST + steps - 1.0]))
    values = minutes.mean[rows]
    past, outcome = values[:, :PAST], values[:, -1]
    centre, covariance = panel.combined(panel.opinions(past), past.mean(axis=1), CONSTANTS)
    width = np.sqrt(covariance[:, 0, 0] * (DEGREES - 2) / DEGREES)
    mean, sigma = moments(centre[:, 0], width, DEGREES)
    square = np.minimum(((outcome - mean) / sigma) ** 2, MOST_SQUARE)
    weight = np.exp((minutes.time[rows[:, -1]] - minutes.time[-1]) / memory)
    factor = (PRIOR + float(weight @ square)) / (PRIOR + float(weight.sum()))
    return Learned(float(np.clip(factor, LEAST, GREATEST)), len(rows), float(weight.sum()))


def _windows(minutes: Minutes, length: int) -> npt.NDArray[np.int64]:
    """Indices of stretches of `length` minutes without a gap, the newest last."""
    ends = np.arange(len(minutes.time) - 1, length - 2, -EVERY)[:MOST_JUDGED][::-1]
    span = minutes.time[ends] - minutes.time[ends - length + 1]
    ends = ends[np.abs(span - (length - 1) * MINUTE) < 1.0]
    return np.asarray(ends[:, None] + np.arange(1 - length, 1), dtype=np.int64)
