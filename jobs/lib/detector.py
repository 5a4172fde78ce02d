"""A detector's image as its amplifiers: where the FITS headers say that they are.

Sections are of the FITS form `[x1:x2,y1:y2]`, counted from 1, both ends included. A plain image
with BIASSEC and DATASEC (or TRIMSEC) is one amplifier; a file with several image extensions has
one in each, put together by DETSEC. Compressed files (gzip, RICE) read the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Header = Callable[[str], Any]
Section = tuple[slice, slice]

_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")
MOST_SIDE = 20_000
MOST_PIXELS = MOST_SIDE**2
CLIP = 6.0
"""Overscan pixels further than this many robust sigmas from the median are hits, not noise."""


class BadFrame(ValueError):
    """A file that is no readable image of a detector; the message says what to do."""


@dataclass(frozen=True)
class Amplifier:
    """One amplifier. `data` is its light-sensitive part less the overscan median, in electrons
    where `gain` (electrons per ADU) is known, else in ADU; `overscan` is raw, None without one.

    `saturated` and `dead` mark its pixels; `place` is where it lies in the detector.
    """

    name: str
    data: Image
    saturated: npt.NDArray[np.bool_]
    dead: npt.NDArray[np.bool_]
    overscan_median: float
    overscan_noise: float
    gain: float
    place: Section | None


@dataclass(frozen=True)
class Detector:
    """A detector, put together: `image` and `bad` have its shape, (rows, columns)."""

    name: str
    amplifiers: tuple[Amplifier, ...]
    image: Image
    saturated: npt.NDArray[np.bool_]
    dead: npt.NDArray[np.bool_]
    unit: str
    pixel_scale: float

    @property
    def bad(self) -> npt.NDArray[np.bool_]:
        """Pixels that are saturated or dead."""
        return self.saturated | self.dead


def read_detector(frame: Path) -> Detector:
    """Reads a FITS file; BadFrame where it cannot be read or holds no image."""
    if not frame.is_file():
        raise BadFrame(f"there is no image {frame.name}; look whether it was written at all")
    try:
        with fitsio.FITS(str(frame)) as file:
            planes = [_plane(hdu) for hdu in file if _is_image(hdu)]
    except OSError as error:
        words = " ".join(str(error).split())[:160]
        raise BadFrame(
            f"{frame.name} cannot be read, it may be cut short ({words}); copy it again"
        ) from error
    if not planes:
        raise BadFrame(f"{frame.name} holds no two-dimensional image; is it the raw frame?")
    return assemble(planes, frame.name.split(".")[0])


Plane = tuple[str, npt.NDArray[Any], Header]
"""Name, pixels as stored (rows, columns), and header of one amplifier."""


def assemble(planes: list[Plane], name: str) -> Detector:
    """A detector from its amplifiers' pixels and headers."""
    scaled = all(_positive(header("GAIN")) is not None for _, _, header in planes)
    amplifiers = tuple(_amplifier(*plane, scaled=scaled) for plane in planes)
    header = planes[0][2]
    image, saturated, dead = _mosaic(amplifiers)
    found = header("DETECTOR") or header("CCDNAME") or name
    scale = _positive(header("PIXSCALE")) or _positive(header("SECPIX")) or float("nan")
    return Detector(
        str(found), amplifiers, image, saturated, dead, "electron" if scaled else "adu", scale
    )


def section(text: object, shape: tuple[int, int]) -> Section | None:
    """Rows and columns of a FITS section within `shape`; None where it is none or lies outside."""
    corners = _corners(text)
    if corners is None:
        return None
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    if x1 < 1 or y1 < 1 or x2 > shape[1] or y2 > shape[0]:
        return None
    return slice(y1 - 1, y2), slice(x1 - 1, x2)


def level_and_noise(pixels: npt.NDArray[Any]) -> tuple[float, float]:
    """Median and standard deviation of overscan pixels, without those that a particle hit."""
    values = pixels[np.isfinite(pixels)].astype(np.float64)
    if values.size < 2:
        return float("nan"), float("nan")
    median = float(np.median(values))
    away = np.abs(values - median)
    # Never under one unit, so that a quiet amplifier of integers is not all clipped.
    robust = max(1.4826 * float(np.median(away)), 1.0)
    return median, float(values[away <= CLIP * robust].std())


def _corners(text: object) -> tuple[int, int, int, int] | None:
    match = _SECTION.fullmatch(str(text).strip())
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]), int(match[4]))


def _is_image(hdu: Any) -> bool:
    if hdu.get_exttype() != "IMAGE_HDU" or len(hdu.get_dims()) != 2:
        return False
    rows, columns = hdu.get_dims()
    if rows * columns > MOST_PIXELS:
        raise BadFrame(f"a header claims {columns} x {rows} pixels; no detector has as many")
    return bool(rows * columns > 0)


def _plane(hdu: Any) -> Plane:
    header = hdu.read_header()
    return str(header.get("EXTNAME") or ""), hdu.read(), header.get


def _amplifier(name: str, raw: npt.NDArray[Any], header: Header, scaled: bool) -> Amplifier:
    shape = (raw.shape[0], raw.shape[1])
    bias = section(header("BIASSEC"), shape)
    light = section(header("DATASEC"), shape) or section(header("TRIMSEC"), shape)
    median, noise = (np.nan, np.nan) if bias is None else level_and_noise(raw[bias])
    pixels = raw if light is None else raw[light]
    gain = (_positive(header("GAIN")) or 1.0) if scaled else 1.0
    values = pixels.astype(np.float32)
    values -= 0.0 if np.isnan(median) else median
    full = _positive(header("SATURATE")) or 65535.0
    turn = _turn(header("DETSEC"))
    place = section(header("DETSEC"), (MOST_SIDE, MOST_SIDE))
    return Amplifier(
        name or "A00", (values * np.float32(gain))[turn], (pixels >= full)[turn],
        _dead(values, noise)[turn], median, noise, gain, place,
    )  # fmt: skip


def _turn(detsec: object) -> Section:
    """A section counted backwards was read out from that side: how to turn its pixels."""
    x1, x2, y1, y2 = _corners(detsec) or (1, 2, 1, 2)
    return slice(None, None, -1 if y1 > y2 else 1), slice(None, None, -1 if x1 > x2 else 1)


def _dead(values: Image, noise: float) -> npt.NDArray[np.bool_]:
    """Pixels without a value, or under half the sky where the sky stands well above the noise."""
    finite = np.isfinite(values)
    sky = float(np.median(values[finite])) if finite.any() else 0.0
    faint = values < 0.5 * sky if sky > 10 * noise else ~finite
    return np.asarray(faint | ~finite)


def _mosaic(
    amplifiers: tuple[Amplifier, ...],
) -> tuple[Image, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    placed = [(one, one.place) for one in amplifiers if one.place is not None]
    if len(placed) < len(amplifiers) or not all(_fits(one, place) for one, place in placed):
        return _side_by_side(amplifiers)
    rows, columns = zip(*(place for _, place in placed), strict=True)
    top, left = min(row.start for row in rows), min(column.start for column in columns)
    shape = (max(row.stop for row in rows) - top, max(column.stop for column in columns) - left)
    image = np.zeros(shape, np.float32)
    saturated, dead = np.zeros(shape, np.bool_), np.ones(shape, np.bool_)
    for one, (row, column) in placed:
        at = slice(row.start - top, row.stop - top), slice(column.start - left, column.stop - left)
        image[at], saturated[at], dead[at] = one.data, one.saturated, one.dead
    return image, saturated, dead


def _fits(one: Amplifier, place: Section) -> bool:
    rows, columns = place
    return one.data.shape == (rows.stop - rows.start, columns.stop - columns.start)


def _side_by_side(
    amplifiers: tuple[Amplifier, ...],
) -> tuple[Image, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    height = min(one.data.shape[0] for one in amplifiers)
    image = np.concatenate([one.data[:height] for one in amplifiers], axis=1)
    saturated = np.concatenate([one.saturated[:height] for one in amplifiers], axis=1)
    dead = np.concatenate([one.dead[:height] for one in amplifiers], axis=1)
    return image, saturated, dead


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if np.isfinite(number) and number > 0 else None
