"""The shape of stars: adaptive moments, and the width at half of the peak.

Adaptive moments (Bernstein and Jarvis 2002; Hirata and Seljak 2003, section 2.3) are the moments
under an elliptical Gaussian weight of the same size and shape as the star.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ROUNDS = 40
CLOSE = 1e-3
"""Pixels squared by which moments change at most in the last round."""
_FLOOR = 1e-12
_STEPS = 6
_NEAR = 7.0
"""Squared radius, in sigma^2, beyond which no star has a fifth of its peak left."""


def adaptive_moments(
    stamps: Array, centre: Array, sigma: float, rounds: int = ROUNDS
) -> tuple[Array, Array, Mask]:
    """Adaptive moments of all stamps at once, starting from round Gaussians of `sigma` pixels.

    Returns moments (n, 3) as ixx, iyy, ixy in pixels^2, centres (n, 2) as x, y from the middle of
    the stamp, and which of them converged. With C the moments under the weight exp(-x M^-1 x / 2),
    the next M is (C^-1 - M^-1)^-1, which a Gaussian reaches at once.
    """
    m = np.tile([sigma**2, sigma**2, 0.0], (len(stamps), 1))
    centre = centre.copy()
    good = np.ones(len(stamps), np.bool_)
    change = np.full(len(stamps), np.inf)
    going = np.arange(len(stamps))
    for _ in range(rounds):
        new, shift, sound = _next(stamps[going], centre[going], m[going])
        good[going] = sound
        change[going] = np.abs(new - m[going]).max(axis=1) + np.abs(shift).max(axis=1)
        m[going] = np.where(sound[:, None], new, sigma**2)
        centre[going] += np.where(sound[:, None], 2 * shift, 0.0)
        # Those that have arrived, or never will, need no further round.
        going = going[sound & (change[going] > CLOSE)]
        if not going.size:
            break
    return m, centre, good & (change < 10 * CLOSE)


def _next(stamps: Array, centre: Array, m: Array) -> tuple[Array, Array, Mask]:
    weighted, shift = _weighted(stamps, centre, m)
    new = inverse(inverse(weighted) - inverse(m))
    largest = (stamps.shape[1] // 2) ** 2
    sound = (determinant(weighted) > 0) & (new[:, 0] > 0.05) & (determinant(new) > 1e-3)
    sound &= (new[:, 0] < largest) & (new[:, 1] < largest) & np.isfinite(new).all(axis=1)
    return new, shift, sound & (np.abs(shift).max(axis=1) < 3.0)


def _weighted(stamps: Array, centre: Array, m: Array) -> tuple[Array, Array]:
    """Second moments under the weight, and how far the weighted centre is from the present one."""
    axis = offsets(stamps)
    dx, dy = axis[None, :] - centre[:, :1], axis[None, :] - centre[:, 1:]
    back = inverse(m)
    form = (2 * back[:, 2, None] * dy)[:, :, None] * dx[:, None, :]
    form += (back[:, 0, None] * dx**2)[:, None, :]
    form += (back[:, 1, None] * dy**2)[:, :, None]
    product = np.exp(-0.5 * np.clip(form, -50.0, 100.0))
    product *= stamps
    along, up = product.sum(axis=1), product.sum(axis=2)
    total = along.sum(axis=1)
    total = np.where(np.abs(total) > _FLOOR, total, np.nan)
    cross = (np.einsum("kij,kj->ki", product, dx) * dy).sum(axis=1)
    shift = np.stack([(along * dx).sum(axis=1), (up * dy).sum(axis=1)], axis=1)
    second = np.stack([(along * dx**2).sum(axis=1), (up * dy**2).sum(axis=1), cross], axis=1)
    return np.nan_to_num(second / total[:, None]), np.nan_to_num(shift / total[:, None])


def half_maximum(stamps: Array, centre: Array, sigma: float) -> float:
    """Full width (pixels) at half of the peak of the star stacked from all stamps.

    Pixels of all stars, each scaled to its own light, against their distance r from the centre:
    I = exp(a + b r^2 + c r^4 + d r^6) is fitted to those within the radius of a fifth of the peak,
    each weighted by its signal to noise, and solved for I(r) = I(0) / 2. Exact for a Gaussian;
    the width includes that of a pixel. NaN where the profile never falls to a half.
    """
    rr, level, weight = _profile(stamps, centre, sigma)
    x = np.array([0.0, -0.5, 0.0, 0.0])
    for _ in range(_STEPS):
        # What is above a fifth is decided by the fit, since noise would choose its own pixels.
        model = np.exp(np.minimum(np.polyval(x[::-1], rr), 3.0))
        use = model > 0.2 * np.exp(min(x[0], 3.0))
        if use.sum() < 4 * len(x):
            return float("nan")
        scale = weight[use] * model[use]
        design = np.vander(rr[use], len(x), increasing=True) * scale[:, None]
        step = np.linalg.lstsq(design, (level[use] - model[use]) * weight[use], rcond=None)[0]
        x = x + step
    return float(2.0 * sigma * _half(x) ** 0.5)


def _profile(stamps: Array, centre: Array, sigma: float) -> tuple[Array, Array, Array]:
    """Squared distances (in sigma^2) and light of the pixels near the stars, and their weights."""
    axis = offsets(stamps)
    dx, dy = axis[None, :] - centre[:, :1], axis[None, :] - centre[:, 1:]
    square = (dx[:, None, :] ** 2 + dy[:, :, None] ** 2) / sigma**2
    across, up = np.exp(-(dx**2) / (2 * sigma**2)), np.exp(-(dy**2) / (2 * sigma**2))
    flux = np.einsum("kij,ki,kj->k", stamps, up, across)
    flux /= np.maximum((up**2).sum(axis=1) * (across**2).sum(axis=1), _FLOOR)
    known = flux > _FLOOR
    near = (square < _NEAR) & known[:, None, None]
    level = stamps / np.where(known, flux, 1.0)[:, None, None]
    weight = np.broadcast_to((flux / max(float(flux.max()), _FLOOR))[:, None, None], stamps.shape)
    return square[near], level[near], weight[near]


def _half(x: Array) -> float:
    """The smallest r^2 at which the profile is half of its middle; NaN where there is none."""
    at = np.linspace(0.0, _NEAR, 701)
    away = np.polyval(x[::-1], at) - x[0] + np.log(2.0)
    below = int(np.argmax(away < 0))
    if not below:
        return float("nan")
    part = away[below - 1] / (away[below - 1] - away[below])
    return float(at[below - 1] + part * (at[below] - at[below - 1]))


def offsets(stamps: Array) -> Array:
    """Pixels of a stamp along one side, counted from its middle."""
    half = stamps.shape[1] // 2
    return np.arange(-half, half + 1, dtype=np.float64)


def determinant(m: Array) -> Array:
    """Of moments (n, 3) as ixx, iyy, ixy."""
    return np.asarray(m[:, 0] * m[:, 1] - m[:, 2] ** 2)


def inverse(m: Array) -> Array:
    """Of moments (n, 3), in the same form; nought where there is none."""
    found = determinant(m)
    safe = np.where(np.abs(found) > _FLOOR, found, np.nan)
    return np.nan_to_num(np.stack([m[:, 1], m[:, 0], -m[:, 2]], axis=1) / safe[:, None])
