"""Experts on the wind of the next minutes, and how their opinions are combined.

Each expert takes the one-minute means for a stationary Gaussian process about an unknown level,
with a covariance of its own, s^2 [(1 - share - grain) exp(-|dt| / long) + share exp(-|dt| / short)
+ grain at dt = 0], and predicts by ordinary kriging (Cressie 1993, Statistics for Spatial Data,
section 3.2). How well it explains the minutes at hand is the restricted likelihood of a Gaussian
process with s integrated out (Patterson and Thompson 1971; Rasmussen and Williams 2006, section
2.7). Opinions are averaged as in Bayesian model averaging (Hoeting et al. 1999), the likelihood
raised to a power under one, since no expert is right. So a wind that runs in slow waves is
followed, and one that jumps about its level falls back to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

REST = 3e-5
"""(m/s)^2 a minute that no window is smoother than: the resolution of an anemometer."""
DRIFT = 120.0
"""Minutes over which a level that wanders forgets where it was."""
REFERENCE = 10.0
"""Minutes ahead at which `Constants.drift` and `calm` are the variance."""


@dataclass(frozen=True)
class Kernel:
    """A covariance: time scales in minutes, and the parts of the variance with the short one and
    with none."""

    long: float
    grain: float = 0.0
    short: float = 1.0
    share: float = 0.0

    def __call__(self, one: Array, other: Array) -> Array:
        apart = np.abs(one[:, None] - other[None, :])
        slow = (1.0 - self.share - self.grain) * np.exp(-apart / self.long)
        fast = self.share * np.exp(-apart / self.short)
        return np.asarray(slow + fast + self.grain * (apart < 1e-6))


KERNELS = (
    *(Kernel(long, grain) for long in (10.0, 40.0, 150.0, 1000.0) for grain in (0.0, 0.15, 0.4)),
    Kernel(1000.0, short=1.0, share=0.05),
    Kernel(1000.0, short=2.0, share=0.1),
)


@dataclass(frozen=True)
class Constants:
    """What was fitted: see docs/jobs.md and benchmarks/forecast.py.

    votes: log weight of each kernel before any minute was seen. trust: the power of the likelihood.
    spread: how much of the experts' variance is believed. grain: how much of their grain is
    added. drift, calm: variance (m/s)^2 of a level that wanders, 10 minutes ahead, always and in
    a calm, where it is calm / (1 + mean)^2.
    """

    votes: tuple[float, ...]
    trust: float
    spread: float
    grain: float
    drift: float
    calm: float


@dataclass(frozen=True)
class Opinions:
    """For each window (first axis) and expert (second): means of the minutes ahead, variance of
    its process, log evidence."""

    mean: Array
    variance: Array
    evidence: Array


class Panel:
    """The experts for minutes at `past` and `ahead` (both in minutes), ready for any values."""

    def __init__(self, past: Array, ahead: Array) -> None:
        count = len(past)
        self.count, self.ahead = count, ahead - past[-1]
        inverse, level, weights, shape, constant = [], [], [], [], []
        for kernel in KERNELS:
            solve = np.linalg.inv(kernel(past, past))
            cross = kernel(ahead, past)
            total = float(solve.sum())
            level.append(solve.sum(axis=0) / total)
            direct = cross @ solve
            rest = 1.0 - direct.sum(axis=1)
            weights.append(direct + np.outer(rest, level[-1]))
            shape.append(kernel(ahead, ahead) - direct @ cross.T + np.outer(rest, rest) / total)
            inverse.append(solve)
            constant.append(0.5 * float(np.linalg.slogdet(solve)[1]) - 0.5 * np.log(total))
        self._inverse, self._level = np.array(inverse), np.array(level)
        self._weights, self.shape = np.array(weights), np.array(shape)
        self._constant = np.array(constant)

    def opinions(self, values: Array) -> Opinions:
        """What each expert says to each row of values."""
        centre = values @ self._level.T
        residual = values[:, None, :] - centre[:, :, None]
        solved = np.einsum("njk,jkl->njl", residual, self._inverse)
        quadratic = np.einsum("njl,njl->nj", solved, residual) + REST * self.count
        evidence = self._constant - 0.5 * (self.count - 1) * np.log(quadratic)
        mean = np.einsum("jhk,nk->njh", self._weights, values)
        return Opinions(mean, quadratic / (self.count - 1), evidence)

    def combined(
        self, opinions: Opinions, level: Array, constants: Constants
    ) -> tuple[Array, Array]:
        """Mean (windows, ahead) and covariance (windows, ahead, ahead) of the minutes ahead.

        level: the present mean speed of each window (m/s).
        """
        weight = believed(opinions, constants)
        mean = np.einsum("nj,njh->nh", weight, opinions.mean)
        apart = opinions.mean - mean[:, None, :]
        within = np.einsum("nj,jhi->nhi", weight * opinions.variance, self.shape)
        between = np.einsum("nj,njh,nji->nhi", weight, apart, apart)
        grains = np.array([kernel.grain + kernel.share / 2 for kernel in KERNELS])
        grain = constants.grain * np.einsum("nj,j->n", weight * opinions.variance, grains)
        wander = constants.drift + constants.calm / (1.0 + level) ** 2
        covariance = constants.spread * (within + between)
        covariance += wander[:, None, None] * self._drift()
        return mean, covariance + grain[:, None, None] * np.eye(len(self.ahead))

    def _drift(self) -> Array:
        """An Ornstein-Uhlenbeck process that starts at nought now, of variance 1 at REFERENCE."""
        one, other = self.ahead[:, None], self.ahead[None, :]
        grown = np.exp(-np.abs(one - other) / DRIFT) - np.exp(-(one + other) / DRIFT)
        return np.asarray(grown / (1.0 - np.exp(-2 * REFERENCE / DRIFT)))


def believed(opinions: Opinions, constants: Constants) -> Array:
    """The weight of each expert in each window; the weights of a window add up to one."""
    best = opinions.evidence.max(axis=1, keepdims=True)
    vote = np.array(constants.votes) + constants.trust * (opinions.evidence - best)
    weight = np.exp(vote - vote.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))
