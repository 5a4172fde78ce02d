"""Wind speed as one-minute means, and the forecast of the next minutes.
`forecast_mean_reverting` averages the models of lib/model_averaging.py; `forecast_straight_line` is
there for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from .model_averaging import ModelConstants, ModelEnsemble

Array = npt.NDArray[np.float64]

MINUTE = 60.0
DEGREES_OF_FREEDOM = 6.0
"""Degrees of freedom of Student's t: the shape of the errors after the spread has adapted."""
LEVEL_MINUTES = 30
"""Minutes whose mean says how calm it is."""
FITTED_CONSTANTS = ModelConstants(
    log_weights=(
        -1.079,
        -1.405,
        -0.618,
        0.893,
        1.702,
        -0.106,
        -1.064,
        0.194,
        0.062,
        -1.280,
        0.239,
        0.472,
        2.087,
        -0.097,
    ),
    likelihood_power=0.352,
    variance_factor=0.209,
    nugget_factor=1.791,
    drift_variance=0.246,
    calm_variance=0.844,
)
"""Fitted by `python -m benchmarks forecast --fit` to the five archives named in docs/jobs.md."""
_SLICE_COUNT = 800


@dataclass(frozen=True)
class MinuteMeans:
    """One-minute means: `time` (seconds, the middle of each minute that has samples) and `mean`."""

    time: Array
    mean: Array

    def slice_from(self, start: float) -> MinuteMeans:
        """Returns those that begin at or after `start` (seconds)."""
        is_kept = self.time - MINUTE / 2 >= start - 1e-6
        return MinuteMeans(self.time[is_kept], self.mean[is_kept])


@dataclass(frozen=True)
class WindForecast:
    """The next minutes: `time` (seconds), and a multivariate Student distribution with `degrees` of
    freedom, `centre` (m/s) and `scale` (m/s)^2, whose part below 0 is a calm (as in Tobin 1958; for
    wind see Thorarinsdottir and Gneiting 2010).
    """

    time: Array
    centre: Array
    scale: Array
    degrees: float

    @cached_property
    def _moments(self) -> tuple[Array, Array]:
        return censored_moments(self.centre, np.sqrt(np.diag(self.scale)), self.degrees)

    @property
    def mean(self) -> Array:
        """Expected one-minute means (m/s)."""
        return self._moments[0]

    @property
    def sigma(self) -> Array:
        """Standard deviation at each time (m/s)."""
        return self._moments[1]

    def exceedance_probability(self, threshold: float) -> Array:
        """Returns the probability that each minute's mean exceeds the threshold (m/s)."""
        if threshold < 0:
            return np.ones(len(self.time))
        scale = np.sqrt(np.diag(self.scale))
        margin = self.centre - threshold
        probability = stdtr(self.degrees, margin / np.where(scale > 0, scale, 1.0))
        return np.asarray(np.where(scale > 0, probability, (margin > 0).astype(float)))

    def sample_paths(self, count: int = 4000) -> Array:
        """Returns possible winds, shape (count, times), never below 0. Always the same draw."""
        rng = np.random.default_rng(20250424)
        cholesky = np.linalg.cholesky(self.scale + 1e-9 * np.eye(len(self.centre)))
        normal = rng.standard_normal((count // 2, len(self.centre)))
        tail_factors = np.sqrt(self.degrees / rng.chisquare(self.degrees, count // 2))
        steps = (normal @ cholesky.T) * tail_factors[:, None]
        return np.asarray(np.maximum(self.centre + np.concatenate((steps, -steps)), 0.0))


def censored_moments(centre: Array, scale: Array, degrees: float) -> tuple[Array, Array]:
    """Returns mean and standard deviation of max(0, centre + scale t), over equal quantiles."""
    slices = np.maximum(centre[:, None] + scale[:, None] * _quantile_slices(degrees), 0.0)
    return np.asarray(slices.mean(axis=1)), np.asarray(slices.std(axis=1))


@lru_cache(maxsize=64)
def _quantile_slices(degrees: float) -> Array:
    return np.asarray(stdtrit(degrees, (np.arange(_SLICE_COUNT) + 0.5) / _SLICE_COUNT))


def one_minute_means(time: Array, speed: Array, now: float) -> MinuteMeans:
    """Returns means over the minutes (now - 60 (i + 1), now - 60 i]; empty minutes are gaps."""
    minute_numbers, indices = np.unique(-_minutes_before(time, now), return_inverse=True)
    mean = np.bincount(indices, weights=speed) / np.bincount(indices)
    times = now + (minute_numbers.astype(np.float64) - 0.5) * MINUTE
    return MinuteMeans(times, np.asarray(mean, dtype=np.float64))


def horizon_times(now: float, horizon: float) -> Array:
    """Returns the middles of the minutes up to `horizon` seconds from now; the last ends at it."""
    steps = max(1, int(np.ceil(horizon / MINUTE - 1e-9)))
    offsets = np.arange(steps - 1, -1, -1) * MINUTE
    return np.asarray(now + horizon - MINUTE / 2 - offsets)


def forecast_mean_reverting(
    minutes: MinuteMeans, future_times: Array, factor: float = 1.0
) -> WindForecast:
    """Returns the models' forecast, its variance multiplied by `factor` (from calibration)."""
    start = float(minutes.time[0])
    ensemble = ModelEnsemble((minutes.time - start) / MINUTE, (future_times - start) / MINUTE)
    forecasts = ensemble.forecast_each(minutes.mean[None, :])
    is_recent = minutes.time > minutes.time[-1] - LEVEL_MINUTES * MINUTE
    level = np.array([minutes.mean[is_recent].mean()])
    centre, covariance = ensemble.combine(forecasts, level, FITTED_CONSTANTS)
    scale = factor * covariance[0] * (DEGREES_OF_FREEDOM - 2) / DEGREES_OF_FREEDOM
    return WindForecast(future_times, centre[0], scale, DEGREES_OF_FREEDOM)


def forecast_straight_line(
    minutes: MinuteMeans, future_times: Array, factor: float = 1.0
) -> WindForecast:
    """Fits the least-squares line through the minutes, with its prediction error (any textbook;
    Draper and Smith 1998, section 3.1). The worst forecast of wind there is, for comparison only.
    """
    centre_time = float(minutes.time.mean())
    design = np.column_stack((np.ones(len(minutes.time)), (minutes.time - centre_time) / MINUTE))
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ minutes.mean
    degrees = len(minutes.time) - 2
    residual = minutes.mean - design @ coefficients
    variance = factor * float(residual @ residual) / degrees
    future = np.column_stack((np.ones(len(future_times)), (future_times - centre_time) / MINUTE))
    scale = variance * (np.eye(len(future_times)) + future @ inverse @ future.T)
    return WindForecast(future_times, future @ coefficients, scale, float(degrees))


def gust_excess(minutes: MinuteMeans, time: Array, gust: Array, now: float) -> Array:
    """Returns how far each minute's highest gust exceeded its mean, as a part of (mean + 1 m/s).
    Gusts grow with the wind (the gust factor: WMO-No. 8, chapter 5); one metre a second is added so
    that a calm has them too.
    """
    is_recorded = np.isfinite(gust)
    minute_numbers, indices = np.unique(
        -_minutes_before(time[is_recorded], now), return_inverse=True
    )
    highest = np.full(len(minute_numbers), -np.inf)
    np.maximum.at(highest, indices, gust[is_recorded])
    mean_numbers = np.rint((minutes.time - now) / MINUTE + 0.5).astype(np.int64)
    _, mean_indices, gust_indices = np.intersect1d(
        mean_numbers, minute_numbers, return_indices=True
    )
    mean = minutes.mean[mean_indices]
    return np.asarray(np.maximum(highest[gust_indices] - mean, 0.0) / (mean + 1.0))


def sample_gusts(paths: Array, excess: Array) -> Array:
    """Returns the highest gust of each minute of each path, drawn from the recent gusts."""
    rng = np.random.default_rng(20250425)
    return np.asarray(paths + rng.choice(excess, paths.shape) * (paths + 1.0))


def _minutes_before(time: Array, now: float) -> npt.NDArray[np.int64]:
    return np.floor((now - time) / MINUTE).astype(np.int64)
