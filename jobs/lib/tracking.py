"""How well a mount followed its demand: errors in arcseconds, by axis, over one exposure.
As the Rubin Observatory computes it (lsst-sitcom/summit_utils, simonyi/mountData.py and
simonyi/mountAnalysis.py; lsst-sitcom/rubintv_production, mountTorques.py for AuxTel): the demand is
interpolated onto the times of the actual positions, after a shift of its clock by at most 1 ms that
minimizes the median error; if no demand is recorded, a polynomial in time replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from catcher import Series

Array = npt.NDArray[np.float64]

ARCSEC = 3600.0
MAX_CLOCK_SHIFT = 1e-3
MIN_GLITCH, MAX_GLITCH_SAMPLES = 0.1, 3
DEFAULT_DEGREE = 4
MAX_ANGLE = 1e4
"""Degrees beyond which a number is no angle of a mount."""
MIN_CLOCK_JUMP = 0.25
"""Seconds between a timestamp and its sample's time, beyond the usual, that show a clock jump."""
ACTUAL, DEMAND = "actualPosition", "demandPosition"
ACTUAL_TIME, DEMAND_TIME = "actualPositionTimestamp", "demandPositionTimestamp"


MIN_REGULAR_FRACTION = 0.9
"""The part of the intervals that are equal if a clock makes the samples."""
Track = Callable[[Array], Array]
"""Where an axis should be (degrees) at these times (s)."""


@dataclass(frozen=True)
class AxisResiduals:
    """One axis: `time` (s), `position` (degrees) and `error` (arcsec), actual less reference.
    `reference` says what the error is about: `demand`, `polynomial` or `track`. `shift` is how far
    the demand's clock was moved (s), `glitches` how many samples were replaced. `repaired_error` is
    the error with jumped timestamps corrected (None if none had jumped), `clock_jumps` how many
    those are; `degree` is the polynomial's.
    """

    time: Array
    position: Array
    error: Array
    reference: str
    shift: float = 0.0
    glitches: int = 0
    clock_jumps: int = 0
    repaired_error: Array | None = None
    degree: int = 0

    @property
    def rms(self) -> float:
        """Root mean square of the error (arcsec)."""
        return rms(self.error)

    @property
    def corrected_error(self) -> Array:
        """The error without faults of the clock (arcsec)."""
        return self.error if self.repaired_error is None else self.repaired_error


def rms(values: Array) -> float:
    """Returns the root mean square; nan without values."""
    return float(np.sqrt(np.mean(values * values))) if len(values) else float("nan")


def slice_series(series: Series, start: float, end: float) -> Series:
    """Returns the samples from `start` to `end` (s), both included, in time order.
    Without a start or an end, those far from the rest are left out (Tukey's fences, twice the
    interquartile range and a minute): their clock jumped.
    """
    time = series.time[np.isfinite(series.time)]
    if len(time) and not (np.isfinite(start) and np.isfinite(end)):
        early, late = np.percentile(time, (25, 75))
        margin = 2 * (late - early) + 60.0
        start, end = max(start, early - margin), min(end, late + margin)
    indices = np.flatnonzero((series.time >= start) & (series.time <= end))
    indices = indices[np.argsort(series.time[indices], kind="stable")]
    columns = {name: column[indices] for name, column in series.columns.items()}
    return Series(series.time[indices], columns, series.units, series.topic)


def fit_polynomial(
    time: Array, values: Array, degree: int, output_times_or_none: Array | None = None
) -> Array:
    """Fits a least-squares polynomial; returns it at `output_times_or_none`, else at `time`."""
    centre_time, half_span = (time[0] + time[-1]) / 2, max((time[-1] - time[0]) / 2, 1e-9)
    design = np.polynomial.legendre.legvander((time - centre_time) / half_span, degree)
    coefficients = np.linalg.lstsq(design, values - values[0], rcond=None)[0]
    output_times = time if output_times_or_none is None else output_times_or_none
    curve = (
        np.polynomial.legendre.legvander((output_times - centre_time) / half_span, degree)
        @ coefficients
    )
    return np.asarray(curve + values[0])


def compute_axis_residuals(
    series: Series, degree: int = DEFAULT_DEGREE, track: Track | None = None
) -> AxisResiduals | None:
    """Computes the error of one axis; None with fewer samples than the polynomial needs.
    About the `track` if one is given (its median offset corrected), else the demand if it is
    recorded, else a polynomial of this degree. Times are the axis's own timestamps
    (`actualPositionTimestamp`, `demandPositionTimestamp`) if it records both, else the times of the
    samples. Angles continue across 360 degrees.
    """
    if ACTUAL not in series:
        return None
    is_valid = _is_angle(series[ACTUAL]) & np.isfinite(series.time)
    has_demand = DEMAND in series and bool(
        _is_angle(series[DEMAND][is_valid]).sum() > DEFAULT_DEGREE
    )
    has_demand &= track is None
    if has_demand:
        is_valid &= _is_angle(series[DEMAND])
    time, position = series.time[is_valid], _unwrap_angle(series[ACTUAL][is_valid])
    if len(np.unique(time)) <= degree + 1:
        return None
    if track is not None:
        return AxisResiduals(time, position, _error_about_track(time, position, track), "track")
    if not has_demand:
        return _residuals_about_polynomial(time, position, degree)
    demand = _unwrap_angle(series[DEMAND][is_valid])
    demand += 360.0 * round(float(np.median(position - demand)) / 360.0)
    actual_times, demand_times = _axis_stamps(series, is_valid)
    error, shift = compute_demand_error(actual_times, position, demand_times, demand)
    axis = AxisResiduals(time, position, error, "demand", shift)
    (actual_times, actual_jumps), (demand_times, demand_jumps) = (
        _repair_stamps(actual_times, time),
        _repair_stamps(demand_times, time),
    )
    if not actual_jumps + demand_jumps:
        return axis
    repaired, _ = compute_demand_error(actual_times, position, demand_times, demand)
    return replace(axis, clock_jumps=actual_jumps + demand_jumps, repaired_error=repaired)


def _residuals_about_polynomial(time: Array, position: Array, degree: int) -> AxisResiduals:
    error = compute_polynomial_error(time, position, degree)
    axis = AxisResiduals(time, position, error, "polynomial", degree=degree)
    steps = np.diff(time)
    typical_interval = float(np.median(steps))
    if typical_interval <= 0:
        return axis
    is_regular = np.abs(steps - typical_interval) <= 0.01 * typical_interval
    is_irregular = ~is_regular & (steps < 2 * typical_interval)
    # Only regular sampling can show a clock error; a gap is none.
    if (
        is_regular.mean() < MIN_REGULAR_FRACTION
        or not is_irregular.any()
        or np.any(steps >= 2 * typical_interval)
    ):
        return axis
    even_times = time[0] + typical_interval * np.arange(len(time))
    repaired = compute_polynomial_error(even_times, position, degree)
    if rms(repaired) >= rms(error):
        return axis
    jump_count = int(np.sum(is_irregular & ~np.concatenate(([False], is_irregular[:-1]))))
    return replace(axis, repaired_error=repaired, clock_jumps=jump_count)


def _repair_stamps(stamps: Array, time: Array) -> tuple[Array, int]:
    """Replaces the timestamps whose clock jumped by their sample's time; also counts them."""
    offset = stamps - time
    typical_offset = float(np.median(offset))
    has_jumped = np.abs(offset - typical_offset) > MIN_CLOCK_JUMP
    return np.where(has_jumped, time + typical_offset, stamps), int(has_jumped.sum())


def compute_demand_error(
    time: Array, position: Array, demand_time: Array, demand: Array
) -> tuple[Array, float]:
    """Returns actual less demand (arcsec) and the shift (s) of the demand's clock.
    error_i = 3600 (position_i - interp(time_i; demand_time + shift, demand)), with the shift within
    1 ms that minimizes |median(error)|; of several, the smallest.
    """

    order = np.argsort(demand_time, kind="stable")
    demand_time, demand = demand_time[order], demand[order]

    def shifted_error(shift: float) -> Array:
        return (position - np.interp(time, demand_time + shift, demand)) * ARCSEC

    shift = _find_least_median(lambda candidate: float(np.median(shifted_error(candidate))))
    return shifted_error(shift), shift


def compute_polynomial_error(time: Array, position: Array, degree: int = DEFAULT_DEGREE) -> Array:
    """Returns the position less its least-squares polynomial in time (arcsec)."""
    return np.asarray((position - fit_polynomial(time, position, degree)) * ARCSEC)


def _error_about_track(time: Array, position: Array, track: Track) -> Array:
    difference = (position - track(time) + 180.0) % 360.0 - 180.0
    difference = _unwrap_angle(difference)
    return np.asarray((difference - np.median(difference)) * ARCSEC)


def replace_glitches(axis: AxisResiduals) -> AxisResiduals:
    """Replaces single bad samples of an axis, and counts them.
    As summit_utils' filterBadValues: the first two samples become the median if they are more than
    0.1 arcsec from it; a later one that is so far or farther from the last good one becomes the
    mean of the last two good ones, at most 3 in a row. A longer run is real, and stays until a
    sample is near the last good one again.
    """
    error = axis.error.copy()
    median = float(np.median(error))
    is_bad = np.abs(error[:2] - median) > MIN_GLITCH
    error[:2][is_bad] = median
    replaced, run_length = int(is_bad.sum()), 0
    previous, last_good = float(error[0]), float(error[1])
    for i in range(2, len(error)):
        if abs(error[i] - last_good) < MIN_GLITCH:
            previous, last_good, run_length = last_good, float(error[i]), 0
        elif run_length < MAX_GLITCH_SAMPLES:
            error[i] = (last_good + previous) / 2
            replaced, run_length = replaced + 1, run_length + 1
    return replace(axis, error=error, glitches=replaced)


def compute_coverage(time: Array, start: float, end: float) -> float:
    """Returns the part of [start, end] (s) that samples cover, 0 to 1.
    A sample covers one typical interval; a longer gap, also at either end, is not covered.
    """
    inside = np.unique(time[(time >= start) & (time <= end)])
    if len(inside) < 2 or end <= start:
        return 0.0
    edges = np.concatenate(([start], inside, [end]))
    gaps = np.diff(edges)
    typical_interval = float(np.median(np.diff(inside)))
    return float(
        1.0
        - np.sum(np.where(gaps > 2 * typical_interval, gaps - typical_interval, 0.0))
        / (end - start)
    )


def find_worst_second(time: Array, motion: Array) -> tuple[float, float]:
    """Returns the largest root mean square over any second (arcsec), and that second's start."""
    ends = np.searchsorted(time, time + 1.0, side="right")
    total = np.concatenate(([0.0], np.cumsum(motion * motion)))
    starts = np.arange(len(time))
    # The last seconds are incomplete: a lone sample at the end is no second.
    is_complete = (time + 1.0 <= time[-1]) | (starts == 0)
    square = np.where(is_complete, (total[ends] - total[starts]) / (ends - starts), -1.0)
    worst = int(np.argmax(square))
    return float(np.sqrt(square[worst])), float(time[worst])


def _is_angle(values: Array) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.abs(values) < MAX_ANGLE


def _axis_stamps(series: Series, is_valid: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    if ACTUAL_TIME in series and DEMAND_TIME in series:
        actual, demand = series[ACTUAL_TIME][is_valid], series[DEMAND_TIME][is_valid]
        if np.isfinite(actual).all() and np.isfinite(demand).all():
            return actual, demand
    return series.time[is_valid], series.time[is_valid]


def _unwrap_angle(angle: Array) -> Array:
    return np.asarray(np.unwrap(angle, period=360.0))


def _find_least_median(median: Callable[[float], float]) -> float:
    grid = np.linspace(-MAX_CLOCK_SHIFT, MAX_CLOCK_SHIFT, 21)
    values = np.array([median(float(shift)) for shift in grid])
    crossings = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    if len(crossings) == 0:
        smallest = np.flatnonzero(np.abs(values) <= np.abs(values).min())
        return float(grid[smallest[np.argmin(np.abs(grid[smallest]))]])
    nearest = int(crossings[np.argmin(np.abs(grid[crossings] + grid[crossings + 1]))])
    return _bisect_median(median, float(grid[nearest]), float(grid[nearest + 1]))


def _bisect_median(median: Callable[[float], float], low: float, high: float) -> float:
    is_rising = median(high) > 0
    for _ in range(60):
        middle = (low + high) / 2
        if (median(middle) > 0) == is_rising:
            high = middle
        else:
            low = middle
    return (low + high) / 2
