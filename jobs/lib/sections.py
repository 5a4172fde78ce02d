"""Where an amplifier's pixels are, as its FITS header says; what cannot be so is not believed.

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

_SECTION = re.compile(r"\[\s*(-?\d+)\s*:\s*(-?\d+)\s*,\s*(-?\d+)\s*:\s*(-?\d+)\s*\]")
MOST_SIDE = 20_000
FEWEST_COLUMNS = 4
"""Columns beside the light that make an overscan where the header names none."""


@dataclass(frozen=True)
class Given:
    """What the caller says of amplifiers whose headers don't."""

    bias_section: str = ""
    data_section: str = ""
    gain: float = 0.0


NOTHING_GIVEN = Given()


@dataclass(frozen=True)
class Geometry:
    """One amplifier as its header describes it.

    `light` and `bias` (None without an overscan, with `no_bias` saying why) are within its own
    pixels, `place` within its detector, `turn` how its pixels lie there, `whole` how many pixels
    the detector has (0 where nobody says). `gain` is None where it is not known. `doubts` are
    what the header says and cannot be.
    """

    name: str
    light: Section
    bias: Section | None
    place: Section | None
    turn: Section
    gain: float | None
    saturate: float | None
    whole: int = 0
    no_bias: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """Rows and columns of light."""
        return _size(self.light)


def geometry(name: str, shape: Shape, header: Header, given: Given = NOTHING_GIVEN) -> Geometry:
    """The geometry of an amplifier of `shape` (rows, columns, as stored)."""
    doubts: list[str] = []
    light = _light(shape, header, given, doubts)
    bias, no_bias = _bias(shape, header, given, light)
    place, whole = _place(header, _size(light), doubts)
    return Geometry(
        name=name,
        light=light,
        bias=bias,
        place=place,
        turn=turn(header("DETSEC")),
        gain=positive(header("GAIN")) or positive(given.gain),
        saturate=positive(header("SATURATE")),
        whole=whole,
        no_bias=no_bias,
        doubts=tuple(doubts),
    )


def section(text: object, shape: Shape) -> Section | None:
    """Rows and columns of a FITS section within `shape`; None where it is none or lies outside."""
    corners = _corners(text)
    if corners is None:
        return None
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    if x1 < 1 or y1 < 1 or x2 > shape[1] or y2 > shape[0]:
        return None
    return slice(y1 - 1, y2), slice(x1 - 1, x2)


def turn(detsec: object) -> Section:
    """A section counted backwards was read out from that side: how to turn its pixels."""
    x1, x2, y1, y2 = _corners(detsec) or (1, 2, 1, 2)
    return slice(None, None, -1 if y1 > y2 else 1), slice(None, None, -1 if x1 > x2 else 1)


def positive(value: object) -> float | None:
    """A header's number above nought; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if np.isfinite(number) and number > 0 else None


def overlap(one: Section, other: Section) -> bool:
    """Whether two sections share a pixel."""
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def around(places: Iterable[Section]) -> Section:
    """The smallest section that holds all of them."""
    rows, columns = zip(*places, strict=True)
    return (
        slice(min(row.start for row in rows), max(row.stop for row in rows)),
        slice(min(column.start for column in columns), max(column.stop for column in columns)),
    )


def area(one: Section) -> int:
    """How many pixels a section has."""
    rows, columns = _size(one)
    return rows * columns


def moved(one: Section, by: Shape) -> Section:
    """A section seen from another corner."""
    rows, columns = one
    return (
        slice(rows.start - by[0], rows.stop - by[0]),
        slice(columns.start - by[1], columns.stop - by[1]),
    )


def _size(one: Section) -> Shape:
    rows, columns = one
    return rows.stop - rows.start, columns.stop - columns.start


def _corners(text: object) -> tuple[int, int, int, int] | None:
    match = _SECTION.fullmatch(str(text).strip())
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]), int(match[4]))


def _light(shape: Shape, header: Header, given: Given, doubts: list[str]) -> Section:
    for key, text in (
        ("DATASEC", header("DATASEC")),
        ("TRIMSEC", header("TRIMSEC")),
        ("data_section", given.data_section),
    ):
        if not text:
            continue
        found = section(text, shape)
        if found is not None:
            return found
        doubts.append(f"{key} {str(text)[:40]} does not lie within {shape[1]} x {shape[0]} pixels")
    return slice(0, shape[0]), slice(0, shape[1])


def _bias(shape: Shape, header: Header, given: Given, light: Section) -> tuple[Section | None, str]:
    """The overscan, or why there is none."""
    text = header("BIASSEC") or given.bias_section
    if not text:
        rows, columns = light
        if shape[1] - columns.stop >= FEWEST_COLUMNS:
            return (rows, slice(columns.stop, shape[1])), ""
        return None, "the header has no BIASSEC"
    found = section(text, shape)
    if found is None:
        return None, f"BIASSEC {str(text)[:40]} does not lie within {shape[1]} x {shape[0]} pixels"
    if overlap(found, light) and _size(light) != shape:
        return None, f"BIASSEC {str(text)[:40]} lies on DATASEC"
    return found, ""


def _place(header: Header, size: Shape, doubts: list[str]) -> tuple[Section | None, int]:
    """Where the light lies in the detector, and how many pixels that has, as they are read out."""
    text = header("DETSEC")
    if not text:
        return None, 0
    corners = _corners(text)
    if corners is None:
        doubts.append(f"DETSEC {str(text)[:40]} is no section")
        return None, 0
    (x1, x2), (y1, y2) = sorted(corners[:2]), sorted(corners[2:])
    # A camera that bins on the chip still counts DETSEC in single pixels.
    across, up = (x2 - x1 + 1) / size[1], (y2 - y1 + 1) / size[0]
    if x1 < 1 or y1 < 1 or not (across.is_integer() and up.is_integer()):
        doubts.append(f"DETSEC {str(text)[:40]} does not fit {size[1]} x {size[0]} pixels of light")
        return None, 0
    top, left = int((y1 - 1) / up), int((x1 - 1) / across)
    detector = section(header("DETSIZE"), (MOST_SIDE, MOST_SIDE))
    whole = 0 if detector is None else round(area(detector) / (across * up))
    return (slice(top, top + size[0]), slice(left, left + size[1])), whole
