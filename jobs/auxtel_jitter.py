"""How much the mount of the Auxiliary Telescope moved the image during an exposure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from catcher import Event, Observation, Result, Series, job
from catcher.model.telemetry import numbered, unpacked

from .lib import jitter, jitter_result
from .lib.tracking import ACTUAL, follow, within

SHORTEST = 1.99
FIELD_RADIUS = 280.0
"""From the rotator's axis to the edge of the LATISS field (arcsec)."""
ROTATION = float(FIELD_RADIUS * np.pi / 180 / 3600)
DEGREES = {"azimuth": 4, "elevation": 4, "rotator": 2}
"""Of the polynomials in time that stand for the demand."""
ANGLES = {
    "azimuth": "azimuthCalculatedAngle",
    "elevation": "elevationCalculatedAngle",
    "rotator": "nasmyth2CalculatedAngle",
}
CLOCK, RATE = "cRIO_timestamp", 100.0


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
    given = {"azimuth": _angle(encoders, "azimuth"), "elevation": _angle(encoders, "elevation")}
    if nasmyth is not None:
        given["rotator"] = _angle(nasmyth, "rotator")
    start, end = _span(observation)
    cut = {name: within(series, start, end) for name, series in given.items()}
    axes = {name: follow(series, DEGREES[name]) for name, series in cut.items()}
    known = {name: axis for name, axis in axes.items() if axis is not None}
    seen = jitter.fraction(known, observation) if len(known) == len(axes) else 0.0
    height = float(known["elevation"].position[0]) if "elevation" in known else 0.0
    looked = jitter.Looked(known, seen, {}, {"rotator_rms": 0.0}, height)
    samples = min(len(cut["azimuth"]), len(cut["elevation"]))
    reason = _skipped(event, observation) or jitter.unusable(axes, seen)
    extra = ("rotator_rms",) if nasmyth is not None else ()
    if reason:
        counts = jitter_result.counts(samples, looked, 0, labels)
        return jitter_result.unknown(reason, counts, extra, labels)
    settle = jitter.settle_time(given["azimuth"], given["elevation"], settled_to)
    judged = jitter.judge(looked, settle, modes or {})
    return jitter_result.result(judged, samples, observation, labels)


def _angle(series: Series, axis: str) -> Series:
    """One angle as a series of samples, whether it came packed or not."""
    name = ANGLES[axis]
    if name not in series and numbered(name, list(series.columns)) and CLOCK in series:
        rate = RATE if len(series) == 1 else 0.0
        series = unpacked(series, [name], CLOCK, rate=rate)
    if name not in series:
        return Series(series.time, {}, {}, series.topic)
    return Series(series.time, {ACTUAL: series[name]}, {}, series.topic)


def _span(observation: Observation | None) -> tuple[float, float]:
    if observation is None or observation.end <= observation.start:
        return -np.inf, np.inf
    return observation.start / 1e9, observation.end / 1e9


def _skipped(event: Event | None, observation: Observation | None) -> str:
    kind = jitter.image_type(event, observation)
    if kind in jitter.NOT_TRACKING:
        return f"a {kind} is taken without tracking"
    took = np.inf if observation is None else (observation.end - observation.start) / 1e9
    if took < SHORTEST - 1e-6:
        return f"the exposure took {took:.2f} s, {SHORTEST} s are needed"
    return ""
