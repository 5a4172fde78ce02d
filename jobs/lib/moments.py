"""The shape of stars: adaptive moments, and the width at half of the peak.
Adaptive moments (Bernstein and Jarvis 2002; Hirata and Seljak 2003, section 2.3) are the moments
under an elliptical Gaussian weight of the same size and shape as the star.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAX_ITERATIONS = 40
MAX_CHANGE = 1e-3
"""Pixels squared by which moments change at most in the last iteration."""
_FLOOR = 1e-12
_FIT_ITERATIONS = 6
_MAX_RADIUS_SQUARED = 7.0
"""Squared radius, in sigma^2, beyond which no star has a fifth of its peak left."""


def fit_adaptive_moments(
    stamps: Array, centre: Array, sigma: float, max_iterations: int = MAX_ITERATIONS
) -> tuple[Array, Array, Mask]:
    """Fits adaptive moments of all stars at once, starting from round Gaussians of `sigma` pixels.
    Returns moments (n, 3) as ixx, iyy, ixy in pixels^2, centres (n, 2) as x, y from the middle of
    the stamp, and which of them converged. With C the moments under the weight exp(-x M^-1 x / 2),
    the next M is (C^-1 - M^-1)^-1, which a Gaussian reaches at once.
    """
    moments = np.tile([sigma**2, sigma**2, 0.0], (len(stamps), 1))
    centre = centre.copy()
    has_converged = np.ones(len(stamps), np.bool_)
    change = np.full(len(stamps), np.inf)
    active = np.arange(len(stamps))
    for _ in range(max_iterations):
        new_moments, shift, is_valid = _iterate_moments(
            stamps[active], centre[active], moments[active]
        )
        has_converged[active] = is_valid
        change[active] = np.abs(new_moments - moments[active]).max(axis=1) + np.abs(shift).max(
            axis=1
        )
        moments[active] = np.where(is_valid[:, None], new_moments, sigma**2)
        centre[active] += np.where(is_valid[:, None], 2 * shift, 0.0)
        # Those that have converged, or never will, need no further iteration.
        active = active[is_valid & (change[active] > MAX_CHANGE)]
        if not active.size:
            break
    return moments, centre, has_converged & (change < 10 * MAX_CHANGE)


def _iterate_moments(stamps: Array, centre: Array, moments: Array) -> tuple[Array, Array, Mask]:
    weighted, shift = _weighted_moments(stamps, centre, moments)
    new_moments = invert_moments(invert_moments(weighted) - invert_moments(moments))
    max_moment = (stamps.shape[1] // 2) ** 2
    is_valid = (
        (moment_determinants(weighted) > 0)
        & (new_moments[:, 0] > 0.05)
        & (moment_determinants(new_moments) > 1e-3)
    )
    is_valid &= (
        (new_moments[:, 0] < max_moment)
        & (new_moments[:, 1] < max_moment)
        & np.isfinite(new_moments).all(axis=1)
    )
    return new_moments, shift, is_valid & (np.abs(shift).max(axis=1) < 3.0)


def _weighted_moments(stamps: Array, centre: Array, moments: Array) -> tuple[Array, Array]:
    """Returns second moments under the weight, and the shift of the weighted centre."""
    axis = pixel_offsets(stamps)
    dx, dy = axis[None, :] - centre[:, :1], axis[None, :] - centre[:, 1:]
    inverse = invert_moments(moments)
    exponent = (2 * inverse[:, 2, None] * dy)[:, :, None] * dx[:, None, :]
    exponent += (inverse[:, 0, None] * dx**2)[:, None, :]
    exponent += (inverse[:, 1, None] * dy**2)[:, :, None]
    product = np.exp(-0.5 * np.clip(exponent, -50.0, 100.0))
    product *= stamps
    column_sums, row_sums = product.sum(axis=1), product.sum(axis=2)
    total = column_sums.sum(axis=1)
    total = np.where(np.abs(total) > _FLOOR, total, np.nan)
    cross = (np.einsum("kij,kj->ki", product, dx) * dy).sum(axis=1)
    shift = np.stack([(column_sums * dx).sum(axis=1), (row_sums * dy).sum(axis=1)], axis=1)
    second = np.stack(
        [(column_sums * dx**2).sum(axis=1), (row_sums * dy**2).sum(axis=1), cross], axis=1
    )
    return np.nan_to_num(second / total[:, None]), np.nan_to_num(shift / total[:, None])


def measure_half_maximum(stamps: Array, centre: Array, sigma: float) -> float:
    """Returns the full width (pixels) at half of the peak of the star stacked from all stamps.
    Pixels of all stars, each scaled to its own light, against their distance r from the centre: I =
    exp(a + b r^2 + c r^4 + d r^6) is fitted to those within the radius of a fifth of the peak, each
    weighted by its signal to noise, and solved for I(r) = I(0) / 2. Exact for a Gaussian; the width
    includes that of a pixel. NaN if the profile never falls to a half.
    """
    radius_squared, brightness, weight = _radial_profile(stamps, centre, sigma)
    coefficients = np.array([0.0, -0.5, 0.0, 0.0])
    for _ in range(_FIT_ITERATIONS):
        # The fit decides what is above a fifth, since noise would select its own pixels.
        model = np.exp(np.minimum(np.polyval(coefficients[::-1], radius_squared), 3.0))
        is_used = model > 0.2 * np.exp(min(coefficients[0], 3.0))
        if is_used.sum() < 4 * len(coefficients):
            return float("nan")
        scale = weight[is_used] * model[is_used]
        design = (
            np.vander(radius_squared[is_used], len(coefficients), increasing=True) * scale[:, None]
        )
        step = np.linalg.lstsq(
            design, (brightness[is_used] - model[is_used]) * weight[is_used], rcond=None
        )[0]
        coefficients = coefficients + step
    return float(2.0 * sigma * _half_maximum_radius(coefficients) ** 0.5)


def _radial_profile(stamps: Array, centre: Array, sigma: float) -> tuple[Array, Array, Array]:
    """Returns squared distances (in sigma^2), light and weights of the pixels near the stars."""
    axis = pixel_offsets(stamps)
    dx, dy = axis[None, :] - centre[:, :1], axis[None, :] - centre[:, 1:]
    square = (dx[:, None, :] ** 2 + dy[:, :, None] ** 2) / sigma**2
    x_profile, y_profile = np.exp(-(dx**2) / (2 * sigma**2)), np.exp(-(dy**2) / (2 * sigma**2))
    flux = np.einsum("kij,ki,kj->k", stamps, y_profile, x_profile)
    flux /= np.maximum((y_profile**2).sum(axis=1) * (x_profile**2).sum(axis=1), _FLOOR)
    has_flux = flux > _FLOOR
    is_near = (square < _MAX_RADIUS_SQUARED) & has_flux[:, None, None]
    brightness = stamps / np.where(has_flux, flux, 1.0)[:, None, None]
    weight = np.broadcast_to((flux / max(float(flux.max()), _FLOOR))[:, None, None], stamps.shape)
    return square[is_near], brightness[is_near], weight[is_near]


def _half_maximum_radius(coefficients: Array) -> float:
    """Returns the smallest r^2 at which the profile is half of its centre; NaN if there is none."""
    radii_squared = np.linspace(0.0, _MAX_RADIUS_SQUARED, 701)
    difference = np.polyval(coefficients[::-1], radii_squared) - coefficients[0] + np.log(2.0)
    crossing = int(np.argmax(difference < 0))
    if not crossing:
        return float("nan")
    fraction = difference[crossing - 1] / (difference[crossing - 1] - difference[crossing])
    return float(
        radii_squared[crossing - 1]
        + fraction * (radii_squared[crossing] - radii_squared[crossing - 1])
    )


def pixel_offsets(stamps: Array) -> Array:
    """Returns the pixel offsets of a stamp along one side, from its middle."""
    radius = stamps.shape[1] // 2
    return np.arange(-radius, radius + 1, dtype=np.float64)


def moment_determinants(moments: Array) -> Array:
    """Returns the determinants of moments (n, 3) as ixx, iyy, ixy."""
    return np.asarray(moments[:, 0] * moments[:, 1] - moments[:, 2] ** 2)


def invert_moments(moments: Array) -> Array:
    """Returns the inverses of moments (n, 3), in the same form; 0 if there is none."""
    determinants = moment_determinants(moments)
    safe = np.where(np.abs(determinants) > _FLOOR, determinants, np.nan)
    return np.nan_to_num(
        np.stack([moments[:, 1], moments[:, 0], -moments[:, 2]], axis=1) / safe[:, None]
    )
