"""How much the mount moved the image during an exposure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from catcher import Metric, Observation, Result, Series, job

from .lib import plots
from .lib.tracking import (
    Array,
    Axis,
    follow,
    fraction_seen,
    rms,
    without_glitches,
    worst_second,
)

FIELD_RADIUS = 8500.0
"""From the rotator's axis to the edge of the LSSTCam field (arcsec)."""
ROTATION = float(FIELD_RADIUS * np.pi / 180 / 3600)
"""Arcseconds that the edge of the field moves per arcsecond of rotation."""
SLEW = 1.0
"""Degrees: an axis that turned further did not merely track."""
LEAST_SEEN = 0.9
FEWEST = 10
NAMES = {
    "azimuth_rms": "arcsec",
    "elevation_rms": "arcsec",
    "image_impact_rms": "arcsec",
    "image_impact_p95": "arcsec",
    "image_impact_worst_second": "arcsec",
}


@job
def mount_jitter(
    azimuth: Series,
    elevation: Series,
    rotator: Series | None = None,
    observation: Observation | None = None,
    band: str = "",
    filter_glitches: bool = False,
) -> Result:
    """Computes what the mount's tracking errors did to the image, in arcseconds on the sky.

    azimuth, elevation, rotator: telemetry with `actualPosition` and, where recorded,
    `demandPosition` in degrees. observation: the exposure, whose span the samples must cover.
    band: a label of the metrics.
    filter_glitches: replace single bad samples first.

    Metrics (arcsec): `azimuth_rms`, `elevation_rms` (about each axis), `rotator_rms` where given,
    `image_impact_rms` = sqrt((azimuth_rms cos h)^2 + elevation_rms^2 + (rotator_rms 8500" pi /
    180 / 3600)^2), h the median elevation (summit_utils, simonyi/mountAnalysis.py),
    `image_impact_p95` (95th percentile of the image's distance from its place),
    `image_impact_worst_second`; `samples`, `fraction_seen` (0 to 1), `glitches` (replaced).
    No telemetry, too few samples or under 90 % of the exposure give *unknown*, with the reason.
    """
    axes = {"azimuth": follow(azimuth), "elevation": follow(elevation)}
    if rotator is not None:
        axes["rotator"] = follow(rotator)
    known = {name: axis for name, axis in axes.items() if axis is not None}
    if filter_glitches:
        known = {name: without_glitches(axis) for name, axis in known.items()}
    seen = _fraction(known, observation) if len(known) == len(axes) else 0.0
    counts = _counts(azimuth, elevation, known, seen, band)
    reason = _unusable(axes, seen)
    if reason:
        return _unknown(counts, reason, rotator is not None, band)
    numbers = _numbers(known)
    picture = _picture(known, numbers, observation, seen)
    table = {f"{name}_{part}": getattr(axis, part) for name, axis in known.items()
             for part in ("time", "error")}  # fmt: skip
    return Result(
        metrics={**_metrics(numbers, band), **counts},
        artifacts={"jitter.png": picture, "errors.npz": table},
        note=_message(numbers, observation),
    )


def _fraction(axes: Mapping[str, Axis], observation: Observation | None) -> float:
    if observation is None or observation.end <= observation.start:
        start = min(float(axis.time[0]) for axis in axes.values())
        end = max(float(axis.time[-1]) for axis in axes.values())
    else:
        start, end = observation.start / 1e9, observation.end / 1e9
    return min(fraction_seen(axis.time, start, end) for axis in axes.values())


def _unusable(axes: Mapping[str, Axis | None], seen: float) -> str:
    for name, axis in axes.items():
        if axis is None or len(axis.time) < FEWEST:
            count = 0 if axis is None else len(axis.time)
            few = f"only {count} samples" if count else "no usable telemetry"
            return f"{few} of the {name} in this time, {FEWEST} are needed"
    if seen < LEAST_SEEN:
        return f"only {100 * seen:.0f} % of the exposure has telemetry, 90 % are needed"
    return ""


def _numbers(axes: Mapping[str, Axis]) -> dict[str, float]:
    azimuth, elevation = axes["azimuth"], axes["elevation"]
    across = float(np.cos(np.radians(np.median(elevation.position))))
    turn = axes["rotator"].rms if "rotator" in axes else 0.0
    parts = np.array([azimuth.rms * across, elevation.rms, turn * ROTATION])
    time, motion = _image_motion(axes)
    worst, when = worst_second(time, motion)
    numbers = {
        "azimuth_rms": azimuth.rms,
        "elevation_rms": elevation.rms,
        "image_impact_rms": float(np.sqrt(np.sum(parts**2))),
        "image_impact_p95": float(np.percentile(motion, 95)),
        "image_impact_worst_second": worst,
        "worst_at": when,
        "travel": max(float(np.ptp(azimuth.position)), float(np.ptp(elevation.position))),
    }
    return {**numbers, "rotator_rms": turn} if "rotator" in axes else numbers


def _image_motion(axes: Mapping[str, Axis]) -> tuple[Array, Array]:
    """Times (s) and the image's distance (arcsec) from where it should be."""
    azimuth, elevation = axes["azimuth"], axes["elevation"]
    time = azimuth.time
    up = np.interp(time, elevation.time, elevation.error)
    height = np.interp(time, elevation.time, elevation.position)
    square = (azimuth.error * np.cos(np.radians(height))) ** 2 + up**2
    if "rotator" in axes:
        turn = np.interp(time, axes["rotator"].time, axes["rotator"].error)
        square += (turn * ROTATION) ** 2
    return time, np.sqrt(square)


def _metrics(numbers: Mapping[str, float], band: str) -> dict[str, Metric]:
    labels = {"band": band} if band else {}
    shown = {name: numbers[name] for name in (*NAMES, "rotator_rms") if name in numbers}
    return {name: Metric(value, "arcsec", labels) for name, value in shown.items()}


def _counts(
    azimuth: Series, elevation: Series, axes: Mapping[str, Axis], seen: float, band: str
) -> dict[str, Metric]:
    labels = {"band": band} if band else {}
    glitches = sum(axis.glitches for axis in axes.values())
    return {
        "samples": Metric(float(min(len(azimuth), len(elevation))), labels=labels),
        "fraction_seen": Metric(seen, labels=labels),
        "glitches": Metric(float(glitches), labels=labels),
    }


def _unknown(counts: Mapping[str, Metric], reason: str, rotator: bool, band: str) -> Result:
    labels = {"band": band} if band else {}
    names = (*NAMES, "rotator_rms") if rotator else tuple(NAMES)
    metrics = {name: Metric(None, "arcsec", labels, reason) for name in names}
    return Result(metrics={**metrics, **counts}, note=f"Mount jitter unknown: {reason}")


def _message(numbers: Mapping[str, float], observation: Observation | None) -> str:
    words = f'Mount moved the image {numbers["image_impact_rms"]:.3f}" rms'
    if numbers["travel"] > SLEW:
        words += f" while it slewed {numbers['travel']:.0f} deg"
    return f"{words} during {observation.id}" if observation else words


def _picture(
    axes: Mapping[str, Axis], numbers: Mapping[str, float],
    observation: Observation | None, seen: float,
) -> plots.Figure:  # fmt: skip
    azimuth, elevation = axes["azimuth"], axes["elevation"]
    subtitle = (
        f"{observation.id + ' · ' if observation else ''}"
        f'worst second {numbers["image_impact_worst_second"]:.3f}" · '
        f"{100 * seen:.0f} % seen · about the {azimuth.reference}"
    )
    figure = plots.figure(_message(numbers, None), subtitle)
    across = np.cos(np.radians(np.interp(azimuth.time, elevation.time, elevation.position)))
    sideways = azimuth.error * across
    reach = max(float(np.abs(sideways).max()), float(np.abs(elevation.error).max()), 0.04) * 1.15
    span = float(azimuth.time[0]), float(azimuth.time[-1])
    for words, time, error, colour, bottom in (
        (f'across {rms(sideways):.3f}"', azimuth.time, sideways, plots.BLUE, 0.485),
        (f'up {elevation.rms:.3f}"', elevation.time, elevation.error, plots.ORANGE, 0.11),
    ):
        panel = plots.panel(figure, "arcsec", (0.1, bottom, 0.865, 0.335))
        start = numbers["worst_at"]
        panel.axvspan(start, start + 1, color=plots.YELLOW, alpha=0.22, linewidth=0)
        # A steep trace with soft edges makes a file three times as large, for nothing to see.
        panel.plot(time, error, color=colour, linewidth=2.0, antialiased=False)
        panel.set_ylim(-reach, 1.4 * reach)
        plots.utc_axis(panel, *span)
        plots.tag(panel, words, colour)
        if bottom > 0.11:
            plots.beside(panel, start + 1, "worst second")
            panel.set_xlabel("")
            panel.tick_params(labelbottom=False)
    return figure
