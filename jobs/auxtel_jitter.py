"""Measures how much the mount of the Auxiliary Telescope moved the image during an exposure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from catcher import Event, Observation, Result, Series, job
from catcher.model.telemetry import list_numbered_columns, unpack_series

from .lib import jitter, jitter_result
from .lib.tracking import ACTUAL, compute_axis_residuals, slice_series

MIN_EXPOSURE = 1.99
FIELD_RADIUS = 280.0
"""From the rotator's axis to the edge of the LATISS field (arcsec)."""
ROTATION_FACTOR = float(FIELD_RADIUS * np.pi / 180 / 3600)
POLYNOMIAL_DEGREES = {"azimuth": 4, "elevation": 4, "rotator": 2}
"""Degrees of the polynomials in time that replace the demand."""
ANGLE_FIELDS = {
    "azimuth": "azimuthCalculatedAngle",
    "elevation": "elevationCalculatedAngle",
    "rotator": "nasmyth2CalculatedAngle",
}
CLOCK_FIELD, SAMPLE_RATE = "cRIO_timestamp", 100.0


@job
def auxtel_jitter(
    encoders: Series,
    nasmyth: Series | None = None,
    observation: Observation | None = None,
    event: Event | None = None,
    band: str = "",
    settled_to: float = 0.25,
    modes: Mapping[str, float] | None = None,
) -> Result:
    """Computes what AuxTel's tracking errors did to the image, in arcseconds on the sky.

    encoders: `azimuthCalculatedAngle` and `elevationCalculatedAngle` (ATMCS.mount_AzEl_Encoders),
    nasmyth: `nasmyth2CalculatedAngle` (mount_Nasmyth_Encoders), in degrees, at 100 Hz: unpacked
    (`packed: cRIO_timestamp` in the rule), or as the packed fields. observation: the exposure,
    whose span the samples must cover. event: tells BIAS and FLAT, which are skipped, as are
    exposures under 1.99 s. band, settled_to, modes: as of mount_jitter.

    Errors are about polynomials in time, of degree 4 in azimuth and elevation, 2 in the rotator;
    `image_impact_rms` = hypot(azimuth_rms cos h, elevation_rms), h the elevation at the start
    (rubintv_production, mountTorques.py), so that the rotator does not count; `rotator_rms` is
    about its axis. The other metrics, and what is *unknown*, are those of mount_jitter.
    """
    labels = {"band": band} if band else {}
    axis_series = {
        "azimuth": _angle_series(encoders, "azimuth"),
        "elevation": _angle_series(encoders, "elevation"),
    }
    if nasmyth is not None:
        axis_series["rotator"] = _angle_series(nasmyth, "rotator")
    start, end = _exposure_span(observation)
    cut_series = {name: slice_series(series, start, end) for name, series in axis_series.items()}
    axes = {
        name: compute_axis_residuals(series, POLYNOMIAL_DEGREES[name])
        for name, series in cut_series.items()
    }
    usable = {name: axis for name, axis in axes.items() if axis is not None}
    coverage = jitter.exposure_coverage(usable, observation) if len(usable) == len(axes) else 0.0
    elevation = float(usable["elevation"].position[0]) if "elevation" in usable else 0.0
    errors = jitter.MountResiduals(usable, coverage, {}, {"rotator_rms": 0.0}, elevation)
    sample_count = min(len(cut_series["azimuth"]), len(cut_series["elevation"]))
    reason = _skip_reason(event, observation) or jitter.find_problem(axes, coverage)
    extra_metrics = ("rotator_rms",) if nasmyth is not None else ()
    if reason:
        counts = jitter_result.count_metrics(sample_count, errors, 0, labels)
        return jitter_result.build_unknown_result(reason, counts, extra_metrics, labels)
    settle_time = jitter.measure_settle_time(
        axis_series["azimuth"], axis_series["elevation"], settled_to
    )
    analysis = jitter.analyze_jitter(errors, settle_time, modes or {})
    return jitter_result.build_result(analysis, sample_count, observation, labels)


def _angle_series(series: Series, axis: str) -> Series:
    """Returns one angle as a series of samples, whether it is packed or not."""
    name = ANGLE_FIELDS[axis]
    if (
        name not in series
        and list_numbered_columns(name, list(series.columns))
        and CLOCK_FIELD in series
    ):
        rate = SAMPLE_RATE if len(series) == 1 else 0.0
        series = unpack_series(series, [name], CLOCK_FIELD, rate=rate)
    if name not in series:
        return Series(series.time, {}, {}, series.topic)
    return Series(series.time, {ACTUAL: series[name]}, {}, series.topic)


def _exposure_span(observation: Observation | None) -> tuple[float, float]:
    if observation is None or observation.end <= observation.start:
        return -np.inf, np.inf
    return observation.start / 1e9, observation.end / 1e9


def _skip_reason(event: Event | None, observation: Observation | None) -> str:
    image_type = jitter.find_image_type(event, observation)
    if image_type in jitter.UNTRACKED_IMAGE_TYPES:
        return f"a {image_type} is taken without tracking"
    duration = np.inf if observation is None else (observation.end - observation.start) / 1e9
    if duration < MIN_EXPOSURE - 1e-6:
        return f"the exposure took {duration:.2f} s, {MIN_EXPOSURE} s are needed"
    return ""
