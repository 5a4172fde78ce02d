"""From the errors of a mount's axes to what they did to the image, and what kind of fault it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catcher import Event, Observation, Series

from .shaking import CLASSES, Kind, Motion, kind, settled, without_points
from .tracking import Array, Axis, fitted, follow, fraction_seen, rms, within, worst_second

LEAST_SEEN = 0.9
FEWEST = 10
SLEW = 1.0
"""Degrees: an axis that turned further did not merely track."""
SLEWING = 0.1
"""Degrees a second: no star moves so fast, but within a few degrees of the zenith."""
NOT_TRACKING = ("BIAS", "FLAT")
"""Images that are taken with the mount at rest or anywhere (as RubinTV skips them)."""
SLEWED = "the mount slewed to the end"
NO_PEAK = "no oscillation stands out of the spectrum"


@dataclass(frozen=True)
class Looked:
    """What there is to judge: the axes, how much of the exposure they saw, lone points in them,
    and further parts of the image's motion (arcsec, root mean square) by their metric's name.

    also: of those parts, what counts towards the whole and with which factor.
    """

    axes: Mapping[str, Axis]
    seen: float
    parts: Mapping[str, float] = field(default_factory=dict)
    also: Mapping[str, float] = field(default_factory=dict)
    height: float = 0.0


@dataclass(frozen=True)
class Judged:
    """The numbers of an exposure; `missing` says of those that cannot be had why."""

    looked: Looked
    numbers: Mapping[str, float]
    missing: Mapping[str, str]
    kind: Kind
    motion: Motion
    worst_at: float
    points: int

    @property
    def words(self) -> str:
        """The fault in words; empty where it is noise."""
        name, peaks = self.kind.name, self.kind.spectrum.peaks
        if name == "oscillation" and peaks:
            return peaks[0].name
        glitch = f"glitch of {self.points} point{'s' if self.points > 1 else ''}"
        return {"noise": "", "glitch": glitch, "timing": "clocks jumped"}.get(name, name)


def image_type(event: Event | None, observation: Observation | None) -> str:
    """The kind of image in capitals, from `imageType` of the event, its additional keys and
    values, or the observation's columns; empty where it is not told."""
    fields: Mapping[str, Any] = event.fields if event is not None else {}
    keys = str(fields.get("additionalKeys", "")).split(":")
    values = str(fields.get("additionalValues", "")).split(":")
    columns = observation.columns if observation is not None else {}
    told = {**dict(zip(keys, values, strict=False)), **columns, **fields}
    names = ("imageType", "image_type", "observation_type", "img_type")
    return next((str(told[name]).upper() for name in names if told.get(name)), "")


def fraction(axes: Mapping[str, Axis], observation: Observation | None) -> float:
    """The part of the exposure that the axis with the fewest samples saw, 0 to 1."""
    if observation is None or observation.end <= observation.start:
        start = min(float(axis.time[0]) for axis in axes.values())
        end = max(float(axis.time[-1]) for axis in axes.values())
    else:
        start, end = observation.start / 1e9, observation.end / 1e9
    return min(fraction_seen(axis.time, start, end) for axis in axes.values())


def unusable(axes: Mapping[str, Axis | None], seen: float) -> str:
    """Why nothing can be said; empty where something can."""
    for name, axis in axes.items():
        if axis is None or len(axis.time) < FEWEST:
            count = 0 if axis is None else len(axis.time)
            few = f"only {count} samples" if count else "no usable telemetry"
            return f"{few} of the {name} in this time, {FEWEST} are needed"
    if seen < LEAST_SEEN:
        return f"only {100 * seen:.0f} % of the exposure has telemetry, 90 % are needed"
    return ""


def judge(looked: Looked, settle: float | str, modes: Mapping[str, float]) -> Judged:
    """All numbers. settle: the settle time (s), or why it is unknown. modes: named frequencies."""
    azimuth, elevation = looked.axes["azimuth"], looked.axes["elevation"]
    across = float(np.cos(np.radians(looked.height)))
    turn = looked.axes["rotator"].rms if "rotator" in looked.axes else None
    added = [value * looked.also[name] for name, value in looked.parts.items()]
    if turn is not None:
        added.append(turn * looked.also["rotator_rms"])
    (one, first), (two, second) = _cleaned(azimuth), _cleaned(elevation)
    whole = _quadrature(azimuth.rms * across, elevation.rms, *added)
    believed = _quadrature(rms(one) * across, rms(two), *added)
    cleaned = _motion(azimuth, elevation, one, two)
    recorded = _motion(azimuth, elevation, azimuth.error, elevation.error)
    repaired = _motion(azimuth, elevation, azimuth.believed, elevation.believed)
    distance = np.sqrt(recorded.square + _turned(looked, azimuth.time))
    worst, at = worst_second(azimuth.time, distance)
    found = kind(recorded.energy, repaired.energy, cleaned, modes)
    numbers = {
        "azimuth_rms": azimuth.rms,
        "elevation_rms": elevation.rms,
        "image_impact_rms": whole,
        "image_impact_p95": float(np.percentile(distance, 95)),
        "image_impact_worst_second": worst,
        "mechanical_rms": min(believed, whole),
        "jitter_rms": found.jitter,
        "drift": found.drift,
        "failure": float(CLASSES.index(found.name)),
        **{f"{name}_part": part for name, part in found.parts.items()},
        **looked.parts,
    }
    missing: dict[str, str] = {}
    if turn is not None:
        numbers["rotator_rms"] = turn
    if found.spectrum.peaks:
        strongest = found.spectrum.peaks[0]
        numbers["peak_frequency"] = strongest.frequency
        numbers["peak_amplitude"] = strongest.amplitude
    else:
        missing |= {"peak_frequency": NO_PEAK, "peak_amplitude": NO_PEAK}
    if isinstance(settle, str):
        missing["settle_time"] = settle
    else:
        numbers["settle_time"] = settle
    return Judged(looked, numbers, missing, found, recorded, at, first + second)


def _cleaned(axis: Axis) -> tuple[Array, int]:
    """The error without clocks that jumped and lone points, and how many these are."""
    error, points = without_points(axis.believed)
    if points and axis.degree:
        # The polynomial leaned towards the points.
        error = error - fitted(axis.time, error, axis.degree)
    return error, points


def _quadrature(*parts: float) -> float:
    return float(np.sqrt(np.sum(np.square(parts))))


def _motion(azimuth: Axis, elevation: Axis, across: Array, up: Array) -> Motion:
    """The image's motion at the azimuth's times."""
    time = azimuth.time
    height = np.interp(time, elevation.time, elevation.position)
    return Motion(time, across * np.cos(np.radians(height)), np.interp(time, elevation.time, up))


def _turned(looked: Looked, time: Array) -> Array:
    """The square of the motion that the rotator makes (arcsec^2)."""
    if "rotator" not in looked.axes or not looked.also.get("rotator_rms"):
        return np.zeros(len(time))
    rotator = looked.axes["rotator"]
    turn = np.interp(time, rotator.time, rotator.error)
    return np.asarray((turn * looked.also["rotator_rms"]) ** 2)


def slew_end(azimuth: Series, elevation: Series) -> float:
    """When the last slew among the samples ended (s); minus infinity where there is none."""
    whole = (within(series, -np.inf, np.inf) for series in (azimuth, elevation))
    axes = [axis for axis in map(follow, whole) if axis is not None]
    return max((_slew_end(axis) for axis in axes), default=-np.inf)


def settle_time(azimuth: Series, elevation: Series, limit: float) -> float | str:
    """Seconds after the last slew (else after the first sample) until the image stays within
    `limit` (arcsec, root mean square of any second); or why that is unknown.

    Where no demand is recorded, errors after a slew are about a parabola through the later half of
    what followed.
    """
    axes = follow(within(azimuth, -np.inf, np.inf)), follow(within(elevation, -np.inf, np.inf))
    if axes[0] is None or axes[1] is None:
        return "no usable telemetry"
    start = max(_slew_end(axis) for axis in axes if axis is not None)
    if not np.isfinite(start):
        start = float(axes[0].time[0])
    one, other = (_after(axis, start) for axis in axes if axis is not None)
    if len(one.time) < FEWEST or len(other.time) < FEWEST:
        return SLEWED
    across, up = without_points(one.error)[0], without_points(other.error)[0]
    motion = np.sqrt(_motion(one, other, across, up).square)
    found = settled(one.time, motion, start, limit)
    return f"not settled to {limit:g} arcsec" if found is None else found


def _slew_end(axis: Axis) -> float:
    steps, spans = np.diff(axis.position), np.maximum(np.diff(axis.time), 1e-3)
    # Over half a second, so that a point that is wrong or a stamp that is late is no slew.
    width = max(1, round(0.5 / float(np.median(spans))))
    if len(steps) < width:
        return -np.inf
    box = np.ones(width)
    rate = np.convolve(steps, box, "valid") / np.convolve(spans, box, "valid")
    moving = np.flatnonzero(np.abs(rate) > SLEWING)
    return float(axis.time[moving[-1] + width]) if len(moving) else -np.inf


def _after(axis: Axis, start: float) -> Axis:
    kept = axis.time >= start
    time, position, error = axis.time[kept], axis.position[kept], axis.believed[kept]
    if axis.reference == "polynomial" and 2 * FEWEST <= len(time) < len(axis.time):
        late = slice(len(time) // 2, None)
        error = (position - fitted(time[late], position[late], 2, time)) * 3600.0
    return Axis(time, position, error, axis.reference)
