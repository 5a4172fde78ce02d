"""From the errors of a mount's axes to the motion of the image, and the kind of fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catcher import Event, Observation, Series

from .motion_analysis import (
    FAILURE_CLASSES,
    ImageMotion,
    MotionBreakdown,
    classify_motion,
    find_settle_time,
    remove_glitches,
)
from .tracking import (
    Array,
    AxisResiduals,
    compute_axis_residuals,
    compute_coverage,
    find_worst_second,
    fit_polynomial,
    rms,
    slice_series,
)

MIN_COVERAGE = 0.9
MIN_SAMPLES = 10
MAX_TRACKING_TRAVEL = 1.0
"""Degrees: an axis that turned further did not merely track."""
MIN_SLEW_RATE = 0.1
"""Degrees a second: stars move slower, except within a few degrees of the zenith."""
UNTRACKED_IMAGE_TYPES = ("BIAS", "FLAT")
"""Images that are taken with the mount at rest or anywhere (RubinTV skips them, too)."""
SLEWED_REASON = "the mount slewed to the end"
NO_PEAK_REASON = "no oscillation stands out of the spectrum"


@dataclass(frozen=True)
class MountResiduals:
    """The input of an analysis: the axes, how much of the exposure they cover, and other motions.
    extra_rms: further parts of the image's motion (arcsec, root mean square) by their metric's
    name. weights: which of those parts count towards the total, and with which factor.
    """

    axes: Mapping[str, AxisResiduals]
    coverage: float
    extra_rms: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    elevation: float = 0.0


@dataclass(frozen=True)
class JitterAnalysis:
    """The numbers of an exposure; `unknown_reasons` says why some of them are unknown."""

    errors: MountResiduals
    values: Mapping[str, float]
    unknown_reasons: Mapping[str, str]
    breakdown: MotionBreakdown
    motion: ImageMotion
    worst_second_start: float
    glitch_count: int

    @property
    def fault_name(self) -> str:
        """A description of the fault; empty for noise."""
        name, peaks = self.breakdown.name, self.breakdown.spectrum.peaks
        if name == "oscillation" and peaks:
            return peaks[0].name
        glitch = f"glitch of {self.glitch_count} point{'s' if self.glitch_count > 1 else ''}"
        return {"noise": "", "glitch": glitch, "timing": "clocks jumped"}.get(name, name)


def find_image_type(event: Event | None, observation: Observation | None) -> str:
    """Returns the kind of image in capitals, from `imageType` of the event, its additional keys and
    values, or the observation's columns; empty if it is unknown.
    """
    fields: Mapping[str, Any] = event.fields if event is not None else {}
    keys = str(fields.get("additionalKeys", "")).split(":")
    value_list = str(fields.get("additionalValues", "")).split(":")
    columns = observation.columns if observation is not None else {}
    values_by_name = {**dict(zip(keys, value_list, strict=False)), **columns, **fields}
    names = ("imageType", "image_type", "observation_type", "img_type")
    return next(
        (str(values_by_name[name]).upper() for name in names if values_by_name.get(name)), ""
    )


def exposure_coverage(axes: Mapping[str, AxisResiduals], observation: Observation | None) -> float:
    """Returns the part of the exposure that the axis with the fewest samples covers, 0 to 1."""
    if observation is None or observation.end <= observation.start:
        start = min(float(axis.time[0]) for axis in axes.values())
        end = max(float(axis.time[-1]) for axis in axes.values())
    else:
        start, end = observation.start / 1e9, observation.end / 1e9
    return min(compute_coverage(axis.time, start, end) for axis in axes.values())


def find_problem(axes: Mapping[str, AxisResiduals | None], coverage: float) -> str:
    """Returns why nothing can be computed; empty if it can."""
    for name, axis in axes.items():
        if axis is None or len(axis.time) < MIN_SAMPLES:
            count = 0 if axis is None else len(axis.time)
            count_text = f"only {count} samples" if count else "no usable telemetry"
            return f"{count_text} of the {name} in this time, {MIN_SAMPLES} are needed"
    if coverage < MIN_COVERAGE:
        return f"only {100 * coverage:.0f} % of the exposure has telemetry, 90 % are needed"
    return ""


def analyze_jitter(
    errors: MountResiduals, settle_time: float | str, modes: Mapping[str, float]
) -> JitterAnalysis:
    """Computes all numbers.
    settle_time: in s, or why it is unknown. modes: named frequencies.
    """
    azimuth, elevation = errors.axes["azimuth"], errors.axes["elevation"]
    azimuth_scale = float(np.cos(np.radians(errors.elevation)))
    rotator_rms = errors.axes["rotator"].rms if "rotator" in errors.axes else None
    extra_rms = [value * errors.weights[name] for name, value in errors.extra_rms.items()]
    if rotator_rms is not None:
        extra_rms.append(rotator_rms * errors.weights["rotator_rms"])
    (azimuth_error, azimuth_glitches), (elevation_error, elevation_glitches) = (
        _clean_error(azimuth),
        _clean_error(elevation),
    )
    image_rms = _quadrature_sum(azimuth.rms * azimuth_scale, elevation.rms, *extra_rms)
    mechanical_rms = _quadrature_sum(
        rms(azimuth_error) * azimuth_scale, rms(elevation_error), *extra_rms
    )
    cleaned_motion = _image_motion(azimuth, elevation, azimuth_error, elevation_error)
    recorded_motion = _image_motion(azimuth, elevation, azimuth.error, elevation.error)
    repaired_motion = _image_motion(
        azimuth, elevation, azimuth.corrected_error, elevation.corrected_error
    )
    distance = np.sqrt(recorded_motion.square + _rotation_square(errors, azimuth.time))
    worst, worst_start = find_worst_second(azimuth.time, distance)
    breakdown = classify_motion(
        recorded_motion.energy, repaired_motion.energy, cleaned_motion, modes
    )
    values = {
        "azimuth_rms": azimuth.rms,
        "elevation_rms": elevation.rms,
        "image_impact_rms": image_rms,
        "image_impact_p95": float(np.percentile(distance, 95)),
        "image_impact_worst_second": worst,
        "mechanical_rms": min(mechanical_rms, image_rms),
        "jitter_rms": breakdown.jitter,
        "drift": breakdown.drift,
        "failure": float(FAILURE_CLASSES.index(breakdown.name)),
        **{f"{name}_part": part for name, part in breakdown.parts.items()},
        **errors.extra_rms,
    }
    unknown_reasons: dict[str, str] = {}
    if rotator_rms is not None:
        values["rotator_rms"] = rotator_rms
    if breakdown.spectrum.peaks:
        strongest_peak = breakdown.spectrum.peaks[0]
        values["peak_frequency"] = strongest_peak.frequency
        values["peak_amplitude"] = strongest_peak.amplitude
    else:
        unknown_reasons |= {"peak_frequency": NO_PEAK_REASON, "peak_amplitude": NO_PEAK_REASON}
    if isinstance(settle_time, str):
        unknown_reasons["settle_time"] = settle_time
    else:
        values["settle_time"] = settle_time
    return JitterAnalysis(
        errors,
        values,
        unknown_reasons,
        breakdown,
        recorded_motion,
        worst_start,
        azimuth_glitches + elevation_glitches,
    )


def _clean_error(axis: AxisResiduals) -> tuple[Array, int]:
    """Returns the error without clock jumps and lone points, and the number of lone points."""
    error, glitch_count = remove_glitches(axis.corrected_error)
    if glitch_count and axis.degree:
        # The lone points had shifted the polynomial.
        error = error - fit_polynomial(axis.time, error, axis.degree)
    return error, glitch_count


def _quadrature_sum(*parts: float) -> float:
    return float(np.sqrt(np.sum(np.square(parts))))


def _image_motion(
    azimuth: AxisResiduals, elevation: AxisResiduals, azimuth_error: Array, elevation_error: Array
) -> ImageMotion:
    """Returns the image's motion at the azimuth's times."""
    time = azimuth.time
    elevation_angle = np.interp(time, elevation.time, elevation.position)
    return ImageMotion(
        time,
        azimuth_error * np.cos(np.radians(elevation_angle)),
        np.interp(time, elevation.time, elevation_error),
    )


def _rotation_square(errors: MountResiduals, time: Array) -> Array:
    """Returns the square of the motion that the rotator makes (arcsec^2)."""
    if "rotator" not in errors.axes or not errors.weights.get("rotator_rms"):
        return np.zeros(len(time))
    rotator = errors.axes["rotator"]
    rotation = np.interp(time, rotator.time, rotator.error)
    return np.asarray((rotation * errors.weights["rotator_rms"]) ** 2)


def find_slew_end(azimuth: Series, elevation: Series) -> float:
    """Returns when the last slew among the samples ended (s); minus infinity if there is none."""
    finite_series = (slice_series(series, -np.inf, np.inf) for series in (azimuth, elevation))
    axes = [axis for axis in map(compute_axis_residuals, finite_series) if axis is not None]
    return max((_axis_slew_end(axis) for axis in axes), default=-np.inf)


def measure_settle_time(azimuth: Series, elevation: Series, limit: float) -> float | str:
    """Returns the seconds after the last slew (else after the first sample) until the image stays
    within `limit` (arcsec, root mean square of any second), or why that is unknown. If no demand is
    recorded, errors after a slew are about a parabola through the later half of what followed.
    """
    axes = (
        compute_axis_residuals(slice_series(azimuth, -np.inf, np.inf)),
        compute_axis_residuals(slice_series(elevation, -np.inf, np.inf)),
    )
    if axes[0] is None or axes[1] is None:
        return "no usable telemetry"
    start = max(_axis_slew_end(axis) for axis in axes if axis is not None)
    if not np.isfinite(start):
        start = float(axes[0].time[0])
    azimuth_axis, elevation_axis = (_slice_axis(axis, start) for axis in axes if axis is not None)
    if len(azimuth_axis.time) < MIN_SAMPLES or len(elevation_axis.time) < MIN_SAMPLES:
        return SLEWED_REASON
    azimuth_error, elevation_error = (
        remove_glitches(azimuth_axis.error)[0],
        remove_glitches(elevation_axis.error)[0],
    )
    motion = np.sqrt(
        _image_motion(azimuth_axis, elevation_axis, azimuth_error, elevation_error).square
    )
    seconds = find_settle_time(azimuth_axis.time, motion, start, limit)
    return f"not settled to {limit:g} arcsec" if seconds is None else seconds


def _axis_slew_end(axis: AxisResiduals) -> float:
    steps, spans = np.diff(axis.position), np.maximum(np.diff(axis.time), 1e-3)
    # Over half a second, so that a wrong point or a late timestamp is no slew.
    width = max(1, round(0.5 / float(np.median(spans))))
    if len(steps) < width:
        return -np.inf
    kernel = np.ones(width)
    rate = np.convolve(steps, kernel, "valid") / np.convolve(spans, kernel, "valid")
    moving_indices = np.flatnonzero(np.abs(rate) > MIN_SLEW_RATE)
    return float(axis.time[moving_indices[-1] + width]) if len(moving_indices) else -np.inf


def _slice_axis(axis: AxisResiduals, start: float) -> AxisResiduals:
    is_kept = axis.time >= start
    time, position, error = (
        axis.time[is_kept],
        axis.position[is_kept],
        axis.corrected_error[is_kept],
    )
    if axis.reference == "polynomial" and 2 * MIN_SAMPLES <= len(time) < len(axis.time):
        later_half = slice(len(time) // 2, None)
        error = (
            position - fit_polynomial(time[later_half], position[later_half], 2, time)
        ) * 3600.0
    return AxisResiduals(time, position, error, axis.reference)
