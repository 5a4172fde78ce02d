"""Fits the constants of the wind forecast to archives: how those in jobs/lib/wind.py came about.

First the experts' votes and trust, by least squares of the minute ten minutes ahead, each archive
counted by its error over that of the ten-minute mean, with a small penalty on votes that differ.
Then spread, grain, drift and calm, by the Gaussian likelihood of that minute and the error of the
highest one, with a penalty on archives whose z-scores are not of standard deviation one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

from jobs.lib.experts import KERNELS, Array, Constants, Opinions, Panel, believed
from jobs.lib.wind import DEGREES

AHEAD = 10
PAST = (15, 30, 60, 120)
MOST = 1200
"""Windows of one archive and length of history that a fit looks at."""
EVEN, HIGHEST, TIDY, DRAWS = 1e-4, 0.5, 1e-4, 80


@dataclass(frozen=True)
class Windows:
    """Stretches of one archive without a gap: minutes before and after, and what experts say."""

    past: Array
    future: Array
    panel: Panel
    opinions: Opinions

    @property
    def target(self) -> Array:
        return np.asarray(self.future[:, -1])

    @property
    def recent(self) -> Array:
        """The ten-minute mean, the reference of all ratios."""
        return np.asarray(self.past[:, -10:].mean(axis=1))

    @property
    def level(self) -> Array:
        return np.asarray(self.past[:, -30:].mean(axis=1))


def windows(time: Array, speed: Array, past: int, most: int = MOST) -> Windows | None:
    """Up to `most` windows, evenly spread; None where the archive has none without a gap."""
    whole = past + AHEAD
    starts = np.arange(0, len(time) - whole + 1)
    starts = starts[np.abs(time[starts + whole - 1] - time[starts] - 60.0 * (whole - 1)) < 1.0]
    if len(starts) == 0:
        return None
    starts = starts[:: -(-len(starts) // most)]
    rows = speed[starts[:, None] + np.arange(whole)]
    panel = Panel(np.arange(past, dtype=float), past + np.arange(AHEAD, dtype=float))
    return Windows(rows[:, :past], rows[:, past:], panel, panel.opinions(rows[:, :past]))


def fit(archives: Sequence[tuple[Array, Array]]) -> Constants:
    """The constants for these archives (time, speed), each with equal weight."""
    found = [windows(time, speed, past) for time, speed in archives for past in PAST]
    sets = [one for one in found if one is not None]
    return _widths(sets, _votes(sets))


def _votes(sets: Sequence[Windows]) -> Constants:
    def constants(at: Array) -> Constants:
        return Constants(tuple(at[:-1]), float(np.exp(at[-1])), 1.0, 0.0, 0.0, 0.0)

    def loss(at: Array) -> tuple[float, Array]:
        total, slope = 0.0, np.zeros_like(at)
        for one in sets:
            usual = float(np.mean((one.target - one.recent) ** 2)) * len(sets)
            weight, said = believed(one.opinions, constants(at)), one.opinions.mean[:, :, -1]
            mean = np.sum(weight * said, axis=1)
            error = mean - one.target
            pull = weight * (said - mean[:, None])
            evidence = one.opinions.evidence
            better = evidence - evidence.max(axis=1, keepdims=True)
            total += float(np.mean(error**2)) / usual
            slope[:-1] += 2 * (error @ pull) / len(error) / usual
            slope[-1] += 2 * np.mean(error * np.sum(pull * better, axis=1)) * np.exp(at[-1]) / usual
        apart = at[:-1] - at[:-1].mean()
        slope[:-1] += 2 * EVEN * apart
        return total + EVEN * float(apart @ apart), slope

    start = np.append(np.zeros(len(KERNELS)), -1.5)
    return constants(minimize(loss, start, jac=True, method="L-BFGS-B").x)


def _widths(sets: Sequence[Windows], votes: Constants) -> Constants:
    def constants(at: Array) -> Constants:
        return Constants(votes.votes, votes.trust, *(float(one) for one in np.exp(at)))

    def loss(at: Array) -> float:
        found = constants(at)
        parts = [_misfit(one, found) for one in sets]
        return float(np.mean(parts)) + TIDY * float(at @ at)

    start = np.array([-0.5, 0.0, -2.0, 0.0])
    search = {"maxfev": 150, "xatol": 1e-3, "fatol": 1e-4}
    return constants(minimize(loss, start, method="Nelder-Mead", options=search).x)


def _misfit(one: Windows, constants: Constants) -> float:
    latent, covariance = one.panel.combined(one.opinions, one.level, constants)
    mean, variance = not_below_nought(latent[:, -1], covariance[:, -1, -1])
    square = (one.target - mean) ** 2 / variance
    likelihood = 0.5 * float(np.mean(np.log(variance) + square))
    evenness = 0.25 * float(np.log(np.mean(square))) ** 2
    highest = one.future.max(axis=1)
    error = highest - highest_mean(latent, covariance)
    usual = highest - one.recent
    worse = float(np.mean(error**2) / np.var(usual))
    return likelihood + evenness + HIGHEST * worse


def not_below_nought(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance of max(0, N(mean, variance))."""
    width = np.sqrt(variance)
    above, density = norm.cdf(mean / width), norm.pdf(mean / width)
    first = mean * above + width * density
    second = (mean**2 + variance) * above + mean * width * density
    return first, np.maximum(second - first**2, 1e-4)


def highest_mean(mean: Array, covariance: Array) -> Array:
    """Expected highest of the minutes ahead, over a few draws that are always the same."""
    draw = np.random.default_rng(1)
    normal = draw.standard_normal((DRAWS // 2, mean.shape[1]))
    heavy = np.sqrt((DEGREES - 2) / draw.chisquare(DEGREES, DRAWS // 2))
    steps = np.concatenate((normal, -normal)) * np.concatenate((heavy, heavy))[:, None]
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(mean.shape[1]))
    paths = [mean + np.einsum("nij,j->ni", root, step) for step in steps]
    return np.asarray(np.mean([np.maximum(path, 0.0).max(axis=1) for path in paths], axis=0))
