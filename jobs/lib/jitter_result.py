"""What was judged of a mount's jitter, as a job's result: metrics, words, plot and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from catcher import Metric, Observation, Result

from .jitter import SLEW, Judged, Looked
from .jitter_plot import picture
from .shaking import CLASSES
from .tracking import Array, Axis

QUIET = 0.02
"""Arcsec: of less nobody asks what it was."""
UNITS = {
    "azimuth_rms": "arcsec",
    "elevation_rms": "arcsec",
    "image_impact_rms": "arcsec",
    "image_impact_p95": "arcsec",
    "image_impact_worst_second": "arcsec",
    "mechanical_rms": "arcsec",
    "jitter_rms": "arcsec",
    "drift": "arcsec",
    "peak_frequency": "Hz",
    "peak_amplitude": "arcsec",
    "settle_time": "s",
    "failure": "",
    **{f"{name}_part": "" for name in CLASSES},
}
EXTRA = {"rotator_rms": "arcsec", "camera_hexapod_rms": "arcsec", "m2_hexapod_rms": "arcsec"}


def result(
    judged: Judged, samples: int, observation: Observation | None, labels: Mapping[str, str]
) -> Result:
    """All that is known, with its pictures and tables."""
    title = message(judged, None)
    name = observation.id if observation is not None else ""
    return Result(
        metrics={
            **metrics(judged, labels),
            **counts(samples, judged.looked, judged.points, labels),
        },
        artifacts={
            "jitter.png": picture(judged, title, name),
            "jitter.json": document(judged),
            "errors.npz": table(judged.looked.axes),
        },
        note=message(judged, observation),
    )


def metrics(judged: Judged, labels: Mapping[str, str]) -> dict[str, Metric]:
    """The numbers as metrics."""
    units = {**UNITS, **EXTRA}
    known = {name: Metric(value, units[name], labels) for name, value in judged.numbers.items()}
    lacking = {
        name: Metric(None, units[name], labels, reason) for name, reason in judged.missing.items()
    }
    return {**known, **lacking}


def unknown(
    reason: str, counts: Mapping[str, Metric], extra: tuple[str, ...], labels: Mapping[str, str]
) -> Result:
    """A result of which nothing is known but why."""
    units = {**UNITS, **{name: EXTRA[name] for name in extra}}
    made = {name: Metric(None, unit, labels, reason) for name, unit in units.items()}
    return Result(metrics={**made, **counts}, note=f"Mount jitter unknown: {reason}")


def counts(
    samples: int, looked: Looked, points: int, labels: Mapping[str, str]
) -> dict[str, Metric]:
    """How much there was: samples, part of the exposure, faults of the telemetry."""
    axes = looked.axes.values()
    replaced = sum(axis.glitches for axis in axes)
    return {
        "samples": Metric(float(samples), labels=labels),
        "fraction_seen": Metric(looked.seen, labels=labels),
        "glitches": Metric(float(replaced or points), labels=labels),
        "clock_jumps": Metric(float(sum(axis.jumps for axis in axes)), labels=labels),
    }


def message(judged: Judged, observation: Observation | None) -> str:
    """One line for a reader in a hurry."""
    words = f'Mount moved the image {judged.numbers["image_impact_rms"]:.3f}" rms'
    travel = max(
        float(np.ptp(judged.looked.axes[name].position)) for name in ("azimuth", "elevation")
    )
    if travel > SLEW:
        words += f" while it slewed {travel:.0f} deg"
    elif judged.words and judged.numbers["image_impact_rms"] >= QUIET:
        words += f": {judged.words}"
    return f"{words}, during {observation.id}" if observation else words


def document(judged: Judged) -> dict[str, Any]:
    """What the plot shows, for programs: the fault, its parts, the peaks, the clocks."""
    return {
        **judged.numbers,
        "failure": judged.kind.name,
        "parts": dict(judged.kind.parts),
        "peaks": [
            {"name": one.name, "frequency": one.frequency, "amplitude": one.amplitude,
             "axis": one.axis} for one in judged.kind.spectrum.peaks
        ],
        "axes": {
            name: {"reference": axis.reference, "shift": axis.shift, "rms": axis.rms}
            for name, axis in judged.looked.axes.items()
        },
    }  # fmt: skip


def table(axes: Mapping[str, Axis]) -> dict[str, Array]:
    """Times and errors of each axis, to be kept."""
    return {f"{name}_{part}": getattr(axis, part) for name, axis in axes.items()
            for part in ("time", "error")}  # fmt: skip
