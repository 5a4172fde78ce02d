"""The sky of one detector, and what stands out of it.

Background and sources: SExtractor's algorithms as `sep` has them (Bertin and Arnouts 1996; Barbary
2016). The level of the sky is the median of the means of blocks that no source reaches: a mean is
not skewed by photon statistics as a median of pixels is (one sixth of an electron), nor pulled up
by stars as that of the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sep

from .blocks import binned, means, side_for, touched
from .detector import Detector

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Sources = npt.NDArray[np.void]

BOX = 256
"""Pixels along a box of the background, of one detector of several thousand."""
THRESHOLDS = (1.5, 4.0, 12.0)
"""Sigmas of a pixel, after smoothing over 3 x 3: the next is tried where a field is too crowded.

1.5 of them are 4 sigmas of the smoothed image."""
ENOUGH_ROWS = 1000
"""Rows that tell the background well enough."""
LEAST_PIXELS = 5
MOST_SOURCES = 20_000
FEWEST_SIDE = 16
LEAST_GOOD = 0.05
"""Part of the pixels that has to be good."""
STEP = 0.5
"""A difference of amplifiers, in sigmas of a pixel, that would be seen as an edge."""
LEAST_FILLED = 0.1
"""Part of its box that a source fills, if it is no line."""
CLEAN = 50
"""Blocks without a source that are enough."""
SAMPLE = 512
"""Blocks whose pixels are looked at for the noise."""
_PIXSTACK = 1_000_000


class NoSky(ValueError):
    """The sky cannot be had; the message says why."""


@dataclass(frozen=True)
class Sky:
    """The sky's level, the noise of one pixel about it, and what stands out.

    `image` has every pixel of the detector. `blocks` are the means of blocks of `side` pixels,
    `left` those of what is left without the sky, `clean` those that no source reaches. `sources`
    is `sep`'s table, brightest first, its `x`, `y`, `a`, `b` in single pixels, the rest in those
    of `binning`; `threshold` is what they stand above. Where sources were looked for in binned
    pixels, `image` still has its sky.
    """

    level: float
    noise: float
    image: Image
    blocks: Image
    left: Image
    clean: Mask
    side: int
    sources: Sources
    threshold: float
    binning: int = 1

    def under(self, sources: Sources) -> Array:
        """The sky that is still in the image under each of some sources."""
        if self.binning == 1:
            return np.zeros(len(sources))
        rows, columns = self.blocks.shape
        row = np.clip(sources["y"] // self.side, 0, rows - 1).astype(np.int64)
        column = np.clip(sources["x"] // self.side, 0, columns - 1).astype(np.int64)
        return np.asarray((self.blocks - self.left)[row, column], np.float64)


def measure_sky(detector: Detector, binning: int = 1) -> Sky:
    """The sky of a detector, and its sources. Without binning it is taken away in place."""
    image, bad = detector.image, detector.bad
    good = 1.0 if bad is None else 1.0 - float(bad.mean())
    if good < LEAST_GOOD or image.size * good < 100:
        raise NoSky(_why_bad(detector, good))
    if binning > 1:
        image = binned(image, binning)
        bad = None if bad is None else touched(bad, binning)
    if min(image.shape) < FEWEST_SIDE:
        raise NoSky(f"{image.shape[1]} x {image.shape[0]} pixels are too few for a sky")
    side = side_for(image.shape)
    blocks = means(image, side)
    soiled = np.zeros(blocks.shape, np.bool_) if bad is None else touched(bad, side)
    _level_out(image, detector, binning)
    rms = _subtract(image, bad)
    sources, threshold = find_sources(image, rms, _wide(bad))
    clean = ~soiled & ~_reached(sources, blocks.shape, side)
    area = np.float32(binning**2)
    return Sky(
        _level(blocks, clean, soiled) / binning**2, _noise(image, clean, side, rms) / binning,
        detector.image, blocks / area, means(image, side) / area, clean, side * binning,
        _in_single_pixels(sources, binning), threshold, binning,
    )  # fmt: skip


def _in_single_pixels(sources: Sources, binning: int) -> Sources:
    for name in ("x", "y"):
        sources[name] = sources[name] * binning + (binning - 1) / 2
    for name in ("a", "b"):
        sources[name] *= binning
    return sources


def find_sources(image: Image, rms: float, bad: Mask | None) -> tuple[Sources, float]:
    """Everything that stands above the sky, as `sep`'s table, brightest first; and how far above.

    In a field too crowded for the memory that is given to it, only the brighter ones.
    """
    sep.set_extract_pixstack(_PIXSTACK)
    trouble: Exception | None = None
    for threshold in THRESHOLDS:
        try:
            found: Any = sep.extract(
                image, threshold, err=max(rms, 1e-6), mask=bad, minarea=LEAST_PIXELS
            )
        # sep has no kind of its own for "too many pixels" or "too many parts of an object".
        except Exception as error:  # noqa: BLE001
            trouble = error
            continue
        return np.asarray(found[np.argsort(-found["flux"])][:MOST_SOURCES]), threshold
    raise NoSky(f"the field is too crowded for its sources to be told apart ({trouble})")


def _why_bad(detector: Detector, good: float) -> str:
    read = detector.read
    saturated = float(np.mean([one.saturated for one in read])) if read else 0.0
    dead = float(np.mean([one.dead for one in read])) if read else 0.0
    return (
        f"hardly a pixel is good ({good:.0%}): {saturated:.0%} are saturated, {dead:.0%} dead or "
        "not a number"
    )


def _level_out(image: Image, detector: Detector, ratio: int) -> None:
    """Brings amplifiers to one level, where a wrong gain would make an edge."""
    read = [one for one in detector.read if one.light is not None]
    levels = np.array([one.light.level * one.gain for one in read if one.light is not None])
    spreads = np.array([one.light.spread * one.gain for one in read if one.light is not None])
    good = np.isfinite(levels)
    if good.sum() < 2 or np.ptp(levels[good]) <= STEP * float(np.median(spreads[good])) / ratio:
        return
    middle = float(np.median(levels[good]))
    for one, level in zip(read, levels, strict=True):
        if np.isfinite(level) and one.saturated < 0.5:
            rows, columns = (slice(at.start // ratio, at.stop // ratio) for at in one.place)
            image[rows, columns] -= np.float32((level - middle) * ratio**2)


def _subtract(image: Image, bad: Mask | None) -> float:
    """Takes the background away, in place; the noise of a pixel as `sep` has it.

    Of a large image a part of the rows is enough to know the background of all of them.
    """
    step = max(1, min(image.shape) // ENOUGH_ROWS)
    box = int(np.clip(max(image.shape) // 16, 16, BOX))
    some = np.ascontiguousarray(image[::step])
    mask = None if bad is None else np.ascontiguousarray(bad[::step])
    background = sep.Background(some, mask=mask, bw=box, bh=max(16, box // step))
    if step == 1:
        background.subfrom(image)
        return float(background.globalrms)
    surface = background.back(dtype=np.float32)
    whole = image.shape[0] // step * step
    strips = image[:whole].reshape(-1, step, image.shape[1])
    strips -= surface[: len(strips), None]
    image[whole:] -= surface[-1]
    return float(background.globalrms)


def _wide(bad: Mask | None) -> Mask | None:
    """The bad pixels, where they are so many that they would be taken for sources."""
    return bad if bad is not None and bad.mean() > 0.002 else None


def _reached(sources: Sources, shape: tuple[int, int], side: int) -> Mask:
    """The blocks that a source reaches: twice as far as it stands above the threshold."""
    corners = np.zeros((shape[0] + 1, shape[1] + 1), np.int32)
    box = (sources["xmax"] - sources["xmin"] + 1) * (sources["ymax"] - sources["ymin"] + 1)
    # A trail across the detector has a box as large as that, and reaches little of it.
    sources = sources[sources["npix"] > LEAST_FILLED * box]
    grow_x = (sources["xmax"] - sources["xmin"]) / 2 + 3
    grow_y = (sources["ymax"] - sources["ymin"]) / 2 + 3
    left = np.clip((sources["xmin"] - grow_x) // side, 0, shape[1]).astype(int)
    right = np.clip((sources["xmax"] + grow_x) // side + 1, 0, shape[1]).astype(int)
    low = np.clip((sources["ymin"] - grow_y) // side, 0, shape[0]).astype(int)
    high = np.clip((sources["ymax"] + grow_y) // side + 1, 0, shape[0]).astype(int)
    # Each rectangle is four corners; their running sums count the rectangles over a block.
    for rows, columns, much in (
        (low, left, 1),
        (low, right, -1),
        (high, left, -1),
        (high, right, 1),
    ):
        np.add.at(corners, (rows, columns), much)
    return np.asarray(corners.cumsum(0).cumsum(1)[:-1, :-1] > 0)


def _level(blocks: Image, clean: Mask, soiled: Mask) -> float:
    chosen = clean if clean.sum() >= CLEAN else ~soiled
    values = blocks[chosen] if chosen.any() else blocks.ravel()
    return float(np.median(values))


def _noise(image: Image, clean: Mask, side: int, rms: float) -> float:
    """Standard deviation of the pixels of clean blocks, without the few far out."""
    rows, columns = np.nonzero(clean)
    if len(rows) < CLEAN:
        return rms
    step = max(1, len(rows) // SAMPLE)
    tiles = image[: clean.shape[0] * side, : clean.shape[1] * side]
    tiles = tiles.reshape(clean.shape[0], side, clean.shape[1], side)
    pixels = tiles[rows[::step], :, columns[::step], :].astype(np.float64)
    pixels -= pixels.mean(axis=(1, 2), keepdims=True)
    kept = pixels[np.abs(pixels) <= 5 * rms]
    # Each block has lost a degree of freedom to its own mean.
    return float(np.sqrt((kept**2).mean() * side**2 / (side**2 - 1))) if kept.size else rms
