"""Measures how much the mount moved the image during an exposure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from catcher import Event, Observation, Result, Series, job

from .lib import hexapod, jitter, jitter_result
from .lib.alt_az import Target, create_tracks
from .lib.tracking import (
    AxisResiduals,
    Track,
    compute_axis_residuals,
    replace_glitches,
    slice_series,
)

FIELD_RADIUS = 8500.0
"""From the rotator's axis to the edge of the LSSTCam field (arcsec)."""
ROTATION_FACTOR = float(FIELD_RADIUS * np.pi / 180 / 3600)
"""Arcseconds that the edge of the field moves per arcsecond of rotation."""
REFERENCE_NAMES = ("auto", "polynomial", "track")
HEXAPOD_SENSITIVITIES = {"camera_hexapod": hexapod.CAMERA, "m2_hexapod": hexapod.M2}


@job
def mount_jitter(
    azimuth: Series,
    elevation: Series,
    rotator: Series | None = None,
    camera_hexapod: Series | None = None,
    m2_hexapod: Series | None = None,
    observation: Observation | None = None,
    event: Event | None = None,
    band: str = "",
    filter_glitches: bool = False,
    after_slew: bool = False,
    reference: str = "auto",
    ra: float | None = None,
    dec: float | None = None,
    latitude: float = -30.2446,
    longitude: float = -70.7494,
    altitude: float = 2663.0,
    settled_to: float = 0.1,
    modes: Mapping[str, float] | None = None,
) -> Result:
    """Computes what the mount's tracking errors did to the image, in arcseconds on the sky.

    azimuth, elevation, rotator: telemetry with `actualPosition` and, where recorded,
    `demandPosition` in degrees. camera_hexapod, m2_hexapod: telemetry with `error0` to `error4`
    (micron, arcsec). observation: the exposure, whose span the samples must cover; those outside
    it serve the settle time only. event: tells BIAS and FLAT, which are skipped. band: a label of
    the metrics. filter_glitches: replace single bad samples first, as summit_utils does.
    after_slew: only samples after the last slew count (for the settle time, all do).
    reference: `auto` (the demand where recorded, else a polynomial of degree 4), `polynomial`, or
    `track`, the place on the sky `ra`, `dec` (ICRS, degrees; the observation's columns of these
    names go before) seen from `latitude`, `longitude`, `altitude` (m). settled_to: arcsec.
    modes: frequencies (Hz) that have a name.

    Metrics (arcsec): `azimuth_rms`, `elevation_rms` (about each axis), `rotator_rms`,
    `camera_hexapod_rms`, `m2_hexapod_rms` where given, `image_impact_rms` = sqrt((azimuth_rms
    cos h)^2 + elevation_rms^2 + (rotator_rms 8500" pi / 180 / 3600)^2 + hexapods^2), h the median
    elevation (summit_utils, simonyi/mountAnalysis.py), `image_impact_p95` (95th percentile of the
    image's distance from its place), `image_impact_worst_second`, `mechanical_rms` (without lone
    points and clocks that jumped), `drift`, `jitter_rms`, `peak_frequency` (Hz), `peak_amplitude`,
    `settle_time` (s); `failure` and the parts of its classes (lib/motion_analysis.py); `samples`,
    `fraction_seen` (0 to 1), `glitches`, `clock_jumps`.
    No telemetry, too few samples or under 90 % of the exposure give *unknown*, with the reason.
    """
    target = _build_target(reference, observation, ra, dec, (latitude, longitude, altitude))
    axis_series = _drop_missing(azimuth=azimuth, elevation=elevation, rotator=rotator)
    hexapod_series = _drop_missing(camera_hexapod=camera_hexapod, m2_hexapod=m2_hexapod)
    extra_metrics = tuple(f"{name}_rms" for name in (*list(axis_series)[2:], *hexapod_series))
    cut_series = _cut_to_exposure(axis_series | hexapod_series, observation, after_slew)
    sample_count = min(len(cut_series[name]) for name in ("azimuth", "elevation"))
    axes = {
        name: _track_axis(name, cut_series[name], reference, target, filter_glitches)
        for name in axis_series
    }
    labels = {"band": band} if band else {}
    hexapod_rms = {
        f"{name}_rms": hexapod.compute_image_motion(cut_series[name], HEXAPOD_SENSITIVITIES[name])
        for name in hexapod_series
    }
    errors = _collect_residuals(axes, hexapod_rms, observation)
    skip_reason = _skip_reason(jitter.find_image_type(event, observation))
    reason = (
        skip_reason
        or jitter.find_problem(axes, errors.coverage)
        or _missing_hexapod_reason(hexapod_rms)
    )
    if reason:
        counts = jitter_result.count_metrics(sample_count, errors, 0, labels)
        return jitter_result.build_unknown_result(reason, counts, extra_metrics, labels)
    analysis = jitter.analyze_jitter(
        errors, jitter.measure_settle_time(azimuth, elevation, settled_to), modes or {}
    )
    return jitter_result.build_result(analysis, sample_count, observation, labels)


def _build_target(
    reference: str, observation: Observation | None, ra: float | None, dec: float | None,
    location: tuple[float, float, float],
) -> Target:  # fmt: skip
    if reference not in REFERENCE_NAMES:
        raise ValueError(f"reference is {reference!r}; choose {', '.join(REFERENCE_NAMES)}")
    columns = observation.columns if observation is not None else {}
    ra, dec = columns.get("ra", ra), columns.get("dec", dec)
    if reference == "track" and (ra is None or dec is None):
        hint = "with: {ra: ..., dec: ...} in degrees, or these columns of the observation"
        raise ValueError(f"reference: track needs the target: {hint}")
    return Target(ra or 0.0, dec or 0.0, *location)


def _drop_missing(**series: Series | None) -> dict[str, Series]:
    return {name: value for name, value in series.items() if value is not None}


def _collect_residuals(
    axes: Mapping[str, AxisResiduals | None],
    extra_rms: Mapping[str, float],
    observation: Observation | None,
) -> jitter.MountResiduals:
    usable = {name: axis for name, axis in axes.items() if axis is not None}
    coverage = jitter.exposure_coverage(usable, observation) if len(usable) == len(axes) else 0.0
    weights = {"rotator_rms": ROTATION_FACTOR, **dict.fromkeys(extra_rms, 1.0)}
    elevation = float(np.median(usable["elevation"].position)) if "elevation" in usable else 0.0
    return jitter.MountResiduals(usable, coverage, extra_rms, weights, elevation)


def _exposure_span(observation: Observation | None) -> tuple[float, float]:
    if observation is None or observation.end <= observation.start:
        return -np.inf, np.inf
    return observation.start / 1e9, observation.end / 1e9


def _select_track(name: str, reference: str, target: Target) -> Track | None:
    if reference != "track" or name == "rotator":
        return None
    azimuth_track, elevation_track = create_tracks(target)
    return azimuth_track if name == "azimuth" else elevation_track


def _cut_to_exposure(
    series_by_name: Mapping[str, Series], observation: Observation | None, after_slew: bool
) -> dict[str, Series]:
    start, end = _exposure_span(observation)
    if after_slew:
        start = max(
            start, jitter.find_slew_end(series_by_name["azimuth"], series_by_name["elevation"])
        )
    return {name: slice_series(series, start, end) for name, series in series_by_name.items()}


def _track_axis(
    name: str, series: Series, reference: str, target: Target, filter_glitches: bool
) -> AxisResiduals | None:
    if reference == "polynomial":
        columns = {key: column for key, column in series.columns.items() if key != "demandPosition"}
        series = Series(series.time, columns, series.units, series.topic)
    axis = compute_axis_residuals(series, track=_select_track(name, reference, target))
    return replace_glitches(axis) if filter_glitches and axis is not None else axis


def _skip_reason(image_type: str) -> str:
    return (
        f"a {image_type} is taken without tracking"
        if image_type in jitter.UNTRACKED_IMAGE_TYPES
        else ""
    )


def _missing_hexapod_reason(hexapod_rms: Mapping[str, float]) -> str:
    missing = [
        name.removesuffix("_rms") for name, value in hexapod_rms.items() if not np.isfinite(value)
    ]
    names = " and the ".join(missing).replace("_", " ")
    return f"no usable telemetry of the {names} in this time" if missing else ""
