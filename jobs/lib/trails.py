"""Whether a satellite or a meteor went through a detector: a straight line, however faint.

A Hough transform (Duda and Hart 1972) of the blocks that stand above the sky. A trail too faint to
be seen in its pixels is there in hundreds of blocks along one line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .blocks import means
from .sky import Sky

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ANGLES = 180
ABOVE = 2.0
"""Sigmas of a block's mean from which on it counts."""
STRONGEST = 0.25
"""Part of the blocks that counts at most; where more stand above the sky, the highest do."""
SIGNIFICANT = 13.0
LEAST_PART = 0.35
"""Of the blocks along a trail, how many have to stand above the sky."""
LEAST_LENGTH = 30
"""Blocks that a line through the detector has to cross."""
UPRIGHT = 1.5
"""Degrees from rows and columns within which a line is a bad column or a bleeding star."""


@dataclass(frozen=True)
class Trail:
    """A line: its angle in degrees from the x axis, and its middle in pixels of the image."""

    angle: float
    x: float
    y: float
    significance: float


def find_trail(sky: Sky) -> Trail | None:
    """The most significant straight line, if there is one."""
    side = 2 * sky.side
    raised = _raised(sky, side)
    if min(raised.shape, default=0) < LEAST_LENGTH or not raised.any():
        return None
    angles: Array = np.deg2rad(np.arange(ANGLES) * 180.0 / ANGLES)
    offset = int(np.ceil(np.hypot(*raised.shape) / 2)) + 1
    hit = _votes(raised, angles, offset)
    # A trail across two neighbouring lines is as good as one along a single one.
    hit[:, 1:] += hit[:, :-1].copy()
    length = 2 * _chords(raised.shape, angles, np.arange(-offset - 0.5, offset + 0.5))
    part = float(raised.mean())
    expected = part * length
    significance = (hit - expected) / np.sqrt(np.maximum(expected * (1 - part), 1.0))
    # Stars come in clumps of blocks, so that lines scatter more than chance alone would have it.
    usual = significance[length >= 2 * LEAST_LENGTH]
    significance /= max(1.4826 * float(np.median(np.abs(usual))), 1.0)
    significance[(length < 2 * LEAST_LENGTH) | (2 * hit < LEAST_PART * length)] = 0.0
    significance[_along_an_axis(angles)] = 0.0
    angle, line = np.unravel_index(int(np.argmax(significance)), significance.shape)
    best = float(significance[angle, line])
    if best < SIGNIFICANT:
        return None
    return _trail(raised.shape, side, float(angles[angle]), float(line) - offset, best)


def _raised(sky: Sky, side: int) -> Mask:
    """Blocks above the sky."""
    blocks = means(sky.left, 2)
    if not blocks.size:
        return np.zeros(blocks.shape, np.bool_)
    # What the background left over is as high as the noise of a block, and no trail.
    middle = float(np.median(blocks))
    spread = middle - float(np.quantile(blocks, 0.158655))
    level = middle + ABOVE * max(spread, sky.noise / side)
    level = max(level, float(np.quantile(blocks, 1 - STRONGEST)))
    return np.asarray(blocks > level)


def _votes(mask: Mask, angles: Array, offset: int) -> Array:
    """How many marked blocks lie on each line: of each angle of the normal, of each distance."""
    rows, columns = np.nonzero(mask)
    # Each block is taken at a place of its own within it: a grid would favour some lines.
    draw = np.random.default_rng(0).uniform(-0.5, 0.5, (2, len(rows)))
    x = columns - (mask.shape[1] - 1) / 2 + draw[0]
    y = rows - (mask.shape[0] - 1) / 2 + draw[1]
    found = np.empty((len(angles), 2 * offset + 1))
    for i, angle in enumerate(angles):
        at = np.rint(x * np.cos(angle) + y * np.sin(angle)).astype(np.int64) + offset
        found[i] = np.bincount(at, minlength=found.shape[1])
    return found


def _chords(shape: tuple[int, ...], angles: Array, distances: Array) -> Array:
    """How long each line is within the image, in blocks."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    cos, sin = (np.where(np.abs(one) < 1e-9, 1e-9, one) for one in (cos, sin))
    x = np.sort([(distances * cos - side) / sin for side in (-shape[1] / 2, shape[1] / 2)], axis=0)
    y = np.sort([(side - distances * sin) / cos for side in (-shape[0] / 2, shape[0] / 2)], axis=0)
    return np.asarray(np.maximum(np.minimum(x[1], y[1]) - np.maximum(x[0], y[0]), 0.0))


def _along_an_axis(angles: Array) -> Mask:
    away = np.abs((np.rad2deg(angles) + 45.0) % 90.0 - 45.0)
    return np.asarray(away < UPRIGHT)


def _trail(
    shape: tuple[int, ...], side: int, normal: float, distance: float, significance: float
) -> Trail:
    x = (shape[1] / 2 + distance * np.cos(normal)) * side
    y = (shape[0] / 2 + distance * np.sin(normal)) * side
    angle = (np.rad2deg(normal) + 90.0) % 180.0
    return Trail(float(angle), float(x), float(y), significance)
