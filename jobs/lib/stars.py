"""The point spread function of a detector from its stars, and the particles that are none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .moments import adaptive_moments, determinant, half_maximum
from .sky import Sky

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Sources = npt.NDArray[np.void]
Places = npt.NDArray[np.int64]

MOST_STARS = 200
FEWEST_STARS = 5
FWHM = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
"""Full width at half maximum of a Gaussian, in its sigmas: 2.3548."""
LEAST_SIGNAL = 15.0
"""Signal to noise of a star's whole light from which on it may stand for the PSF."""
SMALLEST, LARGEST = 7, 20
"""Half the side of a star's stamp, in pixels."""
SHARPER = 0.72
"""A source whose light keeps less than this part of what a star's keeps when it is smoothed is a
particle's track."""
USUAL = 0.75
"""What a star's peak keeps when it is smoothed over 3 x 3 pixels, where there are none to ask."""
SHARPEST_STAR = 0.55
"""What a star of 2 pixels FWHM keeps; a line keeps half."""
NARROWER = 0.75
"""A long source that is this much narrower across than stars are is a track, too."""
BRIGHT_HIT = 8.0
NEIGHBOUR = 0.02
"""The light of a neighbour, to a star's, that would pull at its shape."""
USUAL_SCATTER = 0.006
"""By how much the shapes of stars differ across a detector, of themselves."""
_SMOOTH = np.array([0.25, 0.5, 0.25])
_AT_ONCE = 50
_PLANE = 20
"""Stars that a plane across the field needs."""


@dataclass(frozen=True)
class Psf:
    """The point spread function, from `stars` stars; lengths in pixels.

    `fwhm` is the full width at half maximum of the stacked star, `sigma` the adaptive-moment
    size (det M)^(1/4), a median; e1 = (ixx - iyy) / (ixx + iyy), e2 = 2 ixy / (ixx + iyy), means
    over the stars weighted by their errors; `scatter` is the robust spread of the stars'
    ellipticities; `area` the effective area (sum I)^2 / sum I^2;
    `gradient_x` and `gradient_y` how much 2.3548 sigma grows across the detector, NaN with too
    few stars. `x` and `y` are where the stars are.
    """

    fwhm: float
    sigma: float
    ixx: float
    iyy: float
    ixy: float
    e1: float
    e2: float
    scatter: float
    area: float
    gradient_x: float
    gradient_y: float
    stars: int
    chosen: Places


def measure_psf(sky: Sky, bad: Mask | None, tracks: Mask) -> Psf | None:
    """The PSF from isolated, unsaturated, point-like sources; None with fewer than 5 of them.

    Stars are measured in single pixels, wherever they were found. `tracks` are no stars.
    """
    places, half = _stars(sky, bad, tracks)
    if len(places) < FEWEST_STARS:
        return None
    chosen = sky.sources[places]
    stamps = _stamps(sky.image, chosen, half) - sky.under(chosen)[:, None, None]
    centre = np.stack([chosen["x"] - np.rint(chosen["x"]), chosen["y"] - np.rint(chosen["y"])], 1)
    sigma = float(np.median(np.sqrt(chosen["a"] * chosen["b"])))
    moments, centre, good = adaptive_moments(stamps, centre, sigma)
    if good.any():
        size = determinant(moments) ** 0.25
        usual = float(np.median(size[good]))
        good &= np.abs(size - usual) < 0.25 * usual
    if good.sum() < FEWEST_STARS:
        return None
    return _psf((stamps[good], centre[good]), moments[good], places[good], sky)


def hits(sky: Sky) -> Mask:
    """Which sources are tracks of particles: sharper than the telescope makes anything.

    Smoothing over 3 x 3 pixels leaves most of a star's peak, a quarter of a single pixel's and
    half of a line's; and a line is narrower than a star across.
    """
    sources = sky.sources
    peak, smooth = _peaks(sky)
    kept = smooth / peak
    stellar = _stellar(sky, peak, kept)
    enough = stellar.sum() >= FEWEST_STARS
    usual = float(np.median(kept[stellar])) if enough else USUAL
    # A peak is what noise made of it: by twice the noise less, it still has to be too sharp.
    sure = smooth / np.maximum(peak - 2 * sky.noise, 1e-9)
    sharp = np.maximum(kept, sure) < SHARPER * usual
    if enough:
        width = float(np.median(sources["b"][stellar]))
        sharp |= (sources["b"] < NARROWER * width) & (sources["a"] > 2 * sources["b"])
    return np.asarray(sharp & (peak > BRIGHT_HIT * sky.noise))


def _peaks(sky: Sky) -> tuple[Array, Array]:
    """The highest pixel of each source, and what smoothing over 3 x 3 pixels leaves there."""
    sources, image, size = sky.sources, sky.image, sky.binning
    if size == 1:
        return np.maximum(sources["peak"], 1e-9), np.asarray(sources["cpeak"], np.float64)
    inner = np.arange(size)
    rows = np.clip(sources["ypeak"][:, None] * size + inner, 1, image.shape[0] - 2)
    columns = np.clip(sources["xpeak"][:, None] * size + inner, 1, image.shape[1] - 2)
    tile = image[rows[:, :, None], columns[:, None, :]].reshape(len(sources), -1)
    place = tile.argmax(axis=1) if len(sources) else np.zeros(0, np.int64)
    each = np.arange(len(sources))
    row, column = rows[each, place // size], columns[each, place % size]
    near = np.arange(-1, 2)
    around = image[(row[:, None] + near)[:, :, None], (column[:, None] + near)[:, None, :]]
    smooth = np.einsum("kij,i,j->k", around, _SMOOTH, _SMOOTH)
    under = sky.under(sources)
    return np.maximum(around[:, 1, 1] - under, 1e-9), smooth - under


def _stellar(sky: Sky, peak: Array, kept: Array) -> Mask:
    """Bright, round sources that keep at least as much of their peak as the sharpest stars do."""
    sources = sky.sources
    bright = (sources["flag"] == 0) & (peak > 2 * BRIGHT_HIT * sky.noise)
    return np.asarray(bright & (sources["b"] > 0.7 * sources["a"]) & (kept > SHARPEST_STAR))


def _psf(stack: tuple[Array, Array], moments: Array, places: Places, sky: Sky) -> Psf:
    chosen = sky.sources[places]
    ixx, iyy, ixy = moments.T
    e1, e2 = (ixx - iyy) / (ixx + iyy), 2 * ixy / (ixx + iyy)
    sizes = determinant(moments) ** 0.25
    sigma = float(np.median(sizes))
    weight = _weight(chosen, sigma, sky.noise)
    across, up = _gradient(chosen, sizes * FWHM, sky.image.shape)
    return Psf(
        half_maximum(*stack, sigma), sigma,
        _mean(ixx, weight), _mean(iyy, weight), _mean(ixy, weight),
        _mean(e1, weight), _mean(e2, weight), float(np.hypot(_robust(e1), _robust(e2))),
        _area(stack[0], sky.noise), across, up, len(sizes), places,
    )  # fmt: skip


def _weight(chosen: Sources, sigma: float, noise: float) -> Array:
    """By the error of each star's shape: 2 over its signal to noise, and what stars differ by."""
    flux = np.maximum(chosen["flux"].astype(np.float64), 1e-9)
    error = 4 * (4 * np.pi * (sigma * noise) ** 2 + flux) / flux**2
    return np.asarray(1.0 / (USUAL_SCATTER**2 + error))


def _mean(values: Array, weight: Array) -> float:
    """Weighted mean without those that are far from the median for their errors."""
    away = (values - np.median(values)) * np.sqrt(weight)
    kept = np.abs(away) <= 3 * max(_robust(away), 1e-9)
    return float(np.average(values[kept], weights=weight[kept]))


def _area(stamps: Array, noise: float) -> float:
    """Median over the stars of (sum I)^2 / sum I^2, without what the noise adds to the latter."""
    square = (stamps**2).sum(axis=(1, 2)) - stamps[0].size * noise**2
    known = square > 0
    total = stamps.sum(axis=(1, 2))
    return float(np.median(total[known] ** 2 / square[known])) if known.any() else float("nan")


def _gradient(chosen: Sources, widths: Array, shape: tuple[int, ...]) -> tuple[float, float]:
    """How much the width grows from the left edge to the right, and from the lower to the upper.

    A plane is fitted, once more without the stars that are far from it.
    """
    if len(widths) < _PLANE:
        return float("nan"), float("nan")
    design = np.column_stack(
        (np.ones(len(widths)), chosen["x"] / shape[1] - 0.5, chosen["y"] / shape[0] - 0.5)
    )
    kept = np.ones(len(widths), np.bool_)
    fit: Array = np.zeros(3)
    for _ in range(2):
        fit = np.asarray(np.linalg.lstsq(design[kept], widths[kept], rcond=None)[0], np.float64)
        away = widths - design @ fit
        kept = np.abs(away) <= 4 * max(_robust(away), 1e-9)
        if kept.sum() < _PLANE // 2:
            break
    return float(fit[1]), float(fit[2])


def _stars(sky: Sky, bad: Mask | None, tracks: Mask) -> tuple[Places, int]:
    """The places of the stars to measure, and half the side of their stamps."""
    sources = sky.sources
    size = np.sqrt(sources["a"] * sources["b"])
    signal = sources["flux"] > LEAST_SIGNAL * sky.noise * np.sqrt(4 * np.pi) * np.maximum(size, 0.5)
    usable = signal & (sources["flag"] == 0) & (sources["b"] > 0.45) & ~tracks
    usable &= (sources["b"] > 0.5 * sources["a"]) & (size < LARGEST / 3)
    if not usable.any():
        return np.zeros(0, np.int64), SMALLEST
    typical = _typical(size[usable][:100])
    half = int(np.clip(np.ceil(5 * typical) + 2, SMALLEST, LARGEST))
    rows, columns = sky.image.shape
    x, y = np.rint(sources["x"]), np.rint(sources["y"])
    usable &= (x >= half) & (y >= half) & (x < columns - half) & (y < rows - half)
    usable &= np.abs(size - typical) < 0.3 * typical
    places = np.flatnonzero(usable)[: 2 * MOST_STARS]
    places = places[_alone(sources, places, 4 * typical + 5)]
    if bad is not None:
        places = places[[not _cut(bad, sources[place], half).any() for place in places]]
    return places[:MOST_STARS], half


def _typical(sizes: Array) -> float:
    """The size that most of them have: the middle of the shortest range that holds half of them.

    Blends and galaxies are larger, each in its own way; stars are all alike.
    """
    ordered = np.sort(sizes)
    half = (len(ordered) + 1) // 2
    widths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
    first = int(np.argmin(widths))
    return float(np.median(ordered[first : first + half]))


def _alone(sources: Sources, places: npt.NDArray[np.int64], radius: float) -> Mask:
    """Which have no other source within `radius` pixels that is bright enough to pull at them."""
    alone = np.ones(len(places), np.bool_)
    x, y, flux = (sources[name].astype(np.float32) for name in ("x", "y", "flux"))
    for some in range(0, len(places), _AT_ONCE):
        here = slice(some, some + _AT_ONCE)
        own = places[here, None]
        near = (np.abs(x - x[own]) < radius) & (np.abs(y - y[own]) < radius)
        alone[here] = (near & (flux > NEIGHBOUR * flux[own])).sum(axis=1) == 1
    return alone


def _stamps(image: npt.NDArray[np.float32], chosen: Sources, half: int) -> Array:
    return np.stack([_cut(image, one, half) for one in chosen]).astype(np.float64)


def _cut(image: npt.NDArray[np.generic], one: np.void, half: int) -> npt.NDArray[np.generic]:
    x, y = round(float(one["x"])), round(float(one["y"]))
    return image[y - half : y + half + 1, x - half : x + half + 1]


def _robust(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
