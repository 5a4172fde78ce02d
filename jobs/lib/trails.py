"""Detects the straight trail of a satellite or a meteor through a detector, however faint.
A Hough transform (Duda and Hart 1972) of the blocks above the sky. A trail too faint to be visible
in its pixels shows in hundreds of blocks along one line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .blocks import block_means
from .sky import SkyMeasurement

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ANGLE_COUNT = 180
MIN_BLOCK_SIGMAS = 2.0
"""Sigmas of a block's mean from which on it counts."""
MAX_MARKED_FRACTION = 0.25
"""The largest part of the blocks that counts; if more are above the sky, the highest do."""
MIN_SIGNIFICANCE = 13.0
MIN_FILLED_FRACTION = 0.35
"""The part of the blocks along a trail that has to be above the sky."""
MIN_LENGTH = 30
"""Blocks that a line through the detector has to cross."""
AXIS_TOLERANCE = 1.5
"""Degrees from rows and columns within which a line is a bad column or a bleeding star."""


@dataclass(frozen=True)
class Trail:
    """A line: its angle in degrees from the x axis, and its middle in pixels of the image."""

    angle: float
    x: float
    y: float
    significance: float


def find_trail(sky: SkyMeasurement) -> Trail | None:
    """Returns the most significant straight line, if there is one."""
    side = 2 * sky.side
    bright_blocks = _find_bright_blocks(sky, side)
    if min(bright_blocks.shape, default=0) < MIN_LENGTH or not bright_blocks.any():
        return None
    angles: Array = np.deg2rad(np.arange(ANGLE_COUNT) * 180.0 / ANGLE_COUNT)
    offset = int(np.ceil(np.hypot(*bright_blocks.shape) / 2)) + 1
    votes = _count_votes(bright_blocks, angles, offset)
    # A trail across two neighbouring lines is as good as one along a single one.
    votes[:, 1:] += votes[:, :-1].copy()
    length = 2 * _chord_lengths(bright_blocks.shape, angles, np.arange(-offset - 0.5, offset + 0.5))
    bright_fraction = float(bright_blocks.mean())
    expected = bright_fraction * length
    significance = (votes - expected) / np.sqrt(np.maximum(expected * (1 - bright_fraction), 1.0))
    # Stars form clumps of blocks, so that lines scatter more than by chance alone.
    typical_significance = significance[length >= 2 * MIN_LENGTH]
    significance /= max(1.4826 * float(np.median(np.abs(typical_significance))), 1.0)
    significance[(length < 2 * MIN_LENGTH) | (2 * votes < MIN_FILLED_FRACTION * length)] = 0.0
    significance[_is_along_axis(angles)] = 0.0
    angle, line_index = np.unravel_index(int(np.argmax(significance)), significance.shape)
    best = float(significance[angle, line_index])
    if best < MIN_SIGNIFICANCE:
        return None
    return _build_trail(
        bright_blocks.shape, side, float(angles[angle]), float(line_index) - offset, best
    )


def _find_bright_blocks(sky: SkyMeasurement, side: int) -> Mask:
    """Returns the blocks above the sky."""
    blocks = block_means(sky.subtracted_blocks, 2)
    if not blocks.size:
        return np.zeros(blocks.shape, np.bool_)
    # Residual background is as high as the noise of a block, and no trail.
    median = float(np.median(blocks))
    sigma = median - float(np.quantile(blocks, 0.158655))
    threshold = median + MIN_BLOCK_SIGMAS * max(sigma, sky.noise / side)
    threshold = max(threshold, float(np.quantile(blocks, 1 - MAX_MARKED_FRACTION)))
    return np.asarray(blocks > threshold)


def _count_votes(mask: Mask, angles: Array, offset: int) -> Array:
    """Counts the marked blocks on each line: by angle of the normal and by distance."""
    rows, columns = np.nonzero(mask)
    # Each block has a random position within itself: a grid would favour some lines.
    jitter = np.random.default_rng(0).uniform(-0.5, 0.5, (2, len(rows)))
    x = columns - (mask.shape[1] - 1) / 2 + jitter[0]
    y = rows - (mask.shape[0] - 1) / 2 + jitter[1]
    votes = np.empty((len(angles), 2 * offset + 1))
    for i, angle in enumerate(angles):
        bins = np.rint(x * np.cos(angle) + y * np.sin(angle)).astype(np.int64) + offset
        votes[i] = np.bincount(bins, minlength=votes.shape[1])
    return votes


def _chord_lengths(shape: tuple[int, ...], angles: Array, distances: Array) -> Array:
    """Returns how long each line is within the image, in blocks."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    cos, sin = (np.where(np.abs(values) < 1e-9, 1e-9, values) for values in (cos, sin))
    x = np.sort([(distances * cos - side) / sin for side in (-shape[1] / 2, shape[1] / 2)], axis=0)
    y = np.sort([(side - distances * sin) / cos for side in (-shape[0] / 2, shape[0] / 2)], axis=0)
    return np.asarray(np.maximum(np.minimum(x[1], y[1]) - np.maximum(x[0], y[0]), 0.0))


def _is_along_axis(angles: Array) -> Mask:
    distance = np.abs((np.rad2deg(angles) + 45.0) % 90.0 - 45.0)
    return np.asarray(distance < AXIS_TOLERANCE)


def _build_trail(
    shape: tuple[int, ...], side: int, normal: float, distance: float, significance: float
) -> Trail:
    x = (shape[1] / 2 + distance * np.cos(normal)) * side
    y = (shape[0] / 2 + distance * np.sin(normal)) * side
    angle = (np.rad2deg(normal) + 90.0) % 180.0
    return Trail(float(angle), float(x), float(y), significance)
