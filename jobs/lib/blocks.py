"""Means of small blocks of an image, which are enough for the sky, trails and previews."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def sum_blocks(image: Image, side: int) -> Image:
    """Sums blocks of `side` x `side` pixels; the remainder at the upper and right edge is cut off.
    Rows are added before columns, which reads memory in order.
    """
    rows, columns = image.shape[0] // side, image.shape[1] // side
    cropped = image[: rows * side, : columns * side]
    if side == 2:
        pairs = cropped[0::2] + cropped[1::2]
        return np.asarray(pairs[:, 0::2] + pairs[:, 1::2], np.float32)
    strips = cropped.reshape(rows, side, columns * side).sum(axis=1, dtype=np.float32)
    return np.asarray(strips.reshape(rows, columns, side).sum(axis=2), np.float32)


def block_means(image: Image, side: int) -> Image:
    """Returns the mean of each block."""
    return sum_blocks(image, side) / np.float32(side * side)


def any_in_blocks(mask: Mask, side: int) -> Mask:
    """Returns which blocks have a marked pixel."""
    rows, columns = mask.shape[0] // side, mask.shape[1] // side
    cropped = mask[: rows * side, : columns * side]
    strips = cropped.reshape(rows, side, columns * side).any(axis=1)
    return np.asarray(strips.reshape(rows, columns, side).any(axis=2))


def choose_side(shape: tuple[int, ...]) -> int:
    """Chooses a side (4, 8 or 16) that makes some 250 blocks along an image's shorter side."""
    for side in (16, 8):
        if min(shape) >= 200 * side:
            return side
    return 4


def shrink_image(image: Image, side: int) -> npt.NDArray[np.float64]:
    """Returns the means of at most `side` x `side` blocks, of sizes as equal as possible."""
    result = image.astype(np.float64)
    for axis in (0, 1):
        count = min(side, image.shape[axis])
        edges = np.linspace(0, image.shape[axis], count + 1).astype(np.int64)
        shape = [1, 1]
        shape[axis] = count
        result = np.add.reduceat(result, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    return result
