"""Wind speed as one-minute means, and the forecast of the minutes to come.

`reverting` averages the experts of lib/experts.py; `straight_line` is there for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from .experts import Constants, Panel

Array = npt.NDArray[np.float64]

MINUTE = 60.0
DEGREES = 6.0
"""Of freedom of Student's t: what remains of the errors after the spread has adapted."""
LEVEL_OVER = 30
"""Minutes whose mean says how calm it is."""
CONSTANTS = Constants(
    votes=(
        -1.079, -1.405, -0.618, 0.893, 1.702, -0.106, -1.064, 0.194, 0.062, -1.280, 0.239, 0.472,
        2.087, -0.097,
    ),
    trust=0.352, spread=0.209, grain=1.791, drift=0.246, calm=0.844,
)  # fmt: skip
"""Fitted by `python -m benchmarks forecast --fit` to the five archives named in docs/jobs.md."""
_SLICES = 800


@dataclass(frozen=True)
class Minutes:
    """One-minute means: `time` (seconds, the middle of each minute that has samples) and `mean`."""

    time: Array
    mean: Array

    def since(self, start: float) -> Minutes:
        """Those that begin at or after `start` (seconds)."""
        kept = self.time - MINUTE / 2 >= start - 1e-6
        return Minutes(self.time[kept], self.mean[kept])


@dataclass(frozen=True)
class Forecast:
    """The minutes to come: `time` (seconds), and a multivariate Student distribution with
    `degrees` of freedom, `centre` (m/s) and `scale` (m/s)^2, of which what falls below nought is a
    calm (as Tobin 1958 has it; for wind see Thorarinsdottir and Gneiting 2010)."""

    time: Array
    centre: Array
    scale: Array
    degrees: float

    @cached_property
    def _moments(self) -> tuple[Array, Array]:
        return moments(self.centre, np.sqrt(np.diag(self.scale)), self.degrees)

    @property
    def mean(self) -> Array:
        """Expected one-minute means (m/s)."""
        return self._moments[0]

    @property
    def sigma(self) -> Array:
        """Standard deviation at each time (m/s)."""
        return self._moments[1]

    def above(self, threshold: float) -> Array:
        """Probability that each minute's mean exceeds the threshold (m/s)."""
        if threshold < 0:
            return np.ones(len(self.time))
        width = np.sqrt(np.diag(self.scale))
        gap = self.centre - threshold
        odds = stdtr(self.degrees, gap / np.where(width > 0, width, 1.0))
        return np.asarray(np.where(width > 0, odds, (gap > 0).astype(float)))

    def paths(self, count: int = 4000) -> Array:
        """Winds that may come, shape (count, times), never below nought. Always the same draw."""
        draw = np.random.default_rng(20250424)
        root = np.linalg.cholesky(self.scale + 1e-9 * np.eye(len(self.centre)))
        normal = draw.standard_normal((count // 2, len(self.centre)))
        heavy = np.sqrt(self.degrees / draw.chisquare(self.degrees, count // 2))
        steps = (normal @ root.T) * heavy[:, None]
        return np.asarray(np.maximum(self.centre + np.concatenate((steps, -steps)), 0.0))


def moments(centre: Array, width: Array, degrees: float) -> tuple[Array, Array]:
    """Mean and standard deviation of max(0, centre + width t), over slices of equal probability."""
    parts = np.maximum(centre[:, None] + width[:, None] * _slices(degrees), 0.0)
    return np.asarray(parts.mean(axis=1)), np.asarray(parts.std(axis=1))


@lru_cache(maxsize=64)
def _slices(degrees: float) -> Array:
    return np.asarray(stdtrit(degrees, (np.arange(_SLICES) + 0.5) / _SLICES))


def one_minute_means(time: Array, speed: Array, now: float) -> Minutes:
    """Means over the minutes (now - 60 (i + 1), now - 60 i]; minutes without a sample are gaps."""
    numbers, place = np.unique(-_minute(time, now), return_inverse=True)
    mean = np.bincount(place, weights=speed) / np.bincount(place)
    middle = now + (numbers.astype(np.float64) - 0.5) * MINUTE
    return Minutes(middle, np.asarray(mean, dtype=np.float64))


def horizon_times(now: float, horizon: float) -> Array:
    """The middles of the minutes up to `horizon` seconds from now; the last ends at it."""
    steps = max(1, int(np.ceil(horizon / MINUTE - 1e-9)))
    back = np.arange(steps - 1, -1, -1) * MINUTE
    return np.asarray(now + horizon - MINUTE / 2 - back)


def reverting(minutes: Minutes, ahead: Array, factor: float = 1.0) -> Forecast:
    """The experts' forecast, its variance multiplied by `factor` (what a site has taught)."""
    start = float(minutes.time[0])
    panel = Panel((minutes.time - start) / MINUTE, (ahead - start) / MINUTE)
    said = panel.opinions(minutes.mean[None, :])
    recent = minutes.time > minutes.time[-1] - LEVEL_OVER * MINUTE
    level = np.array([minutes.mean[recent].mean()])
    centre, covariance = panel.combined(said, level, CONSTANTS)
    scale = factor * covariance[0] * (DEGREES - 2) / DEGREES
    return Forecast(ahead, centre[0], scale, DEGREES)


def straight_line(minutes: Minutes, ahead: Array, factor: float = 1.0) -> Forecast:
    """The least-squares line through the minutes, with its prediction error (any textbook; Draper
    and Smith 1998, section 3.1). It is the worst forecast of wind there is, kept for comparison."""
    middle = float(minutes.time.mean())
    design = np.column_stack((np.ones(len(minutes.time)), (minutes.time - middle) / MINUTE))
    inverse = np.linalg.inv(design.T @ design)
    line = inverse @ design.T @ minutes.mean
    degrees = len(minutes.time) - 2
    residual = minutes.mean - design @ line
    variance = factor * float(residual @ residual) / degrees
    future = np.column_stack((np.ones(len(ahead)), (ahead - middle) / MINUTE))
    scale = variance * (np.eye(len(ahead)) + future @ inverse @ future.T)
    return Forecast(ahead, future @ line, scale, float(degrees))


def gust_excess(minutes: Minutes, time: Array, gust: Array, now: float) -> Array:
    """How far the highest gust of each minute stood above its mean, as a part of (mean + 1 m/s).

    Gusts grow with the wind (the gust factor: WMO-No. 8, chapter 5); one metre a second is added
    so that a calm has them too.
    """
    good = np.isfinite(gust)
    numbers, place = np.unique(-_minute(time[good], now), return_inverse=True)
    highest = np.full(len(numbers), -np.inf)
    np.maximum.at(highest, place, gust[good])
    middle = np.rint((minutes.time - now) / MINUTE + 0.5).astype(np.int64)
    _, one, other = np.intersect1d(middle, numbers, return_indices=True)
    mean = minutes.mean[one]
    return np.asarray(np.maximum(highest[other] - mean, 0.0) / (mean + 1.0))


def gusts(paths: Array, excess: Array) -> Array:
    """The highest gust of each minute of each path, drawn from the gusts of late."""
    draw = np.random.default_rng(20250425)
    return np.asarray(paths + draw.choice(excess, paths.shape) * (paths + 1.0))


def _minute(time: Array, now: float) -> npt.NDArray[np.int64]:
    return np.floor((now - time) / MINUTE).astype(np.int64)
