"""A detector's image, put together from its amplifiers by DETSEC.

Amplifiers are read one by one into their place, so that a detector is in memory only once. One
that cannot be read is missing, and so is one that the file lacks: neither is nought.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .amplifier import HUGE, Light, Overscan, light, overscan
from .sections import (
    NOTHING_GIVEN,
    Geometry,
    Given,
    Header,
    Section,
    Shape,
    area,
    around,
    geometry,
    moved,
    overlap,
    positive,
)

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SPARSEST = 4
"""A detector that is this many times larger than its amplifiers together is a header's lie."""
TROUBLE = (OSError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError, RuntimeError)
"""What cfitsio and its Python side raise over a file whose bytes are not what they should be."""
LOWEST = -HUGE
"""A pixel below it, minus infinity say, is none."""
FAR_BELOW = 6.0
"""Sigmas under its sky from which on a pixel of less than half of it is dead, and not noise."""


class Unreadable(ValueError):
    """None of the amplifiers can be read; the message is why the first one can't."""


@dataclass(frozen=True)
class Plane:
    """One amplifier before it is read: its header, its shape, and how to get its pixels."""

    name: str
    shape: Shape
    header: Header
    read: Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True)
class Amplifier:
    """One amplifier as it was read. `place` is where it lies in the detector's image.

    `dead` and `saturated` are parts of its light. Where it could not be read, `reason` says why,
    and nothing else is known of it.
    """

    name: str
    overscan: Overscan
    light: Light | None
    place: Section
    gain: float
    saturated: float
    dead: float
    reason: str = ""


@dataclass(frozen=True)
class Detector:
    """A detector, put together: `image` in `unit`, less the overscan; `bad` pixels are saturated,
    dead, masked or missing, None where none is.

    `missing` are amplifiers that the header promises and the file lacks; `notes` what was
    doubtful.
    """

    name: str
    amplifiers: tuple[Amplifier, ...]
    image: Image
    bad: Mask | None
    unit: str
    pixel_scale: float
    missing: int = 0
    notes: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[Amplifier, ...]:
        """The amplifiers that could be read."""
        return tuple(one for one in self.amplifiers if not one.reason)


@dataclass
class _Building:
    """The image while amplifiers are put into it."""

    image: Image
    bad: Mask | None = None
    masked: Mask | None = None
    amplifiers: list[Amplifier] = field(default_factory=list)

    def spoil(self, place: Section, pixels: Mask) -> None:
        """Marks pixels of a place as bad."""
        if self.bad is None:
            self.bad = np.zeros(self.image.shape, np.bool_)
        self.bad[place] |= pixels


def assemble(
    planes: Sequence[Plane], name: str, masks: Sequence[Mask] = (), given: Given = NOTHING_GIVEN
) -> Detector:
    """A detector from its amplifiers; Unreadable where none of them can be read."""
    shapes = [geometry(plane.name, plane.shape, plane.header, given) for plane in planes]
    names = _unique([one.name or f"A{number:02d}" for number, one in enumerate(shapes)])
    places, whole, doubt = _layout(shapes)
    scaled = all(one.gain is not None for one in shapes)
    building = _Building(np.empty(whole, np.float32))
    if sum(area(place) for place in places) < building.image.size:
        building.image.fill(np.nan)
        building.bad = np.ones(whole, np.bool_)
    for plane, where, place, amp in zip(planes, shapes, places, names, strict=True):
        _put(building, plane, where, (place, amp), scaled)
    if all(one.reason for one in building.amplifiers):
        raise Unreadable(building.amplifiers[0].reason)
    notes = [doubt, *(_apply(building, mask) for mask in masks)]
    _find_dead(building)
    notes += [doubt for one in shapes for doubt in one.doubts]
    scale = positive(planes[0].header("PIXSCALE")) or positive(planes[0].header("SECPIX"))
    return Detector(
        name, tuple(building.amplifiers), building.image, building.bad,
        "electron" if scaled else "adu", scale or float("nan"), _absent(shapes),
        tuple(dict.fromkeys(note for note in notes if note)),
    )  # fmt: skip


def _layout(shapes: Sequence[Geometry]) -> tuple[list[Section], Shape, str]:
    """Where each amplifier lies in the image, the image's shape, and what is wrong with DETSEC."""
    places = [one.place for one in shapes if one.place is not None]
    sizes = sum(one.shape[0] * one.shape[1] for one in shapes)
    if len(places) < len(shapes):
        doubt = "DETSEC is missing or no section" if places else ""
    elif any(overlap(one, other) for i, one in enumerate(places) for other in places[:i]):
        doubt = "the DETSECs of two amplifiers overlap"
    elif area(around(places)) > SPARSEST * sizes:
        doubt = "the DETSECs lie too far apart"
    else:
        whole = around(places)
        corner = whole[0].start, whole[1].start
        shape = whole[0].stop - corner[0], whole[1].stop - corner[1]
        return [moved(place, corner) for place in places], shape, ""
    side_by_side, left = [], 0
    for one in shapes:
        rows, columns = one.shape
        side_by_side.append((slice(0, rows), slice(left, left + columns)))
        left += columns
    words = f"{doubt}: the amplifiers were put side by side" if doubt else ""
    return side_by_side, (max(one.shape[0] for one in shapes), left), words


def _put(
    building: _Building, plane: Plane, where: Geometry, at: tuple[Section, str], scaled: bool
) -> None:
    """Reads an amplifier and puts its light, scaled, into its place; or says why not."""
    place, name = at
    try:
        raw = plane.read()
    except TROUBLE as error:
        building.spoil(place, np.ones(where.shape, np.bool_))
        building.image[place] = np.nan
        nan = float("nan")
        reason = words(error)
        building.amplifiers.append(
            Amplifier(name, Overscan(reason=reason), None, place, nan, nan, nan, reason)
        )
        return
    strip = overscan(raw, where)
    lit = light(raw, where, strip)
    gain = where.gain if scaled and where.gain is not None else 1.0
    pixels = raw[where.light][where.turn]
    if pixels.dtype.kind == "f":
        pixels = np.where(np.abs(pixels) < HUGE, pixels, np.nan)
    target = building.image[place]
    np.subtract(
        pixels, np.float32(np.nan_to_num(strip.mean)), out=target, dtype=np.float32,
        casting="unsafe",
    )  # fmt: skip
    if gain != 1.0:
        target *= np.float32(gain)
    if building.bad is not None:
        building.bad[place] = False
    if lit.saturated:
        building.spoil(place, raw[where.light][where.turn] >= lit.full)
    part = lit.saturated / pixels.size
    building.amplifiers.append(Amplifier(name, strip, lit, place, gain, part, 0.0))


def _find_dead(building: _Building) -> None:
    """Marks pixels without a value, and those under half the sky where that stands clear of noise.

    The sky is the amplifier's own, or the detector's where the amplifier has less than half of
    it. What is marked, masked or missing gets the sky's level, so that nothing jumps at its edge.
    """
    read = [one for one in building.amplifiers if one.light is not None]
    levels = [_level(one) for one in read if one.saturated < 0.5 and np.isfinite(_level(one))]
    typical = float(np.median(levels)) if levels else 0.0
    for number, one in enumerate(building.amplifiers):
        if one.light is not None:
            building.amplifiers[number] = _without_dead(building, one, one.light, typical)
    if building.bad is not None:
        np.copyto(building.image, typical, where=np.isnan(building.image))


def _without_dead(building: _Building, one: Amplifier, lit: Light, typical: float) -> Amplifier:
    pixels = building.image[one.place]
    own = _level(one)
    sky = typical if not own >= 0.5 * typical else own
    clear = 0.5 * sky > FAR_BELOW * lit.spread * one.gain and one.saturated < 0.5
    edge = 0.5 * sky if clear else -np.inf
    if building.masked is None and lit.least * one.gain >= max(edge, LOWEST):
        return one
    dead = ~(np.isfinite(pixels) & (pixels >= edge))
    spoilt = dead
    if building.masked is not None:
        masked = building.masked[one.place]
        spoilt, dead = dead | masked, dead & ~masked
    if spoilt.any():
        building.spoil(one.place, spoilt)
        pixels[spoilt] = own if np.isfinite(own) and own >= 0.5 * typical else typical
    return replace(one, dead=float(dead.mean()))


def _level(one: Amplifier) -> float:
    return one.light.level * one.gain if one.light is not None else float("nan")


def _apply(building: _Building, mask: Mask) -> str:
    """Marks what a mask marks; says so where it does not fit."""
    if mask.shape != building.image.shape:
        want, have = building.image.shape, mask.shape
        return f"the mask has the shape {have}, the image {want}: it was not used"
    marked = np.asarray(mask, np.bool_)
    building.masked = marked if building.masked is None else building.masked | marked
    return ""


def _absent(shapes: Sequence[Geometry]) -> int:
    """How many amplifiers the detector has besides those of the file."""
    whole = max(one.whole for one in shapes)
    there = sum(one.shape[0] * one.shape[1] for one in shapes)
    return max(0, round((whole - there) / (there / len(shapes)))) if whole else 0


def _unique(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}-{i}" for i, name in enumerate(names)]


def words(error: BaseException) -> str:
    """The first line: what follows is what the library tried before."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
