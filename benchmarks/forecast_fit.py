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

from jobs.lib.model_averaging import (
    KERNELS,
    Array,
    ModelConstants,
    ModelEnsemble,
    ModelForecasts,
    model_weights,
)
from jobs.lib.wind import DEGREES_OF_FREEDOM

HORIZON_MINUTES = 10
HISTORY_MINUTES = (15, 30, 60, 120)
MAX_WINDOWS = 1200
"""Windows of one archive and length of history that a fit looks at."""
WEIGHT_PENALTY, HIGHEST_WEIGHT, WIDTH_PENALTY, SAMPLE_COUNT = 1e-4, 0.5, 1e-4, 80


@dataclass(frozen=True)
class TrainingWindows:
    """Stretches of one archive without a gap: minutes before and after, and what experts say."""

    past: Array
    future: Array
    ensemble: ModelEnsemble
    forecasts: ModelForecasts

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


def create_windows(
    time: Array, speed: Array, history: int, max_count: int = MAX_WINDOWS
) -> TrainingWindows | None:
    """Up to `max_count` windows, evenly spread; None where the archive has none without a gap."""
    length = history + HORIZON_MINUTES
    starts = np.arange(0, len(time) - length + 1)
    starts = starts[np.abs(time[starts + length - 1] - time[starts] - 60.0 * (length - 1)) < 1.0]
    if len(starts) == 0:
        return None
    starts = starts[:: -(-len(starts) // max_count)]
    rows = speed[starts[:, None] + np.arange(length)]
    ensemble = ModelEnsemble(
        np.arange(history, dtype=float), history + np.arange(HORIZON_MINUTES, dtype=float)
    )
    return TrainingWindows(
        rows[:, :history], rows[:, history:], ensemble, ensemble.forecast_each(rows[:, :history])
    )


def fit_constants(archives: Sequence[tuple[Array, Array]]) -> ModelConstants:
    """The constants for these archives (time, speed), each with equal weight."""
    candidates = [
        create_windows(time, speed, history)
        for time, speed in archives
        for history in HISTORY_MINUTES
    ]
    sets = [window_set for window_set in candidates if window_set is not None]
    return _fit_widths(sets, _fit_weights(sets))


def _fit_weights(sets: Sequence[TrainingWindows]) -> ModelConstants:
    def build_constants(vector: Array) -> ModelConstants:
        return ModelConstants(tuple(vector[:-1]), float(np.exp(vector[-1])), 1.0, 0.0, 0.0, 0.0)

    def compute_loss(vector: Array) -> tuple[float, Array]:
        total, slope = 0.0, np.zeros_like(vector)
        for window_set in sets:
            reference_error = float(np.mean((window_set.target - window_set.recent) ** 2)) * len(
                sets
            )
            weights, predictions = (
                model_weights(window_set.forecasts, build_constants(vector)),
                window_set.forecasts.mean[:, :, -1],
            )
            mean = np.sum(weights * predictions, axis=1)
            error = mean - window_set.target
            weighted_deviation = weights * (predictions - mean[:, None])
            evidence = window_set.forecasts.evidence
            relative_evidence = evidence - evidence.max(axis=1, keepdims=True)
            total += float(np.mean(error**2)) / reference_error
            slope[:-1] += 2 * (error @ weighted_deviation) / len(error) / reference_error
            slope[-1] += (
                2
                * np.mean(error * np.sum(weighted_deviation * relative_evidence, axis=1))
                * np.exp(vector[-1])
                / reference_error
            )
        weight_deviation = vector[:-1] - vector[:-1].mean()
        slope[:-1] += 2 * WEIGHT_PENALTY * weight_deviation
        return total + WEIGHT_PENALTY * float(weight_deviation @ weight_deviation), slope

    start = np.append(np.zeros(len(KERNELS)), -1.5)
    return build_constants(minimize(compute_loss, start, jac=True, method="L-BFGS-B").x)


def _fit_widths(sets: Sequence[TrainingWindows], weights: ModelConstants) -> ModelConstants:
    def build_constants(vector: Array) -> ModelConstants:
        return ModelConstants(
            weights.log_weights,
            weights.likelihood_power,
            *(float(value) for value in np.exp(vector)),
        )

    def compute_loss(vector: Array) -> float:
        constants = build_constants(vector)
        misfits = [_compute_misfit(window_set, constants) for window_set in sets]
        return float(np.mean(misfits)) + WIDTH_PENALTY * float(vector @ vector)

    start = np.array([-0.5, 0.0, -2.0, 0.0])
    search = {"maxfev": 150, "xatol": 1e-3, "fatol": 1e-4}
    return build_constants(minimize(compute_loss, start, method="Nelder-Mead", options=search).x)


def _compute_misfit(windows: TrainingWindows, constants: ModelConstants) -> float:
    latent, covariance = windows.ensemble.combine(windows.forecasts, windows.level, constants)
    mean, variance = censored_moments(latent[:, -1], covariance[:, -1, -1])
    squared_z = (windows.target - mean) ** 2 / variance
    likelihood = 0.5 * float(np.mean(np.log(variance) + squared_z))
    calibration_error = 0.25 * float(np.log(np.mean(squared_z))) ** 2
    highest = windows.future.max(axis=1)
    error = highest - expected_maximum(latent, covariance)
    reference_error = highest - windows.recent
    highest_ratio = float(np.mean(error**2) / np.var(reference_error))
    return likelihood + calibration_error + HIGHEST_WEIGHT * highest_ratio


def censored_moments(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance of max(0, N(mean, variance))."""
    width = np.sqrt(variance)
    probability_above, density = norm.cdf(mean / width), norm.pdf(mean / width)
    first = mean * probability_above + width * density
    second = (mean**2 + variance) * probability_above + mean * width * density
    return first, np.maximum(second - first**2, 1e-4)


def expected_maximum(mean: Array, covariance: Array) -> Array:
    """Expected highest of the minutes ahead, over a few draws that are always the same."""
    rng = np.random.default_rng(1)
    normal = rng.standard_normal((SAMPLE_COUNT // 2, mean.shape[1]))
    heavy = np.sqrt((DEGREES_OF_FREEDOM - 2) / rng.chisquare(DEGREES_OF_FREEDOM, SAMPLE_COUNT // 2))
    steps = np.concatenate((normal, -normal)) * np.concatenate((heavy, heavy))[:, None]
    cholesky = np.linalg.cholesky(covariance + 1e-9 * np.eye(mean.shape[1]))
    paths = [mean + np.einsum("nij,j->ni", cholesky, step) for step in steps]
    return np.asarray(np.mean([np.maximum(path, 0.0).max(axis=1) for path in paths], axis=0))
