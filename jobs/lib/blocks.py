"""Means of small blocks of an image: the sky, trails and previews need no more."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def binned(image: Image, side: int) -> Image:
    """Sums of `side` x `side` pixels, what is left over at the upper and right edge cut off.

    Rows are added before columns, which reads memory in order.
    """
    rows, columns = image.shape[0] // side, image.shape[1] // side
    whole = image[: rows * side, : columns * side]
    if side == 2:
        pairs = whole[0::2] + whole[1::2]
        return np.asarray(pairs[:, 0::2] + pairs[:, 1::2], np.float32)
    strips = whole.reshape(rows, side, columns * side).sum(axis=1, dtype=np.float32)
    return np.asarray(strips.reshape(rows, columns, side).sum(axis=2), np.float32)


def means(image: Image, side: int) -> Image:
    """The mean of each block."""
    return binned(image, side) / np.float32(side * side)


def touched(mask: Mask, side: int) -> Mask:
    """Which blocks have a marked pixel."""
    rows, columns = mask.shape[0] // side, mask.shape[1] // side
    whole = mask[: rows * side, : columns * side]
    strips = whole.reshape(rows, side, columns * side).any(axis=1)
    return np.asarray(strips.reshape(rows, columns, side).any(axis=2))


def side_for(shape: tuple[int, ...]) -> int:
    """A side (4, 8 or 16) that makes some 250 blocks along an image's shorter side."""
    for side in (16, 8):
        if min(shape) >= 200 * side:
            return side
    return 4


def shrunk(image: Image, side: int) -> npt.NDArray[np.float64]:
    """The image in at most `side` x `side` blocks, as equal as they can be: their means."""
    found = image.astype(np.float64)
    for axis in (0, 1):
        count = min(side, image.shape[axis])
        edges = np.linspace(0, image.shape[axis], count + 1).astype(np.int64)
        shape = [1, 1]
        shape[axis] = count
        found = np.add.reduceat(found, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
    return found
