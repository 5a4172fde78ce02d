"""The point spread function of a detector from its stars, and the detection of particle tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .moments import fit_adaptive_moments, measure_half_maximum, moment_determinants
from .sky import SkyMeasurement

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Sources = npt.NDArray[np.void]
Indices = npt.NDArray[np.int64]

MAX_STARS = 200
MIN_STARS = 5
FWHM = float(2.0 * np.sqrt(2.0 * np.log(2.0)))
"""Full width at half maximum of a Gaussian, in its sigmas: 2.3548."""
MIN_SIGNAL_TO_NOISE = 15.0
"""Least signal to noise of a star's total light for the PSF."""
MIN_STAMP_RADIUS, MAX_STAMP_RADIUS = 7, 20
"""Half the side of a star's stamp, in pixels."""
MAX_SMOOTHED_RATIO = 0.72
"""A source that keeps less than this part of what stars keep when smoothed is a particle track."""
DEFAULT_SMOOTHED_RATIO = 0.75
"""The part of a star's peak that smoothing over 3 x 3 pixels keeps, if too few stars show it."""
MIN_STAR_SMOOTHED_RATIO = 0.55
"""What a star of 2 pixels FWHM keeps; a line keeps half."""
MAX_WIDTH_RATIO = 0.75
"""A long source that is narrower than this part of the stars' width is a track, too."""
MIN_COSMIC_RAY_SIGNAL = 8.0
MAX_NEIGHBOUR_FLUX = 0.02
"""The light of a neighbour, relative to a star's, that would distort its shape."""
INTRINSIC_SCATTER = 0.006
"""The intrinsic scatter of stars' shapes across a detector."""
_SMOOTHING_KERNEL = np.array([0.25, 0.5, 0.25])
_CHUNK_SIZE = 50
_MIN_PLANE_STARS = 20
"""Stars that a plane across the field needs."""


@dataclass(frozen=True)
class PsfMeasurement:
    """The point spread function, from `star_count` stars; lengths in pixels.
    `fwhm` is the full width at half maximum of the stacked star, `sigma` the adaptive-moment size
    (det M)^(1/4), a median; e1 = (ixx - iyy) / (ixx + iyy), e2 = 2 ixy / (ixx + iyy), means over
    the stars weighted by their errors; `ellipticity_scatter` is the robust spread of the stars'
    ellipticities; `area` the effective area (sum I)^2 / sum I^2; `gradient_x` and `gradient_y` how
    much 2.3548 sigma grows across the detector, NaN with too few stars. `star_indices` are the
    stars' indices in the sources.
    """

    fwhm: float
    sigma: float
    ixx: float
    iyy: float
    ixy: float
    e1: float
    e2: float
    ellipticity_scatter: float
    area: float
    gradient_x: float
    gradient_y: float
    star_count: int
    star_indices: Indices


def measure_psf(sky: SkyMeasurement, bad: Mask | None, cosmic_rays: Mask) -> PsfMeasurement | None:
    """Measures the PSF from isolated, unsaturated, point-like sources; None with fewer than 5.
    Stars are measured in single pixels, wherever they were found. `cosmic_rays` are no stars.
    """
    indices, radius = _select_stars(sky, bad, cosmic_rays)
    if len(indices) < MIN_STARS:
        return None
    stars = sky.sources[indices]
    stamps = _cut_stamps(sky.image, stars, radius) - sky.sky_under(stars)[:, None, None]
    centre = np.stack([stars["x"] - np.rint(stars["x"]), stars["y"] - np.rint(stars["y"])], 1)
    sigma = float(np.median(np.sqrt(stars["a"] * stars["b"])))
    moments, centre, is_good = fit_adaptive_moments(stamps, centre, sigma)
    if is_good.any():
        size = moment_determinants(moments) ** 0.25
        typical_size = float(np.median(size[is_good]))
        is_good &= np.abs(size - typical_size) < 0.25 * typical_size
    if is_good.sum() < MIN_STARS:
        return None
    return _build_psf((stamps[is_good], centre[is_good]), moments[is_good], indices[is_good], sky)


def find_cosmic_rays(sky: SkyMeasurement) -> Mask:
    """Returns which sources are particle tracks: sharper than any image of the telescope.
    Smoothing over 3 x 3 pixels leaves most of a star's peak, a quarter of a single pixel's and half
    of a line's; and a line is narrower than a star across.
    """
    sources = sky.sources
    peak, smooth = _measure_peaks(sky)
    smoothed_ratio = smooth / peak
    star_like = _select_star_like(sky, peak, smoothed_ratio)
    has_enough_stars = star_like.sum() >= MIN_STARS
    typical_ratio = (
        float(np.median(smoothed_ratio[star_like])) if has_enough_stars else DEFAULT_SMOOTHED_RATIO
    )
    # Noise raises peaks: even with twice the noise less, the peak has to be too sharp.
    certain_ratio = smooth / np.maximum(peak - 2 * sky.noise, 1e-9)
    is_sharp = np.maximum(smoothed_ratio, certain_ratio) < MAX_SMOOTHED_RATIO * typical_ratio
    if has_enough_stars:
        width = float(np.median(sources["b"][star_like]))
        is_sharp |= (sources["b"] < MAX_WIDTH_RATIO * width) & (sources["a"] > 2 * sources["b"])
    return np.asarray(is_sharp & (peak > MIN_COSMIC_RAY_SIGNAL * sky.noise))


def _measure_peaks(sky: SkyMeasurement) -> tuple[Array, Array]:
    """Returns each source's highest pixel, and what smoothing over 3 x 3 pixels leaves there."""
    sources, image, binning = sky.sources, sky.image, sky.binning
    if binning == 1:
        return np.maximum(sources["peak"], 1e-9), np.asarray(sources["cpeak"], np.float64)
    pixel_offsets = np.arange(binning)
    rows = np.clip(sources["ypeak"][:, None] * binning + pixel_offsets, 1, image.shape[0] - 2)
    columns = np.clip(sources["xpeak"][:, None] * binning + pixel_offsets, 1, image.shape[1] - 2)
    tile = image[rows[:, :, None], columns[:, None, :]].reshape(len(sources), -1)
    peak_index = tile.argmax(axis=1) if len(sources) else np.zeros(0, np.int64)
    indices = np.arange(len(sources))
    row, column = rows[indices, peak_index // binning], columns[indices, peak_index % binning]
    neighbour_offsets = np.arange(-1, 2)
    neighbourhood = image[
        (row[:, None] + neighbour_offsets)[:, :, None],
        (column[:, None] + neighbour_offsets)[:, None, :],
    ]
    smooth = np.einsum("kij,i,j->k", neighbourhood, _SMOOTHING_KERNEL, _SMOOTHING_KERNEL)
    background = sky.sky_under(sources)
    return np.maximum(neighbourhood[:, 1, 1] - background, 1e-9), smooth - background


def _select_star_like(sky: SkyMeasurement, peak: Array, smoothed_ratio: Array) -> Mask:
    """Returns bright, round sources that keep as much of their peak as the sharpest stars do."""
    sources = sky.sources
    is_bright = (sources["flag"] == 0) & (peak > 2 * MIN_COSMIC_RAY_SIGNAL * sky.noise)
    return np.asarray(
        is_bright & (sources["b"] > 0.7 * sources["a"]) & (smoothed_ratio > MIN_STAR_SMOOTHED_RATIO)
    )


def _build_psf(
    stamps_and_centres: tuple[Array, Array], moments: Array, indices: Indices, sky: SkyMeasurement
) -> PsfMeasurement:
    stars = sky.sources[indices]
    ixx, iyy, ixy = moments.T
    e1, e2 = (ixx - iyy) / (ixx + iyy), 2 * ixy / (ixx + iyy)
    sizes = moment_determinants(moments) ** 0.25
    sigma = float(np.median(sizes))
    weight = _star_weights(stars, sigma, sky.noise)
    gradient_x, gradient_y = _fit_gradient(stars, sizes * FWHM, sky.image.shape)
    return PsfMeasurement(
        measure_half_maximum(*stamps_and_centres, sigma),
        sigma,
        _clipped_mean(ixx, weight),
        _clipped_mean(iyy, weight),
        _clipped_mean(ixy, weight),
        _clipped_mean(e1, weight),
        _clipped_mean(e2, weight),
        float(np.hypot(_robust_sigma(e1), _robust_sigma(e2))),
        _effective_area(stamps_and_centres[0], sky.noise),
        gradient_x,
        gradient_y,
        len(sizes),
        indices,
    )


def _star_weights(stars: Sources, sigma: float, noise: float) -> Array:
    """Returns weights by the error of each shape: 2 over signal to noise, and intrinsic scatter."""
    flux = np.maximum(stars["flux"].astype(np.float64), 1e-9)
    error = 4 * (4 * np.pi * (sigma * noise) ** 2 + flux) / flux**2
    return np.asarray(1.0 / (INTRINSIC_SCATTER**2 + error))


def _clipped_mean(values: Array, weight: Array) -> float:
    """Returns the weighted mean without outliers relative to their errors."""
    scaled_deviations = (values - np.median(values)) * np.sqrt(weight)
    is_kept = np.abs(scaled_deviations) <= 3 * max(_robust_sigma(scaled_deviations), 1e-9)
    return float(np.average(values[is_kept], weights=weight[is_kept]))


def _effective_area(stamps: Array, noise: float) -> float:
    """Returns the stars' median of (sum I)^2 / sum I^2, the latter without the noise's part."""
    square = (stamps**2).sum(axis=(1, 2)) - stamps[0].size * noise**2
    is_positive = square > 0
    total = stamps.sum(axis=(1, 2))
    return (
        float(np.median(total[is_positive] ** 2 / square[is_positive]))
        if is_positive.any()
        else float("nan")
    )


def _fit_gradient(stars: Sources, widths: Array, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns the width's increase from left edge to right, and from lower to upper.
    A plane is fitted, once more without the stars that are far from it.
    """
    if len(widths) < _MIN_PLANE_STARS:
        return float("nan"), float("nan")
    design = np.column_stack(
        (np.ones(len(widths)), stars["x"] / shape[1] - 0.5, stars["y"] / shape[0] - 0.5)
    )
    is_kept = np.ones(len(widths), np.bool_)
    fit: Array = np.zeros(3)
    for _ in range(2):
        fit = np.asarray(
            np.linalg.lstsq(design[is_kept], widths[is_kept], rcond=None)[0], np.float64
        )
        residuals = widths - design @ fit
        is_kept = np.abs(residuals) <= 4 * max(_robust_sigma(residuals), 1e-9)
        if is_kept.sum() < _MIN_PLANE_STARS // 2:
            break
    return float(fit[1]), float(fit[2])


def _select_stars(sky: SkyMeasurement, bad: Mask | None, cosmic_rays: Mask) -> tuple[Indices, int]:
    """Returns the indices of the stars to measure, and half the side of their stamps."""
    sources = sky.sources
    sizes = np.sqrt(sources["a"] * sources["b"])
    is_significant = sources["flux"] > MIN_SIGNAL_TO_NOISE * sky.noise * np.sqrt(
        4 * np.pi
    ) * np.maximum(sizes, 0.5)
    is_usable = is_significant & (sources["flag"] == 0) & (sources["b"] > 0.45) & ~cosmic_rays
    is_usable &= (sources["b"] > 0.5 * sources["a"]) & (sizes < MAX_STAMP_RADIUS / 3)
    if not is_usable.any():
        return np.zeros(0, np.int64), MIN_STAMP_RADIUS
    typical_size = _typical_size(sizes[is_usable][:100])
    radius = int(np.clip(np.ceil(5 * typical_size) + 2, MIN_STAMP_RADIUS, MAX_STAMP_RADIUS))
    rows, columns = sky.image.shape
    x, y = np.rint(sources["x"]), np.rint(sources["y"])
    is_usable &= (x >= radius) & (y >= radius) & (x < columns - radius) & (y < rows - radius)
    is_usable &= np.abs(sizes - typical_size) < 0.3 * typical_size
    indices = np.flatnonzero(is_usable)[: 2 * MAX_STARS]
    indices = indices[_find_isolated(sources, indices, 4 * typical_size + 5)]
    if bad is not None:
        indices = indices[[not _cut_stamp(bad, sources[index], radius).any() for index in indices]]
    return indices[:MAX_STARS], radius


def _typical_size(sizes: Array) -> float:
    """Returns the most common size: the median of the shortest range that holds half of them.
    Blends and galaxies are larger, each in its own way; stars are all alike.
    """
    ordered = np.sort(sizes)
    half_count = (len(ordered) + 1) // 2
    widths = ordered[half_count - 1 :] - ordered[: len(ordered) - half_count + 1]
    first = int(np.argmin(widths))
    return float(np.median(ordered[first : first + half_count]))


def _find_isolated(sources: Sources, indices: npt.NDArray[np.int64], radius: float) -> Mask:
    """Returns which have no other source within `radius` pixels that is bright enough to matter."""
    is_isolated = np.ones(len(indices), np.bool_)
    x, y, flux = (sources[name].astype(np.float32) for name in ("x", "y", "flux"))
    for start in range(0, len(indices), _CHUNK_SIZE):
        chunk = slice(start, start + _CHUNK_SIZE)
        own_indices = indices[chunk, None]
        is_near = (np.abs(x - x[own_indices]) < radius) & (np.abs(y - y[own_indices]) < radius)
        is_isolated[chunk] = (is_near & (flux > MAX_NEIGHBOUR_FLUX * flux[own_indices])).sum(
            axis=1
        ) == 1
    return is_isolated


def _cut_stamps(image: npt.NDArray[np.float32], stars: Sources, radius: int) -> Array:
    return np.stack([_cut_stamp(image, star, radius) for star in stars]).astype(np.float64)


def _cut_stamp(
    image: npt.NDArray[np.generic], star: np.void, radius: int
) -> npt.NDArray[np.generic]:
    x, y = round(float(star["x"])), round(float(star["y"]))
    return image[y - radius : y + radius + 1, x - radius : x + radius + 1]


def _robust_sigma(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
