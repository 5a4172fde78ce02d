"""The sky of one detector, and the sources above it.
Background and sources: SExtractor's algorithms as in `sep` (Bertin and Arnouts 1996; Barbary 2016).
The level of the sky is the median of the means of blocks that no source reaches: a mean is not
skewed by photon statistics like a median of pixels (one sixth of an electron), nor raised by stars
like that of the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sep

from .blocks import any_in_blocks, block_means, choose_side, sum_blocks
from .detector import Detector

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Sources = npt.NDArray[np.void]

BACKGROUND_BOX = 256
"""Pixels along a box of the background, for a detector of several thousand."""
DETECTION_THRESHOLDS = (1.5, 4.0, 12.0)
"""Sigmas of a pixel, after smoothing over 3 x 3: the next is tried if a field is too crowded.
1.5 of them are 4 sigmas of the smoothed image.
"""
BACKGROUND_ROWS = 1000
"""Rows that are enough to measure the background."""
MIN_SOURCE_PIXELS = 5
MAX_SOURCES = 20_000
MIN_IMAGE_SIDE = 16
MIN_GOOD_FRACTION = 0.05
"""The part of the pixels that has to be good."""
MAX_LEVEL_DIFFERENCE = 0.5
"""A difference of amplifiers, in sigmas of a pixel, that would be detected as an edge."""
MIN_FILLED_FRACTION = 0.1
"""The part of its bounding box that a source fills, unless it is a line."""
ENOUGH_CLEAN_BLOCKS = 50
"""Blocks without a source that are enough."""
NOISE_SAMPLE_BLOCKS = 512
"""Blocks whose pixels are sampled for the noise."""
_PIXEL_STACK_SIZE = 1_000_000


class SkyUnavailable(ValueError):
    """The sky cannot be measured; the message says why."""


@dataclass(frozen=True)
class SkyMeasurement:
    """The sky's level, the noise of one pixel about it, and the sources.
    `image` has every pixel of the detector. `blocks` are the means of blocks of `side` pixels,
    `subtracted_blocks` those of the image without the sky, `clean` those that no source reaches.
    `sources` is `sep`'s table, brightest first, its `x`, `y`, `a`, `b` in single pixels, the rest
    in those of `binning`; `threshold` is the level above which they were detected. If sources were
    detected in binned pixels, `image` still has its sky.
    """

    level: float
    noise: float
    image: Image
    blocks: Image
    subtracted_blocks: Image
    clean: Mask
    side: int
    sources: Sources
    threshold: float
    binning: int = 1

    def sky_under(self, sources: Sources) -> Array:
        """Returns the sky that is still in the image under each of some sources."""
        if self.binning == 1:
            return np.zeros(len(sources))
        rows, columns = self.blocks.shape
        row = np.clip(sources["y"] // self.side, 0, rows - 1).astype(np.int64)
        column = np.clip(sources["x"] // self.side, 0, columns - 1).astype(np.int64)
        return np.asarray((self.blocks - self.subtracted_blocks)[row, column], np.float64)


def measure_sky(detector: Detector, binning: int = 1) -> SkyMeasurement:
    """Measures a detector's sky and sources. Without binning the sky is subtracted in place."""
    image, bad = detector.image, detector.bad
    good_fraction = 1.0 if bad is None else 1.0 - float(bad.mean())
    if good_fraction < MIN_GOOD_FRACTION or image.size * good_fraction < 100:
        raise SkyUnavailable(_bad_pixels_reason(detector, good_fraction))
    if binning > 1:
        image = sum_blocks(image, binning)
        bad = None if bad is None else any_in_blocks(bad, binning)
    if min(image.shape) < MIN_IMAGE_SIDE:
        raise SkyUnavailable(f"{image.shape[1]} x {image.shape[0]} pixels are too few for a sky")
    block_side = choose_side(image.shape)
    blocks = block_means(image, block_side)
    has_bad_pixels = (
        np.zeros(blocks.shape, np.bool_) if bad is None else any_in_blocks(bad, block_side)
    )
    _equalize_amplifiers(image, detector, binning)
    rms = _subtract_background(image, bad)
    sources, threshold = find_sources(image, rms, _extensive_mask(bad))
    is_clean = ~has_bad_pixels & ~_find_covered_blocks(sources, blocks.shape, block_side)
    pixel_area = np.float32(binning**2)
    return SkyMeasurement(
        _measure_level(blocks, is_clean, has_bad_pixels) / binning**2,
        _measure_noise(image, is_clean, block_side, rms) / binning,
        detector.image,
        blocks / pixel_area,
        block_means(image, block_side) / pixel_area,
        is_clean,
        block_side * binning,
        _scale_to_single_pixels(sources, binning),
        threshold,
        binning,
    )


def _scale_to_single_pixels(sources: Sources, binning: int) -> Sources:
    for name in ("x", "y"):
        sources[name] = sources[name] * binning + (binning - 1) / 2
    for name in ("a", "b"):
        sources[name] *= binning
    return sources


def find_sources(image: Image, rms: float, bad: Mask | None) -> tuple[Sources, float]:
    """Returns all sources above the sky, as `sep`'s table, brightest first, and the threshold.
    In a field too crowded for the allowed memory, only the brighter ones.
    """
    sep.set_extract_pixstack(_PIXEL_STACK_SIZE)
    last_error: Exception | None = None
    for threshold in DETECTION_THRESHOLDS:
        try:
            sources: Any = sep.extract(
                image, threshold, err=max(rms, 1e-6), mask=bad, minarea=MIN_SOURCE_PIXELS
            )
        # sep has no exception class for "too many pixels" or "too many parts of an object".
        except Exception as error:  # noqa: BLE001
            last_error = error
            continue
        return np.asarray(sources[np.argsort(-sources["flux"])][:MAX_SOURCES]), threshold
    raise SkyUnavailable(
        f"the field is too crowded for its sources to be told apart ({last_error})"
    )


def _bad_pixels_reason(detector: Detector, good_fraction: float) -> str:
    amplifiers = detector.readable_amplifiers
    saturated = (
        float(np.mean([amplifier.saturated for amplifier in amplifiers])) if amplifiers else 0.0
    )
    dead = float(np.mean([amplifier.dead for amplifier in amplifiers])) if amplifiers else 0.0
    return (
        f"hardly a pixel is good ({good_fraction:.0%}): "
        f"{saturated:.0%} are saturated, {dead:.0%} dead or "
        "not a number"
    )


def _equalize_amplifiers(image: Image, detector: Detector, binning: int) -> None:
    """Brings amplifiers to one level, so that a wrong gain makes no edge."""
    amplifiers = [
        amplifier for amplifier in detector.readable_amplifiers if amplifier.light is not None
    ]
    levels = np.array(
        [
            amplifier.light.level * amplifier.gain
            for amplifier in amplifiers
            if amplifier.light is not None
        ]
    )
    spreads = np.array(
        [
            amplifier.light.spread * amplifier.gain
            for amplifier in amplifiers
            if amplifier.light is not None
        ]
    )
    is_finite = np.isfinite(levels)
    if (
        is_finite.sum() < 2
        or np.ptp(levels[is_finite])
        <= MAX_LEVEL_DIFFERENCE * float(np.median(spreads[is_finite])) / binning
    ):
        return
    median_level = float(np.median(levels[is_finite]))
    for amplifier, level in zip(amplifiers, levels, strict=True):
        if np.isfinite(level) and amplifier.saturated < 0.5:
            rows, columns = (
                slice(span.start // binning, span.stop // binning) for span in amplifier.section
            )
            image[rows, columns] -= np.float32((level - median_level) * binning**2)


def _subtract_background(image: Image, bad: Mask | None) -> float:
    """Subtracts the background in place; returns the noise of a pixel as `sep` has it.
    In a large image a part of the rows is enough to measure the background of all of them.
    """
    step = max(1, min(image.shape) // BACKGROUND_ROWS)
    box_size = int(np.clip(max(image.shape) // 16, 16, BACKGROUND_BOX))
    sampled_rows = np.ascontiguousarray(image[::step])
    mask = None if bad is None else np.ascontiguousarray(bad[::step])
    background = sep.Background(sampled_rows, mask=mask, bw=box_size, bh=max(16, box_size // step))
    if step == 1:
        background.subfrom(image)
        return float(background.globalrms)
    surface = background.back(dtype=np.float32)
    strip_rows = image.shape[0] // step * step
    strips = image[:strip_rows].reshape(-1, step, image.shape[1])
    strips -= surface[: len(strips), None]
    image[strip_rows:] -= surface[-1]
    return float(background.globalrms)


def _extensive_mask(bad: Mask | None) -> Mask | None:
    """Returns the bad pixels if they are so many that they would be detected as sources."""
    return bad if bad is not None and bad.mean() > 0.002 else None


def _find_covered_blocks(sources: Sources, shape: tuple[int, int], side: int) -> Mask:
    """Returns the blocks that a source reaches: twice as far as it is above the threshold."""
    corners = np.zeros((shape[0] + 1, shape[1] + 1), np.int32)
    box = (sources["xmax"] - sources["xmin"] + 1) * (sources["ymax"] - sources["ymin"] + 1)
    # A trail across the detector has a bounding box as large as that, and covers little of it.
    sources = sources[sources["npix"] > MIN_FILLED_FRACTION * box]
    margin_x = (sources["xmax"] - sources["xmin"]) / 2 + 3
    margin_y = (sources["ymax"] - sources["ymin"]) / 2 + 3
    first_column = np.clip((sources["xmin"] - margin_x) // side, 0, shape[1]).astype(int)
    end_column = np.clip((sources["xmax"] + margin_x) // side + 1, 0, shape[1]).astype(int)
    first_row = np.clip((sources["ymin"] - margin_y) // side, 0, shape[0]).astype(int)
    end_row = np.clip((sources["ymax"] + margin_y) // side + 1, 0, shape[0]).astype(int)
    # Each rectangle is four corners; their cumulative sums count the rectangles over a block.
    for rows, columns, amount in (
        (first_row, first_column, 1),
        (first_row, end_column, -1),
        (end_row, first_column, -1),
        (end_row, end_column, 1),
    ):
        np.add.at(corners, (rows, columns), amount)
    return np.asarray(corners.cumsum(0).cumsum(1)[:-1, :-1] > 0)


def _measure_level(blocks: Image, is_clean: Mask, has_bad_pixels: Mask) -> float:
    selected = is_clean if is_clean.sum() >= ENOUGH_CLEAN_BLOCKS else ~has_bad_pixels
    values = blocks[selected] if selected.any() else blocks.ravel()
    return float(np.median(values))


def _measure_noise(image: Image, is_clean: Mask, side: int, rms: float) -> float:
    """Returns the standard deviation of the pixels of clean blocks, without outliers."""
    rows, columns = np.nonzero(is_clean)
    if len(rows) < ENOUGH_CLEAN_BLOCKS:
        return rms
    step = max(1, len(rows) // NOISE_SAMPLE_BLOCKS)
    tiles = image[: is_clean.shape[0] * side, : is_clean.shape[1] * side]
    tiles = tiles.reshape(is_clean.shape[0], side, is_clean.shape[1], side)
    pixels = tiles[rows[::step], :, columns[::step], :].astype(np.float64)
    pixels -= pixels.mean(axis=(1, 2), keepdims=True)
    kept_pixels = pixels[np.abs(pixels) <= 5 * rms]
    # Each block has lost a degree of freedom to its own mean.
    return (
        float(np.sqrt((kept_pixels**2).mean() * side**2 / (side**2 - 1)))
        if kept_pixels.size
        else rms
    )
