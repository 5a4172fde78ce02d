"""Sky, sources and the point spread function of one detector's image.

Sky and sources: SExtractor's algorithms as `sep` has them (Bertin and Arnouts 1996; Barbary 2016).
Shapes: adaptive moments (Bernstein and Jarvis 2002; Hirata and Seljak 2003, section 2.3), the
moments under an elliptical Gaussian weight of the same size and shape as the star.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sep

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SIGMAS = 5.0
MOST_STARS = 200
FEWEST_STARS = 5
BOX = 64
FWHM = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
"""Full width at half maximum of a Gaussian, in its sigmas: 2.3548."""
HALF = 15
"""Stamps are 31 x 31 pixels."""
MOST_SOURCES = 20_000
_AXIS = np.arange(-HALF, HALF + 1, dtype=np.float64)


@dataclass(frozen=True)
class Sky:
    """The sky's median level and the noise of one pixel about it, in the image's unit."""

    level: float
    noise: float
    image: Image


@dataclass(frozen=True)
class Psf:
    """The point spread function, from `stars` stars; lengths in pixels.

    `fwhm` is the full width at half maximum of the stacked star, `sigma` the adaptive-moment
    size (det M)^(1/4); e1 = (ixx - iyy) / (ixx + iyy), e2 = 2 ixy / (ixx + iyy), medians over the
    stars; `scatter` is the robust spread of the stars' ellipticities.
    """

    fwhm: float
    sigma: float
    ixx: float
    iyy: float
    ixy: float
    e1: float
    e2: float
    scatter: float
    stars: int


def measure_sky(image: Image, bad: Mask) -> Sky | None:
    """The sky below the sources; None where hardly a good pixel is left."""
    if (~bad).sum() < max(100, 0.05 * bad.size):
        return None
    pixels = np.ascontiguousarray(np.where(bad, 0.0, image), dtype=np.float32)
    box = int(np.clip(max(image.shape) // 4, 16, BOX if max(image.shape) <= 1024 else 256))
    background = sep.Background(pixels, mask=bad, bw=box, bh=box)
    surface = background.back()
    return Sky(float(background.globalback), float(background.globalrms), pixels - surface)


def find_sources(sky: Sky, bad: Mask) -> npt.NDArray[np.void]:
    """Everything that stands 5 sigma above the sky, as `sep`'s table, brightest first."""
    sep.set_extract_pixstack(1_000_000)
    noise = max(sky.noise, 1e-6)
    found = sep.extract(sky.image, SIGMAS, err=noise, mask=bad, minarea=5)
    return np.asarray(found[np.argsort(-found["flux"])][:MOST_SOURCES])


def measure_psf(sky: Sky, bad: Mask, sources: npt.NDArray[np.void]) -> Psf | None:
    """The PSF from isolated, unsaturated, point-like sources; None with fewer than 5 of them."""
    chosen = _stars(sky, bad, sources)
    if len(chosen) < FEWEST_STARS:
        return None
    stamps = np.stack([_stamp(sky.image, one) for one in chosen])
    centre = np.stack([_offset(one) for one in chosen])
    sigma = float(np.median(np.sqrt(chosen["a"] * chosen["b"])))
    moments, centre, good = adaptive_moments(stamps, centre, sigma)
    if good.sum() < FEWEST_STARS:
        return None
    moments, centre, stamps = moments[good], centre[good], stamps[good]
    ixx, iyy, ixy = moments.T
    e1, e2 = (ixx - iyy) / (ixx + iyy), 2 * ixy / (ixx + iyy)
    size = np.median((ixx * iyy - ixy**2) ** 0.25)
    return Psf(
        half_maximum(stamps, centre, float(size)), float(size),
        float(np.median(ixx)), float(np.median(iyy)), float(np.median(ixy)),
        float(np.median(e1)), float(np.median(e2)), float(np.hypot(_robust(e1), _robust(e2))),
        int(good.sum()),
    )  # fmt: skip


def adaptive_moments(
    stamps: Array, centre: Array, sigma: float, rounds: int = 40
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
    for _ in range(rounds):
        weighted, shift = _weighted_moments(stamps, centre, m)
        new = _inverse(_inverse(weighted) - _inverse(m))
        sound = (_determinant(weighted) > 0) & (new[:, 0] > 0.05) & (_determinant(new) > 1e-3)
        sound &= (new[:, 0] < HALF**2) & (new[:, 1] < HALF**2) & np.isfinite(new).all(axis=1)
        good &= sound & (np.abs(shift).max(axis=1) < 3.0)
        new = np.where(good[:, None], new, [sigma**2, sigma**2, 0.0])
        change = np.abs(new - m).max(axis=1) + np.abs(shift).max(axis=1)
        centre = np.where(good[:, None], centre + 2 * shift, 0.0)
        m = new
        if not good.any() or change[good].max() < 1e-4:
            break
    return m, centre, good & (change < 1e-2)


def half_maximum(stamps: Array, centre: Array, sigma: float) -> float:
    """Full width (pixels) at half of the peak of the star stacked from all stamps.

    Pixels of all stars, each scaled to its own flux, against their distance r from the centre:
    ln I = a + b r^2 + c r^4 is fitted to those above a quarter of the peak, weighted by I^2, and
    solved for I(r) = I(0) / 2. Exact for a Gaussian; the width includes that of a pixel.
    """
    dx = _AXIS[None, None, :] - centre[:, 0, None, None]
    dy = _AXIS[None, :, None] - centre[:, 1, None, None]
    square = dx**2 + dy**2
    weight = np.exp(-square / (2 * sigma**2))
    flux = (stamps * weight).sum(axis=(1, 2)) / (weight**2).sum(axis=(1, 2))
    level = stamps / flux[:, None, None]
    x = np.zeros(3)
    for _ in range(3):
        # What is above a quarter is decided by the fit, since noise would choose its own pixels.
        bright = _profile(square, x, sigma) > 0.25
        use = bright & (level > 0.02)
        rr, values = square[use] / sigma**2, level[use]
        design = np.column_stack((np.ones_like(rr), rr, rr**2)) * values[:, None]
        x = np.linalg.lstsq(design, np.log(values) * values, rcond=None)[0]
    return 2.0 * sigma * float(np.sqrt(_half(x[1], x[2])))


def _profile(square: Array, x: Array, sigma: float) -> Array:
    if not x.any():
        return np.asarray(np.exp(-square / (2 * sigma**2)))
    rr = square / sigma**2
    inner = rr < 6.0
    return np.asarray(np.where(inner, np.exp(x[1] * rr + x[2] * np.minimum(rr, 6.0) ** 2), 0.0))


def _half(b: float, c: float) -> float:
    """The smaller root u > 0 of b u + c u^2 = -ln 2."""
    inside = b * b - 4 * c * np.log(2.0)
    if abs(c) < 1e-9 or inside < 0:
        return float(np.log(2.0) / -b) if b < 0 else float("nan")
    roots = np.array([(-b - np.sqrt(inside)) / (2 * c), (-b + np.sqrt(inside)) / (2 * c)])
    roots = roots[roots > 0]
    return float(roots.min()) if len(roots) else float("nan")


def _stars(sky: Sky, bad: Mask, sources: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    rows, columns = sky.image.shape
    x, y = np.rint(sources["x"]), np.rint(sources["y"])
    inside = (x >= HALF) & (y >= HALF) & (x < columns - HALF) & (y < rows - HALF)
    usable = inside & (sources["flag"] == 0) & (sources["flux"] > 30 * sky.noise)
    size = np.sqrt(sources["a"] * sources["b"])
    usable &= (sources["b"] > 0.5) & (size < HALF / 3)
    if not usable.any():
        return sources[:0]
    typical = float(np.median(size[usable][:50]))
    usable &= (np.abs(size - typical) < 0.3 * typical) & (sources["b"] > 0.5 * sources["a"])
    candidates = sources[usable & _alone(sources, 4 * typical + 5)]
    clean = [one for one in candidates[: 2 * MOST_STARS] if not _stamp(bad, one).any()]
    return np.array(clean[:MOST_STARS], dtype=sources.dtype)


def _alone(sources: npt.NDArray[np.void], radius: float) -> Mask:
    """Which sources have no other within `radius` pixels that is as bright as a tenth of them."""
    alone = np.ones(len(sources), np.bool_)
    x, y, flux = sources["x"], sources["y"], sources["flux"]
    for i in range(min(len(sources), 5 * MOST_STARS)):
        near = (np.abs(x - x[i]) < radius) & (np.abs(y - y[i]) < radius) & (flux > 0.1 * flux[i])
        alone[i] = near.sum() == 1
    alone[5 * MOST_STARS :] = False
    return alone


def _stamp(image: npt.NDArray[np.generic], one: np.void) -> Array:
    x, y = round(float(one["x"])), round(float(one["y"]))
    cut = image[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1]
    return np.asarray(cut, dtype=np.float64)


def _offset(one: np.void) -> Array:
    x, y = float(one["x"]), float(one["y"])
    return np.array([x - round(x), y - round(y)])


def _weighted_moments(stamps: Array, centre: Array, m: Array) -> tuple[Array, Array]:
    dx = _AXIS[None, None, :] - centre[:, 0, None, None]
    dy = _AXIS[None, :, None] - centre[:, 1, None, None]
    inverse = _inverse(m)[:, :, None, None]
    form = inverse[:, 0] * dx**2 + inverse[:, 1] * dy**2 + 2 * inverse[:, 2] * dx * dy
    product = stamps * np.exp(-0.5 * np.minimum(form, 50.0))
    total = product.sum(axis=(1, 2))
    total = np.where(np.abs(total) > 1e-12, total, np.nan)
    shift = np.stack([(product * dx).sum(axis=(1, 2)), (product * dy).sum(axis=(1, 2))], axis=1)
    second = np.stack(
        [(product * dx * dx).sum(axis=(1, 2)), (product * dy * dy).sum(axis=(1, 2)),
         (product * dx * dy).sum(axis=(1, 2))], axis=1,
    )  # fmt: skip
    return np.nan_to_num(second / total[:, None]), np.nan_to_num(shift / total[:, None])


def _determinant(m: Array) -> Array:
    return np.asarray(m[:, 0] * m[:, 1] - m[:, 2] ** 2)


def _inverse(m: Array) -> Array:
    determinant = _determinant(m)
    safe = np.where(np.abs(determinant) > 1e-12, determinant, np.nan)
    return np.nan_to_num(np.stack([m[:, 1], m[:, 0], -m[:, 2]], axis=1) / safe[:, None])


def _robust(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
