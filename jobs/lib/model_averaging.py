"""Gaussian process models of the wind in the next minutes, and how their forecasts are combined.
Each model (docs/jobs.md: expert) takes the one-minute means for a stationary Gaussian process about
an unknown level, with a covariance of its own, s^2 [(1 - short_weight - nugget) exp(-|dt| /
long_scale) + short_weight exp(-|dt| / short_scale) + nugget at dt = 0], and predicts by ordinary
kriging (Cressie 1993, Statistics for Spatial Data, section 3.2). How well it explains the given
minutes is the restricted likelihood of a Gaussian process with s integrated out (Patterson and
Thompson 1971; Rasmussen and Williams 2006, section 2.7). Forecasts are averaged as in Bayesian
model averaging (Hoeting et al. 1999), the likelihood raised to a power under one, since no model is
right. So a wind that runs in slow waves is followed, and one that jumps about its level falls back
to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MIN_VARIANCE = 3e-5
"""(m/s)^2 a minute that no window is smoother than: the resolution of an anemometer."""
DRIFT_MINUTES = 120.0
"""Minutes over which a drifting level forgets where it was."""
REFERENCE_MINUTES = 10.0
"""Minutes ahead at which `drift_variance` and `calm_variance` of `ModelConstants` apply."""


@dataclass(frozen=True)
class Kernel:
    """A covariance: time scales in minutes, and the parts of the variance with the short one
    (`short_weight`) and with none (`nugget`).
    """

    long_scale: float
    nugget: float = 0.0
    short_scale: float = 1.0
    short_weight: float = 0.0

    def __call__(self, first: Array, second: Array) -> Array:
        distance = np.abs(first[:, None] - second[None, :])
        slow = (1.0 - self.short_weight - self.nugget) * np.exp(-distance / self.long_scale)
        fast = self.short_weight * np.exp(-distance / self.short_scale)
        return np.asarray(slow + fast + self.nugget * (distance < 1e-6))


KERNELS = (
    *(Kernel(long, grain) for long in (10.0, 40.0, 150.0, 1000.0) for grain in (0.0, 0.15, 0.4)),
    Kernel(1000.0, short_scale=1.0, short_weight=0.05),
    Kernel(1000.0, short_scale=2.0, short_weight=0.1),
)


@dataclass(frozen=True)
class ModelConstants:
    """Fitted constants: see docs/jobs.md and benchmarks/forecast.py.
    log_weights: log weight of each kernel before any minute was seen. likelihood_power: the power
    of the likelihood. variance_factor: how much of the models' variance is used. nugget_factor: how
    much of their nugget is added. drift_variance, calm_variance: variance (m/s)^2 of a drifting
    level, 10 minutes ahead, always and in a calm, where it is calm_variance / (1 + mean)^2.
    """

    log_weights: tuple[float, ...]
    likelihood_power: float
    variance_factor: float
    nugget_factor: float
    drift_variance: float
    calm_variance: float


@dataclass(frozen=True)
class ModelForecasts:
    """By window (first axis) and model (second): means ahead, process variance, log evidence."""

    mean: Array
    variance: Array
    evidence: Array


class ModelEnsemble:
    """The models for minutes at `past` and `ahead` (in minutes), precomputed for any values."""

    def __init__(self, past: Array, ahead: Array) -> None:
        count = len(past)
        self.past_count, self.minutes_ahead = count, ahead - past[-1]
        inverses, level_weights, forecast_weights, covariances, evidence_constants = (
            [],
            [],
            [],
            [],
            [],
        )
        for kernel in KERNELS:
            inverse = np.linalg.inv(kernel(past, past))
            cross = kernel(ahead, past)
            total = float(inverse.sum())
            level_weights.append(inverse.sum(axis=0) / total)
            kriging_weights = cross @ inverse
            level_share = 1.0 - kriging_weights.sum(axis=1)
            forecast_weights.append(kriging_weights + np.outer(level_share, level_weights[-1]))
            covariances.append(
                kernel(ahead, ahead)
                - kriging_weights @ cross.T
                + np.outer(level_share, level_share) / total
            )
            inverses.append(inverse)
            evidence_constants.append(
                0.5 * float(np.linalg.slogdet(inverse)[1]) - 0.5 * np.log(total)
            )
        self._inverses, self._level_weights = np.array(inverses), np.array(level_weights)
        self._forecast_weights, self.covariances = np.array(forecast_weights), np.array(covariances)
        self._evidence_constants = np.array(evidence_constants)

    def forecast_each(self, values: Array) -> ModelForecasts:
        """Returns each model's forecast for each row of values."""
        centre = values @ self._level_weights.T
        residual = values[:, None, :] - centre[:, :, None]
        solved = np.einsum("njk,jkl->njl", residual, self._inverses)
        quadratic = np.einsum("njl,njl->nj", solved, residual) + MIN_VARIANCE * self.past_count
        evidence = self._evidence_constants - 0.5 * (self.past_count - 1) * np.log(quadratic)
        mean = np.einsum("jhk,nk->njh", self._forecast_weights, values)
        return ModelForecasts(mean, quadratic / (self.past_count - 1), evidence)

    def combine(
        self, forecasts: ModelForecasts, level: Array, constants: ModelConstants
    ) -> tuple[Array, Array]:
        """Returns mean (windows, ahead) and covariance (windows, ahead, ahead) of future minutes.
        level: the present mean speed of each window (m/s).
        """
        weights = model_weights(forecasts, constants)
        mean = np.einsum("nj,njh->nh", weights, forecasts.mean)
        deviations = forecasts.mean - mean[:, None, :]
        within_variance = np.einsum("nj,jhi->nhi", weights * forecasts.variance, self.covariances)
        between_variance = np.einsum("nj,njh,nji->nhi", weights, deviations, deviations)
        nuggets = np.array([kernel.nugget + kernel.short_weight / 2 for kernel in KERNELS])
        nugget_variance = constants.nugget_factor * np.einsum(
            "nj,j->n", weights * forecasts.variance, nuggets
        )
        drift_variance = constants.drift_variance + constants.calm_variance / (1.0 + level) ** 2
        covariance = constants.variance_factor * (within_variance + between_variance)
        covariance += drift_variance[:, None, None] * self._drift_covariance()
        return mean, covariance + nugget_variance[:, None, None] * np.eye(len(self.minutes_ahead))

    def _drift_covariance(self) -> Array:
        """Returns the covariance of an Ornstein-Uhlenbeck process that starts at 0 now.
        Its variance is 1 at REFERENCE_MINUTES.
        """
        first, second = self.minutes_ahead[:, None], self.minutes_ahead[None, :]
        covariance = np.exp(-np.abs(first - second) / DRIFT_MINUTES) - np.exp(
            -(first + second) / DRIFT_MINUTES
        )
        return np.asarray(covariance / (1.0 - np.exp(-2 * REFERENCE_MINUTES / DRIFT_MINUTES)))


def model_weights(forecasts: ModelForecasts, constants: ModelConstants) -> Array:
    """Returns the weight of each model in each window; the weights of a window add up to one."""
    highest_evidence = forecasts.evidence.max(axis=1, keepdims=True)
    log_weights = np.array(constants.log_weights) + constants.likelihood_power * (
        forecasts.evidence - highest_evidence
    )
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
