"""How much the mount moved the image during an exposure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from catcher import Event, Observation, Result, Series, job

from .lib import hexapod, jitter, jitter_result
from .lib.alt_az import Target, tracks
from .lib.tracking import Axis, Track, follow, within, without_glitches

FIELD_RADIUS = 8500.0
"""From the rotator's axis to the edge of the LSSTCam field (arcsec)."""
ROTATION = float(FIELD_RADIUS * np.pi / 180 / 3600)
"""Arcseconds that the edge of the field moves per arcsecond of rotation."""
REFERENCES = ("auto", "polynomial", "track")
LEVERS = {"camera_hexapod": hexapod.CAMERA, "m2_hexapod": hexapod.M2}


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
    `settle_time` (s); `failure` and the parts of its classes (lib/shaking.py); `samples`,
    `fraction_seen` (0 to 1), `glitches`, `clock_jumps`.
    No telemetry, too few samples or under 90 % of the exposure give *unknown*, with the reason.
    """
    target = _target(reference, observation, ra, dec, (latitude, longitude, altitude))
    given = _present(azimuth=azimuth, elevation=elevation, rotator=rotator)
    hexapods = _present(camera_hexapod=camera_hexapod, m2_hexapod=m2_hexapod)
    extra = tuple(f"{name}_rms" for name in (*list(given)[2:], *hexapods))
    cut = _cut(given | hexapods, observation, after_slew)
    samples = min(len(cut[name]) for name in ("azimuth", "elevation"))
    axes = {name: _axis(name, cut[name], reference, target, filter_glitches) for name in given}
    labels = {"band": band} if band else {}
    parts = {f"{name}_rms": hexapod.motion(cut[name], LEVERS[name]) for name in hexapods}
    looked = _looked(axes, parts, observation)
    skipped = _skipped(jitter.image_type(event, observation))
    reason = skipped or jitter.unusable(axes, looked.seen) or _no_hexapod(parts)
    if reason:
        counts = jitter_result.counts(samples, looked, 0, labels)
        return jitter_result.unknown(reason, counts, extra, labels)
    judged = jitter.judge(looked, jitter.settle_time(azimuth, elevation, settled_to), modes or {})
    return jitter_result.result(judged, samples, observation, labels)


def _target(
    reference: str, observation: Observation | None, ra: float | None, dec: float | None,
    place: tuple[float, float, float],
) -> Target:  # fmt: skip
    if reference not in REFERENCES:
        raise ValueError(f"reference is {reference!r}; choose {', '.join(REFERENCES)}")
    columns = observation.columns if observation is not None else {}
    ra, dec = columns.get("ra", ra), columns.get("dec", dec)
    if reference == "track" and (ra is None or dec is None):
        hint = "with: {ra: ..., dec: ...} in degrees, or these columns of the observation"
        raise ValueError(f"reference: track needs the target: {hint}")
    return Target(ra or 0.0, dec or 0.0, *place)


def _present(**series: Series | None) -> dict[str, Series]:
    return {name: one for name, one in series.items() if one is not None}


def _looked(
    axes: Mapping[str, Axis | None], parts: Mapping[str, float], observation: Observation | None
) -> jitter.Looked:
    known = {name: axis for name, axis in axes.items() if axis is not None}
    seen = jitter.fraction(known, observation) if len(known) == len(axes) else 0.0
    weights = {"rotator_rms": ROTATION, **dict.fromkeys(parts, 1.0)}
    height = float(np.median(known["elevation"].position)) if "elevation" in known else 0.0
    return jitter.Looked(known, seen, parts, weights, height)


def _span(observation: Observation | None) -> tuple[float, float]:
    if observation is None or observation.end <= observation.start:
        return -np.inf, np.inf
    return observation.start / 1e9, observation.end / 1e9


def _track(name: str, reference: str, target: Target) -> Track | None:
    if reference != "track" or name == "rotator":
        return None
    across, up = tracks(target)
    return across if name == "azimuth" else up


def _cut(
    given: Mapping[str, Series], observation: Observation | None, after_slew: bool
) -> dict[str, Series]:
    start, end = _span(observation)
    if after_slew:
        start = max(start, jitter.slew_end(given["azimuth"], given["elevation"]))
    return {name: within(series, start, end) for name, series in given.items()}


def _axis(name: str, series: Series, reference: str, target: Target, filtered: bool) -> Axis | None:
    if reference == "polynomial":
        kept = {key: one for key, one in series.columns.items() if key != "demandPosition"}
        series = Series(series.time, kept, series.units, series.topic)
    axis = follow(series, track=_track(name, reference, target))
    return without_glitches(axis) if filtered and axis is not None else axis


def _skipped(kind: str) -> str:
    return f"a {kind} is taken without tracking" if kind in jitter.NOT_TRACKING else ""


def _no_hexapod(parts: Mapping[str, float]) -> str:
    lacking = [name.removesuffix("_rms") for name, part in parts.items() if not np.isfinite(part)]
    words = " and the ".join(lacking).replace("_", " ")
    return f"no usable telemetry of the {words} in this time" if lacking else ""
