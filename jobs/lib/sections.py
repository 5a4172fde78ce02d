"""Where an amplifier's pixels are, by its FITS header; impossible values are ignored.
Sections are of the FITS form `[x1:x2,y1:y2]`, counted from 1, both ends included; one counted
backwards was read out from that side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Header = Callable[[str], Any]
Shape = tuple[int, int]
Section = tuple[slice, slice]
"""Rows and columns."""

_SECTION_PATTERN = re.compile(r"\[\s*(-?\d+)\s*:\s*(-?\d+)\s*,\s*(-?\d+)\s*:\s*(-?\d+)\s*\]")
MAX_SIDE = 20_000
MIN_OVERSCAN_COLUMNS = 4
"""Columns beside the light that make an overscan if the header names none."""


@dataclass(frozen=True)
class HeaderDefaults:
    """The caller's values for amplifiers whose headers lack them."""

    bias_section: str = ""
    data_section: str = ""
    gain: float = 0.0


NO_DEFAULTS = HeaderDefaults()


@dataclass(frozen=True)
class AmplifierGeometry:
    """One amplifier as its header describes it.
    `light` and `bias` (None without an overscan, with `bias_error` saying why) are within its own
    pixels, `detector_section` within its detector, `orientation` is how its pixels are oriented
    there, `detector_pixels` how many pixels the detector has (0 if unknown). `gain` is None if it
    is unknown. `warnings` are impossible values in the header.
    """

    name: str
    light: Section
    bias: Section | None
    detector_section: Section | None
    orientation: Section
    gain: float | None
    saturate: float | None
    detector_pixels: int = 0
    bias_error: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """Rows and columns of light."""
        return _section_shape(self.light)


def parse_geometry(
    name: str, shape: Shape, header: Header, defaults: HeaderDefaults = NO_DEFAULTS
) -> AmplifierGeometry:
    """Parses the geometry of an amplifier of `shape` (rows, columns, as stored)."""
    warnings: list[str] = []
    light = _find_light_section(shape, header, defaults, warnings)
    bias, bias_error = _find_bias_section(shape, header, defaults, light)
    detector_section, detector_pixels = _find_detector_section(
        header, _section_shape(light), warnings
    )
    return AmplifierGeometry(
        name=name,
        light=light,
        bias=bias,
        detector_section=detector_section,
        orientation=parse_orientation(header("DETSEC")),
        gain=positive_or_none(header("GAIN")) or positive_or_none(defaults.gain),
        saturate=positive_or_none(header("SATURATE")),
        detector_pixels=detector_pixels,
        bias_error=bias_error,
        warnings=tuple(warnings),
    )


def parse_section(text: object, shape: Shape) -> Section | None:
    """Returns rows and columns of a FITS section; None if it is none or outside of `shape`."""
    corners = _parse_corners(text)
    if corners is None:
        return None
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    if x1 < 1 or y1 < 1 or x2 > shape[1] or y2 > shape[0]:
        return None
    return slice(y1 - 1, y2), slice(x1 - 1, x2)


def parse_orientation(detsec: object) -> Section:
    """Returns how to flip pixels: a section counted backwards was read out from that side."""
    x1, x2, y1, y2 = _parse_corners(detsec) or (1, 2, 1, 2)
    return slice(None, None, -1 if y1 > y2 else 1), slice(None, None, -1 if x1 > x2 else 1)


def positive_or_none(value: object) -> float | None:
    """Returns a header's number if it is above 0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if np.isfinite(number) and number > 0 else None


def sections_overlap(first: Section, second: Section) -> bool:
    """True if two sections share a pixel."""
    return all(
        first_span.start < second_span.stop and second_span.start < first_span.stop
        for first_span, second_span in zip(first, second, strict=True)
    )


def bounding_section(sections: Iterable[Section]) -> Section:
    """Returns the smallest section that contains all of them."""
    rows, columns = zip(*sections, strict=True)
    return (
        slice(min(row.start for row in rows), max(row.stop for row in rows)),
        slice(min(column.start for column in columns), max(column.stop for column in columns)),
    )


def section_area(section: Section) -> int:
    """Returns the number of pixels of a section."""
    rows, columns = _section_shape(section)
    return rows * columns


def shift_section(section: Section, offset: Shape) -> Section:
    """Returns a section relative to another corner."""
    rows, columns = section
    return (
        slice(rows.start - offset[0], rows.stop - offset[0]),
        slice(columns.start - offset[1], columns.stop - offset[1]),
    )


def _section_shape(section: Section) -> Shape:
    rows, columns = section
    return rows.stop - rows.start, columns.stop - columns.start


def _parse_corners(text: object) -> tuple[int, int, int, int] | None:
    match = _SECTION_PATTERN.fullmatch(str(text).strip())
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]), int(match[4]))


def _find_light_section(
    shape: Shape, header: Header, defaults: HeaderDefaults, warnings: list[str]
) -> Section:
    for key, text in (
        ("DATASEC", header("DATASEC")),
        ("TRIMSEC", header("TRIMSEC")),
        ("data_section", defaults.data_section),
    ):
        if not text:
            continue
        light_section = parse_section(text, shape)
        if light_section is not None:
            return light_section
        warnings.append(
            f"{key} {str(text)[:40]} does not lie within {shape[1]} x {shape[0]} pixels"
        )
    return slice(0, shape[0]), slice(0, shape[1])


def _find_bias_section(
    shape: Shape, header: Header, defaults: HeaderDefaults, light: Section
) -> tuple[Section | None, str]:
    """Returns the overscan, or why there is none."""
    text = header("BIASSEC") or defaults.bias_section
    if not text:
        rows, columns = light
        if shape[1] - columns.stop >= MIN_OVERSCAN_COLUMNS:
            return (rows, slice(columns.stop, shape[1])), ""
        return None, "the header has no BIASSEC"
    bias_section = parse_section(text, shape)
    if bias_section is None:
        return None, f"BIASSEC {str(text)[:40]} does not lie within {shape[1]} x {shape[0]} pixels"
    if sections_overlap(bias_section, light) and _section_shape(light) != shape:
        return None, f"BIASSEC {str(text)[:40]} lies on DATASEC"
    return bias_section, ""


def _find_detector_section(
    header: Header, size: Shape, warnings: list[str]
) -> tuple[Section | None, int]:
    """Returns the light's section in the detector, and the detector's pixel count, as read out."""
    text = header("DETSEC")
    if not text:
        return None, 0
    corners = _parse_corners(text)
    if corners is None:
        warnings.append(f"DETSEC {str(text)[:40]} is no section")
        return None, 0
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    # A camera that bins on the chip still counts DETSEC in single pixels.
    column_binning, row_binning = (x2 - x1 + 1) / size[1], (y2 - y1 + 1) / size[0]
    if x1 < 1 or y1 < 1 or not (column_binning.is_integer() and row_binning.is_integer()):
        warnings.append(
            f"DETSEC {str(text)[:40]} does not fit {size[1]} x {size[0]} pixels of light"
        )
        return None, 0
    top, left = int((y1 - 1) / row_binning), int((x1 - 1) / column_binning)
    detector_size = parse_section(header("DETSIZE"), (MAX_SIDE, MAX_SIDE))
    detector_pixels = (
        0
        if detector_size is None
        else round(section_area(detector_size) / (column_binning * row_binning))
    )
    return (slice(top, top + size[0]), slice(left, left + size[1])), detector_pixels
