"""How well a mount followed its demand: errors in arcseconds, by axis, over one exposure.

As the Rubin Observatory computes it (lsst-sitcom/summit_utils, simonyi/mountData.py and
simonyi/mountAnalysis.py; lsst-sitcom/rubintv_production, mountTorques.py for AuxTel): the demand
interpolated onto the times of the actual positions, after a shift of its clock by at most 1 ms that
makes the median error least; where no demand is recorded, a polynomial in time stands for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from catcher import Series

Array = npt.NDArray[np.float64]

ARCSEC = 3600.0
MOST_SHIFT = 1e-3
GLITCH, MOST_IN_A_ROW = 0.1, 3
DEGREE = 4
ANGLE = 1e4
"""Degrees beyond which a number is no angle of a mount."""
CLOCK_JUMP = 0.25
"""Seconds between a stamp and its sample's time, beyond the usual, that no transport explains."""
ACTUAL, DEMAND = "actualPosition", "demandPosition"
ACTUAL_TIME, DEMAND_TIME = "actualPositionTimestamp", "demandPositionTimestamp"


REGULAR = 0.9
"""Part of the intervals that are alike where a clock makes the samples."""
Track = Callable[[Array], Array]
"""Where an axis should be (degrees) at these times (s)."""


@dataclass(frozen=True)
class Axis:
    """One axis: `time` (s), `position` (degrees) and `error` (arcsec), actual less reference.

    `reference` says what the error is about: `demand`, `polynomial` or `track`. `shift` is how far
    the demand's clock was moved (s), `glitches` how many samples were replaced. `believed` is the
    error with the stamps of clocks that jumped put right, `jumps` how many those are; `degree` is
    the polynomial's.
    """

    time: Array
    position: Array
    error: Array
    reference: str
    shift: float = 0.0
    glitches: int = 0
    jumps: int = 0
    repaired: Array | None = None
    degree: int = 0

    @property
    def rms(self) -> float:
        """Root mean square of the error (arcsec)."""
        return rms(self.error)

    @property
    def believed(self) -> Array:
        """The error without faults of the clock (arcsec)."""
        return self.error if self.repaired is None else self.repaired


def rms(values: Array) -> float:
    """Root mean square; nan where there is nothing."""
    return float(np.sqrt(np.mean(values * values))) if len(values) else float("nan")


def within(series: Series, start: float, end: float) -> Series:
    """The samples from `start` to `end` (s), both included, in order of time.

    Without a start or an end, those far from the rest are left out (Tukey's fences, twice the span
    of the middle half and a minute): their clock jumped.
    """
    time = series.time[np.isfinite(series.time)]
    if len(time) and not (np.isfinite(start) and np.isfinite(end)):
        early, late = np.percentile(time, (25, 75))
        fence = 2 * (late - early) + 60.0
        start, end = max(start, early - fence), min(end, late + fence)
    kept = np.flatnonzero((series.time >= start) & (series.time <= end))
    kept = kept[np.argsort(series.time[kept], kind="stable")]
    columns = {name: column[kept] for name, column in series.columns.items()}
    return Series(series.time[kept], columns, series.units, series.topic)


def fitted(time: Array, values: Array, degree: int, at: Array | None = None) -> Array:
    """The least-squares polynomial in time, at these times or at `at`."""
    middle, half = (time[0] + time[-1]) / 2, max((time[-1] - time[0]) / 2, 1e-9)
    design = np.polynomial.legendre.legvander((time - middle) / half, degree)
    found = np.linalg.lstsq(design, values - values[0], rcond=None)[0]
    asked = time if at is None else at
    curve = np.polynomial.legendre.legvander((asked - middle) / half, degree) @ found
    return np.asarray(curve + values[0])


def follow(series: Series, degree: int = DEGREE, track: Track | None = None) -> Axis | None:
    """The error of one axis over its samples; None with fewer samples than the polynomial needs.

    About the `track` where one is given (its median offset put right), else the demand where it is
    recorded, else a polynomial of this degree. Times are the axis's own stamps
    (`actualPositionTimestamp`, `demandPositionTimestamp`) where it records both, else the times of
    the samples. Angles go on across 360 degrees.
    """
    if ACTUAL not in series:
        return None
    good = _angles(series[ACTUAL]) & np.isfinite(series.time)
    demanded = DEMAND in series and bool(_angles(series[DEMAND][good]).sum() > DEGREE)
    demanded &= track is None
    if demanded:
        good &= _angles(series[DEMAND])
    time, position = series.time[good], _unwrapped(series[ACTUAL][good])
    if len(np.unique(time)) <= degree + 1:
        return None
    if track is not None:
        return Axis(time, position, _track_error(time, position, track), "track")
    if not demanded:
        return _about_polynomial(time, position, degree)
    demand = _unwrapped(series[DEMAND][good])
    demand += 360.0 * round(float(np.median(position - demand)) / 360.0)
    at, demanded_at = _stamps(series, good)
    error, shift = demand_error(at, position, demanded_at, demand)
    axis = Axis(time, position, error, "demand", shift)
    (at, one), (demanded_at, other) = _put_right(at, time), _put_right(demanded_at, time)
    if not one + other:
        return axis
    repaired, _ = demand_error(at, position, demanded_at, demand)
    return replace(axis, jumps=one + other, repaired=repaired)


def _about_polynomial(time: Array, position: Array, degree: int) -> Axis:
    error = polynomial_error(time, position, degree)
    axis = Axis(time, position, error, "polynomial", degree=degree)
    steps = np.diff(time)
    usual = float(np.median(steps))
    if usual <= 0:
        return axis
    regular = np.abs(steps - usual) <= 0.01 * usual
    odd = ~regular & (steps < 2 * usual)
    # Only what is sampled by a clock can show that the clock erred; a gap is no error.
    if regular.mean() < REGULAR or not odd.any() or np.any(steps >= 2 * usual):
        return axis
    even = time[0] + usual * np.arange(len(time))
    repaired = polynomial_error(even, position, degree)
    if rms(repaired) >= rms(error):
        return axis
    starts = int(np.sum(odd & ~np.concatenate(([False], odd[:-1]))))
    return replace(axis, repaired=repaired, jumps=starts)


def _put_right(stamps: Array, time: Array) -> tuple[Array, int]:
    """Stamps whose clock jumped, set by the time of their sample instead; and their number."""
    offset = stamps - time
    usual = float(np.median(offset))
    jumped = np.abs(offset - usual) > CLOCK_JUMP
    return np.where(jumped, time + usual, stamps), int(jumped.sum())


def demand_error(
    time: Array, position: Array, demand_time: Array, demand: Array
) -> tuple[Array, float]:
    """Actual less demand (arcsec) and the shift (s) of the demand's clock.

    error_i = 3600 (position_i - interp(time_i; demand_time + shift, demand)), the shift within
    1 ms that makes |median(error)| least; of several, the nearest to none.
    """

    order = np.argsort(demand_time, kind="stable")
    demand_time, demand = demand_time[order], demand[order]

    def error(shift: float) -> Array:
        return (position - np.interp(time, demand_time + shift, demand)) * ARCSEC

    shift = _least_median(lambda at: float(np.median(error(at))))
    return error(shift), shift


def polynomial_error(time: Array, position: Array, degree: int = DEGREE) -> Array:
    """Position less its least-squares polynomial in time (arcsec)."""
    return np.asarray((position - fitted(time, position, degree)) * ARCSEC)


def _track_error(time: Array, position: Array, track: Track) -> Array:
    apart = (position - track(time) + 180.0) % 360.0 - 180.0
    apart = _unwrapped(apart)
    return np.asarray((apart - np.median(apart)) * ARCSEC)


def without_glitches(axis: Axis) -> Axis:
    """The axis with single bad samples replaced, and their number.

    As summit_utils' filterBadValues: the first two samples become the median where they are more
    than 0.1 arcsec from it; a later one that is so far or farther from the last good one becomes
    the mean of the last two good ones, at most 3 in a row. What goes on longer is real, and stays
    until a sample is near the last good one again.
    """
    error = axis.error.copy()
    middle = float(np.median(error))
    first = np.abs(error[:2] - middle) > GLITCH
    error[:2][first] = middle
    replaced, row = int(first.sum()), 0
    before, last = float(error[0]), float(error[1])
    for i in range(2, len(error)):
        if abs(error[i] - last) < GLITCH:
            before, last, row = last, float(error[i]), 0
        elif row < MOST_IN_A_ROW:
            error[i] = (last + before) / 2
            replaced, row = replaced + 1, row + 1
    return replace(axis, error=error, glitches=replaced)


def fraction_seen(time: Array, start: float, end: float) -> float:
    """The part of [start, end] (s) that samples cover, 0 to 1.

    A sample stands for one typical interval; a longer silence, also at either end, is unseen.
    """
    inside = np.unique(time[(time >= start) & (time <= end)])
    if len(inside) < 2 or end <= start:
        return 0.0
    edges = np.concatenate(([start], inside, [end]))
    gaps = np.diff(edges)
    usual = float(np.median(np.diff(inside)))
    return float(1.0 - np.sum(np.where(gaps > 2 * usual, gaps - usual, 0.0)) / (end - start))


def worst_second(time: Array, motion: Array) -> tuple[float, float]:
    """The largest root mean square over any second (arcsec), and when that second starts."""
    ends = np.searchsorted(time, time + 1.0, side="right")
    total = np.concatenate(([0.0], np.cumsum(motion * motion)))
    starts = np.arange(len(time))
    # The last seconds are not whole: a lone sample at the end is no second.
    whole = (time + 1.0 <= time[-1]) | (starts == 0)
    square = np.where(whole, (total[ends] - total[starts]) / (ends - starts), -1.0)
    worst = int(np.argmax(square))
    return float(np.sqrt(square[worst])), float(time[worst])


def _angles(values: Array) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.abs(values) < ANGLE


def _stamps(series: Series, good: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    if ACTUAL_TIME in series and DEMAND_TIME in series:
        actual, demand = series[ACTUAL_TIME][good], series[DEMAND_TIME][good]
        if np.isfinite(actual).all() and np.isfinite(demand).all():
            return actual, demand
    return series.time[good], series.time[good]


def _unwrapped(angle: Array) -> Array:
    return np.asarray(np.unwrap(angle, period=360.0))


def _least_median(median: Callable[[float], float]) -> float:
    grid = np.linspace(-MOST_SHIFT, MOST_SHIFT, 21)
    values = np.array([median(float(at)) for at in grid])
    crossings = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    if len(crossings) == 0:
        least = np.flatnonzero(np.abs(values) <= np.abs(values).min())
        return float(grid[least[np.argmin(np.abs(grid[least]))]])
    nearest = int(crossings[np.argmin(np.abs(grid[crossings] + grid[crossings + 1]))])
    return _bisected(median, float(grid[nearest]), float(grid[nearest + 1]))


def _bisected(median: Callable[[float], float], low: float, high: float) -> float:
    rising = median(high) > 0
    for _ in range(60):
        middle = (low + high) / 2
        if (median(middle) > 0) == rising:
            high = middle
        else:
            low = middle
    return (low + high) / 2
