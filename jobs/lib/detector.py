"""A detector's image, assembled from its amplifiers by DETSEC.
Amplifiers are read one by one into the image, so that a detector is in memory only once. One that
cannot be read is missing, and so is one that the file lacks: neither counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .amplifier import (
    MAX_VALUE,
    LightStatistics,
    OverscanStatistics,
    measure_light,
    measure_overscan,
)
from .sections import (
    NO_DEFAULTS,
    AmplifierGeometry,
    Header,
    HeaderDefaults,
    Section,
    Shape,
    bounding_section,
    parse_geometry,
    positive_or_none,
    section_area,
    sections_overlap,
    shift_section,
)

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

MAX_AREA_RATIO = 4
"""A detector this many times larger than its amplifiers together is an error of the header."""
READ_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
)
"""What cfitsio and its Python side raise for a damaged file."""
MIN_VALUE = -MAX_VALUE
"""A pixel below it, such as minus infinity, is invalid."""
DEAD_SIGMAS = 6.0
"""Pixels below half of the sky are dead if that is this many sigmas below it, else noise."""


class AmplifiersUnreadable(ValueError):
    """None of the amplifiers can be read; the message is why the first one can't."""


@dataclass(frozen=True)
class AmplifierPlane:
    """One amplifier before it is read: its header, its shape, and how to read its pixels."""

    name: str
    shape: Shape
    header: Header
    read: Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True)
class Amplifier:
    """One amplifier as it was read. `section` is its location in the detector's image.
    `dead` and `saturated` are parts of its light. If it could not be read, `reason` says why, and
    nothing else is known of it.
    """

    name: str
    overscan: OverscanStatistics
    light: LightStatistics | None
    section: Section
    gain: float
    saturated: float
    dead: float
    reason: str = ""


@dataclass(frozen=True)
class Detector:
    """An assembled detector: `image` in `unit`, without the overscan.
    `bad` pixels are saturated, dead, masked or missing; None if there are none.
    `missing_amplifiers` is the number of amplifiers that the header implies and the file lacks;
    `notes` lists what was doubtful.
    """

    name: str
    amplifiers: tuple[Amplifier, ...]
    image: Image
    bad: Mask | None
    unit: str
    pixel_scale: float
    missing_amplifiers: int = 0
    notes: tuple[str, ...] = ()

    @property
    def readable_amplifiers(self) -> tuple[Amplifier, ...]:
        """The amplifiers that could be read."""
        return tuple(amplifier for amplifier in self.amplifiers if not amplifier.reason)


@dataclass
class _DetectorBuilder:
    """The image while amplifiers are added to it."""

    image: Image
    bad: Mask | None = None
    masked: Mask | None = None
    amplifiers: list[Amplifier] = field(default_factory=list)

    def mark_bad(self, section: Section, pixels: Mask) -> None:
        """Marks pixels of a section as bad."""
        if self.bad is None:
            self.bad = np.zeros(self.image.shape, np.bool_)
        self.bad[section] |= pixels


def assemble_detector(
    planes: Sequence[AmplifierPlane],
    name: str,
    masks: Sequence[Mask] = (),
    defaults: HeaderDefaults = NO_DEFAULTS,
) -> Detector:
    """Assembles a detector. Raises AmplifiersUnreadable if none of its amplifiers can be read."""
    geometries = [
        parse_geometry(plane.name, plane.shape, plane.header, defaults) for plane in planes
    ]
    names = _make_names_unique(
        [geometry.name or f"A{number:02d}" for number, geometry in enumerate(geometries)]
    )
    sections, image_shape, warning = _lay_out_amplifiers(geometries)
    has_gains = all(geometry.gain is not None for geometry in geometries)
    builder = _DetectorBuilder(np.empty(image_shape, np.float32))
    if sum(section_area(section) for section in sections) < builder.image.size:
        builder.image.fill(np.nan)
        builder.bad = np.ones(image_shape, np.bool_)
    for plane, geometry, section, amplifier_name in zip(
        planes, geometries, sections, names, strict=True
    ):
        _add_amplifier(builder, plane, geometry, (section, amplifier_name), has_gains)
    if all(amplifier.reason for amplifier in builder.amplifiers):
        raise AmplifiersUnreadable(builder.amplifiers[0].reason)
    notes = [warning, *(_apply_mask(builder, mask) for mask in masks)]
    _mark_dead_pixels(builder)
    notes += [warning for geometry in geometries for warning in geometry.warnings]
    scale = positive_or_none(planes[0].header("PIXSCALE")) or positive_or_none(
        planes[0].header("SECPIX")
    )
    return Detector(
        name,
        tuple(builder.amplifiers),
        builder.image,
        builder.bad,
        "electron" if has_gains else "adu",
        scale or float("nan"),
        _count_missing_amplifiers(geometries),
        tuple(dict.fromkeys(note for note in notes if note)),
    )


def _lay_out_amplifiers(
    geometries: Sequence[AmplifierGeometry],
) -> tuple[list[Section], Shape, str]:
    """Returns each amplifier's section in the image, the image's shape, and DETSEC's problem."""
    sections = [
        geometry.detector_section
        for geometry in geometries
        if geometry.detector_section is not None
    ]
    pixel_count = sum(geometry.shape[0] * geometry.shape[1] for geometry in geometries)
    if len(sections) < len(geometries):
        warning = "DETSEC is missing or no section" if sections else ""
    elif any(
        sections_overlap(section, other_section)
        for i, section in enumerate(sections)
        for other_section in sections[:i]
    ):
        warning = "the DETSECs of two amplifiers overlap"
    elif section_area(bounding_section(sections)) > MAX_AREA_RATIO * pixel_count:
        warning = "the DETSECs lie too far apart"
    else:
        bounds = bounding_section(sections)
        corner = bounds[0].start, bounds[1].start
        shape = bounds[0].stop - corner[0], bounds[1].stop - corner[1]
        return [shift_section(section, corner) for section in sections], shape, ""
    side_by_side, next_column = [], 0
    for geometry in geometries:
        rows, columns = geometry.shape
        side_by_side.append((slice(0, rows), slice(next_column, next_column + columns)))
        next_column += columns
    message = f"{warning}: the amplifiers were put side by side" if warning else ""
    return side_by_side, (max(geometry.shape[0] for geometry in geometries), next_column), message


def _add_amplifier(
    builder: _DetectorBuilder,
    plane: AmplifierPlane,
    geometry: AmplifierGeometry,
    section_and_name: tuple[Section, str],
    has_gains: bool,
) -> None:
    """Reads an amplifier and writes its scaled light into its section, or records why not."""
    section, name = section_and_name
    try:
        raw = plane.read()
    except READ_ERRORS as error:
        builder.mark_bad(section, np.ones(geometry.shape, np.bool_))
        builder.image[section] = np.nan
        nan = float("nan")
        reason = describe_error(error)
        builder.amplifiers.append(
            Amplifier(name, OverscanStatistics(reason=reason), None, section, nan, nan, nan, reason)
        )
        return
    overscan_statistics = measure_overscan(raw, geometry)
    light_statistics = measure_light(raw, geometry, overscan_statistics)
    gain = geometry.gain if has_gains and geometry.gain is not None else 1.0
    pixels = raw[geometry.light][geometry.orientation]
    if pixels.dtype.kind == "f":
        pixels = np.where(np.abs(pixels) < MAX_VALUE, pixels, np.nan)
    target = builder.image[section]
    np.subtract(
        pixels, np.float32(np.nan_to_num(overscan_statistics.mean)), out=target, dtype=np.float32,
        casting="unsafe",
    )  # fmt: skip
    if gain != 1.0:
        target *= np.float32(gain)
    if builder.bad is not None:
        builder.bad[section] = False
    if light_statistics.saturated_pixels:
        builder.mark_bad(
            section, raw[geometry.light][geometry.orientation] >= light_statistics.saturation_count
        )
    saturated_fraction = light_statistics.saturated_pixels / pixels.size
    builder.amplifiers.append(
        Amplifier(
            name, overscan_statistics, light_statistics, section, gain, saturated_fraction, 0.0
        )
    )


def _mark_dead_pixels(builder: _DetectorBuilder) -> None:
    """Marks pixels without a value, and those under half the sky if that is clear of the noise.
    The sky is the amplifier's own, or the detector's if the amplifier has less than half of it.
    What is marked, masked or missing gets the sky's level, so that there is no step at its edge.
    """
    readable = [amplifier for amplifier in builder.amplifiers if amplifier.light is not None]
    levels = [
        _sky_level(amplifier)
        for amplifier in readable
        if amplifier.saturated < 0.5 and np.isfinite(_sky_level(amplifier))
    ]
    typical = float(np.median(levels)) if levels else 0.0
    for number, amplifier in enumerate(builder.amplifiers):
        if amplifier.light is not None:
            builder.amplifiers[number] = _mark_dead_in_amplifier(
                builder, amplifier, amplifier.light, typical
            )
    if builder.bad is not None:
        np.copyto(builder.image, typical, where=np.isnan(builder.image))


def _mark_dead_in_amplifier(
    builder: _DetectorBuilder,
    amplifier: Amplifier,
    light_statistics: LightStatistics,
    typical_level: float,
) -> Amplifier:
    pixels = builder.image[amplifier.section]
    own_level = _sky_level(amplifier)
    sky_level = typical_level if not own_level >= 0.5 * typical_level else own_level
    is_distinct = (
        0.5 * sky_level > DEAD_SIGMAS * light_statistics.spread * amplifier.gain
        and amplifier.saturated < 0.5
    )
    threshold = 0.5 * sky_level if is_distinct else -np.inf
    if builder.masked is None and light_statistics.lowest * amplifier.gain >= max(
        threshold, MIN_VALUE
    ):
        return amplifier
    is_dead = ~(np.isfinite(pixels) & (pixels >= threshold))
    is_bad = is_dead
    if builder.masked is not None:
        is_masked = builder.masked[amplifier.section]
        is_bad, is_dead = is_dead | is_masked, is_dead & ~is_masked
    if is_bad.any():
        builder.mark_bad(amplifier.section, is_bad)
        pixels[is_bad] = (
            own_level
            if np.isfinite(own_level) and own_level >= 0.5 * typical_level
            else typical_level
        )
    return replace(amplifier, dead=float(is_dead.mean()))


def _sky_level(amplifier: Amplifier) -> float:
    return amplifier.light.level * amplifier.gain if amplifier.light is not None else float("nan")


def _apply_mask(builder: _DetectorBuilder, mask: Mask) -> str:
    """Applies a mask; returns a note if its shape does not fit."""
    if mask.shape != builder.image.shape:
        image_shape, mask_shape = builder.image.shape, mask.shape
        return f"the mask has the shape {mask_shape}, the image {image_shape}: it was not used"
    is_masked = np.asarray(mask, np.bool_)
    builder.masked = is_masked if builder.masked is None else builder.masked | is_masked
    return ""


def _count_missing_amplifiers(geometries: Sequence[AmplifierGeometry]) -> int:
    """Returns how many amplifiers the detector has besides those of the file."""
    detector_pixels = max(geometry.detector_pixels for geometry in geometries)
    present_pixels = sum(geometry.shape[0] * geometry.shape[1] for geometry in geometries)
    return (
        max(0, round((detector_pixels - present_pixels) / (present_pixels / len(geometries))))
        if detector_pixels
        else 0
    )


def _make_names_unique(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}-{i}" for i, name in enumerate(names)]


def describe_error(error: BaseException) -> str:
    """Returns the first line of an error: the rest is what the library tried before."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
