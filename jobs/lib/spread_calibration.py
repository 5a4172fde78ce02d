"""Calibrates the spread of a site's forecasts by its own past.
The forecast is repeated for half hours of the past whose outcome is known. If its errors were, in
the mean of their squares, twice what it expected, its variance is doubled. Old outcomes fade with
the memory; a prior of PRIOR_COUNT outcomes as expected limits the effect of a short past. Letting a
site's past choose among the models, or correct their mean, was tried and improved no forecast
(docs/adr/0100-experts-on-wind.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .model_averaging import ModelEnsemble
from .wind import DEGREES_OF_FREEDOM, FITTED_CONSTANTS, MINUTE, MinuteMeans, censored_moments

Array = npt.NDArray[np.float64]

HISTORY_MINUTES, WINDOW_STEP, MAX_HORIZON_MINUTES = 30, 5, 60
"""Minutes of a window, from one to the next, and of the longest horizon that is calibrated."""
MAX_WINDOWS = 5000
PRIOR_COUNT, MAX_SQUARED_ERROR = 50.0, 16.0
MIN_FACTOR, MAX_FACTOR = 0.25, 4.0


@dataclass(frozen=True)
class SpreadCalibration:
    """The factor on the variance, and the number of outcomes (and their faded weight) behind it."""

    factor: float = 1.0
    judged: int = 0
    weight: float = 0.0


def calibrate_spread(minutes: MinuteMeans, horizon: float, memory: float) -> SpreadCalibration:
    """Calibrates forecasts `horizon` seconds ahead, with a memory in seconds."""
    steps = int(np.clip(round(horizon / MINUTE), 1, MAX_HORIZON_MINUTES))
    windows = _find_windows(minutes, HISTORY_MINUTES + steps)
    if memory <= 0 or not len(windows):
        return SpreadCalibration()
    ensemble = ModelEnsemble(
        np.arange(HISTORY_MINUTES, dtype=float), np.array([HISTORY_MINUTES + steps - 1.0])
    )
    values = minutes.mean[windows]
    past, outcome = values[:, :HISTORY_MINUTES], values[:, -1]
    location, covariance = ensemble.combine(
        ensemble.forecast_each(past), past.mean(axis=1), FITTED_CONSTANTS
    )
    scale = np.sqrt(covariance[:, 0, 0] * (DEGREES_OF_FREEDOM - 2) / DEGREES_OF_FREEDOM)
    mean, sigma = censored_moments(location[:, 0], scale, DEGREES_OF_FREEDOM)
    squared_errors = np.minimum(((outcome - mean) / sigma) ** 2, MAX_SQUARED_ERROR)
    weight = np.exp((minutes.time[windows[:, -1]] - minutes.time[-1]) / memory)
    factor = (PRIOR_COUNT + float(weight @ squared_errors)) / (PRIOR_COUNT + float(weight.sum()))
    return SpreadCalibration(
        float(np.clip(factor, MIN_FACTOR, MAX_FACTOR)), len(windows), float(weight.sum())
    )


def _find_windows(minutes: MinuteMeans, length: int) -> npt.NDArray[np.int64]:
    """Returns indices of stretches of `length` minutes without a gap, the newest last."""
    ends = np.arange(len(minutes.time) - 1, length - 2, -WINDOW_STEP)[:MAX_WINDOWS][::-1]
    duration = minutes.time[ends] - minutes.time[ends - length + 1]
    ends = ends[np.abs(duration - (length - 1) * MINUTE) < 1.0]
    return np.asarray(ends[:, None] + np.arange(1 - length, 1), dtype=np.int64)
