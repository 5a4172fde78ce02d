"""Builds a job's result from a jitter analysis: metrics, note, plot and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from catcher import Metric, Observation, Result

from .jitter import MAX_TRACKING_TRAVEL, JitterAnalysis, MountResiduals
from .jitter_plot import plot_jitter
from .motion_analysis import FAILURE_CLASSES
from .tracking import Array, AxisResiduals

MIN_REPORTED_RMS = 0.02
"""Arcsec: below this the kind of fault is not reported."""
METRIC_UNITS = {
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
    **{f"{name}_part": "" for name in FAILURE_CLASSES},
}
EXTRA_UNITS = {"rotator_rms": "arcsec", "camera_hexapod_rms": "arcsec", "m2_hexapod_rms": "arcsec"}


def build_result(
    analysis: JitterAnalysis,
    sample_count: int,
    observation: Observation | None,
    labels: Mapping[str, str],
) -> Result:
    """Builds the complete result, with its plots and tables."""
    title = format_message(analysis, None)
    name = observation.id if observation is not None else ""
    return Result(
        metrics={
            **build_metrics(analysis, labels),
            **count_metrics(sample_count, analysis.errors, analysis.glitch_count, labels),
        },
        artifacts={
            "jitter.png": plot_jitter(analysis, title, name),
            "jitter.json": build_document(analysis),
            "errors.npz": build_table(analysis.errors.axes),
        },
        note=format_message(analysis, observation),
    )


def build_metrics(analysis: JitterAnalysis, labels: Mapping[str, str]) -> dict[str, Metric]:
    """Converts the numbers to metrics."""
    units = {**METRIC_UNITS, **EXTRA_UNITS}
    metrics = {name: Metric(value, units[name], labels) for name, value in analysis.values.items()}
    unknown_metrics = {
        name: Metric(None, units[name], labels, reason)
        for name, reason in analysis.unknown_reasons.items()
    }
    return {**metrics, **unknown_metrics}


def build_unknown_result(
    reason: str,
    counts: Mapping[str, Metric],
    extra_metrics: tuple[str, ...],
    labels: Mapping[str, str],
) -> Result:
    """Builds a result in which all is unknown, with the reason."""
    units = {**METRIC_UNITS, **{name: EXTRA_UNITS[name] for name in extra_metrics}}
    metrics = {name: Metric(None, unit, labels, reason) for name, unit in units.items()}
    return Result(metrics={**metrics, **counts}, note=f"Mount jitter unknown: {reason}")


def count_metrics(
    sample_count: int, errors: MountResiduals, glitch_count: int, labels: Mapping[str, str]
) -> dict[str, Metric]:
    """Counts the input: samples, part of the exposure, faults of the telemetry."""
    axes = errors.axes.values()
    replaced_count = sum(axis.glitches for axis in axes)
    return {
        "samples": Metric(float(sample_count), labels=labels),
        "fraction_seen": Metric(errors.coverage, labels=labels),
        "glitches": Metric(float(replaced_count or glitch_count), labels=labels),
        "clock_jumps": Metric(float(sum(axis.clock_jumps for axis in axes)), labels=labels),
    }


def format_message(analysis: JitterAnalysis, observation: Observation | None) -> str:
    """Formats one line for a reader in a hurry."""
    text = f'Mount moved the image {analysis.values["image_impact_rms"]:.3f}" rms'
    travel = max(
        float(np.ptp(analysis.errors.axes[name].position)) for name in ("azimuth", "elevation")
    )
    if travel > MAX_TRACKING_TRAVEL:
        text += f" while it slewed {travel:.0f} deg"
    elif analysis.fault_name and analysis.values["image_impact_rms"] >= MIN_REPORTED_RMS:
        text += f": {analysis.fault_name}"
    return f"{text}, during {observation.id}" if observation else text


def build_document(analysis: JitterAnalysis) -> dict[str, Any]:
    """Builds what the plot shows, for programs: the fault, its parts, the peaks, the clocks."""
    return {
        **analysis.values,
        "failure": analysis.breakdown.name,
        "parts": dict(analysis.breakdown.parts),
        "peaks": [
            {"name": peak.name, "frequency": peak.frequency, "amplitude": peak.amplitude,
             "axis": peak.axis} for peak in analysis.breakdown.spectrum.peaks
        ],
        "axes": {
            name: {"reference": axis.reference, "shift": axis.shift, "rms": axis.rms}
            for name, axis in analysis.errors.axes.items()
        },
    }  # fmt: skip


def build_table(axes: Mapping[str, AxisResiduals]) -> dict[str, Array]:
    """Returns times and errors of each axis, to be stored."""
    return {f"{name}_{part}": getattr(axis, part) for name, axis in axes.items()
            for part in ("time", "error")}  # fmt: skip
