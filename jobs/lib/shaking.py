"""What kind of motion an image made: its spectrum, its drift, when it settled, and what failed.

The parts of its mean square are told apart one after the other: what goes away when clocks that
jumped are put right (timing), with single points replaced (glitch), after the first part of the
exposure (settling), with a straight line taken off (drift), in narrow peaks of the spectrum
(oscillation), below 1 Hz (wind), and the rest (noise). A mount that shakes has the last five.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .tracking import fitted

Array = npt.NDArray[np.float64]

CLASSES = ("noise", "oscillation", "wind", "glitch", "timing", "settling", "drift")
"""A failure's number is its place here."""
WIND_BELOW = 1.0
"""Hz: gusts move a telescope slowly, its structure answers faster."""
POINT, ROBUST, MOST_IN_A_ROW = 0.1, 8.0, 3
NOTHING = 1e-12
"""(arcsec)^2: less than any encoder tells."""
FEWEST_FOR_SPECTRUM, FEWEST_CYCLES = 32, 6
STANDS_OUT, LEAST_PART, MOST_PEAKS = 12.0, 0.05, 4
REACH, WIDTH = 25, 2
"""Bins about a peak that it is compared with; and those to either side that belong to
it, as a Hann window spreads them."""


@dataclass(frozen=True)
class Motion:
    """The image's distance from its place (arcsec) at times (s): across (azimuth) and up."""

    time: Array
    across: Array
    up: Array

    @property
    def square(self) -> Array:
        """Distance squared (arcsec^2)."""
        return np.asarray(self.across**2 + self.up**2)

    @property
    def energy(self) -> float:
        """Mean square (arcsec^2)."""
        return float(np.mean(self.square)) if len(self.time) else 0.0

    def after(self, time: float) -> Motion:
        """The part from a time (s) on."""
        kept = self.time >= time
        return Motion(self.time[kept], self.across[kept], self.up[kept])


@dataclass(frozen=True)
class Peak:
    """An oscillation: Hz, amplitude on the sky (arcsec), the axis that has more of it, a name."""

    frequency: float
    amplitude: float
    axis: str
    name: str


@dataclass(frozen=True)
class Spectrum:
    """Amplitude (arcsec) by frequency (Hz), its peaks, and which parts of the mean square lie in
    them and, without them, below WIND_BELOW."""

    frequency: Array
    amplitude: Array
    peaks: tuple[Peak, ...] = ()
    in_peaks: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True)
class Kind:
    """Parts of the mean square by class (they add up to one), drift (arcsec from the start to the
    end) and jitter (arcsec, about the drift) of what is believed, the spectrum."""

    parts: Mapping[str, float]
    drift: float
    jitter: float
    spectrum: Spectrum

    @property
    def name(self) -> str:
        """The class of the largest part."""
        return max(CLASSES, key=lambda name: self.parts[name])


def without_points(error: Array) -> tuple[Array, int]:
    """An error (arcsec) with lone points put on the line between their neighbours; and how many.

    Points are up to 3 samples between a step away and a step back, each of more than 0.1 arcsec
    and 8 robust sigmas of all steps; before and after they agree within half of it. What swings,
    however fast, has many large steps, and no such point.
    """
    steps = np.diff(error)
    if len(steps) < 2 * MOST_IN_A_ROW:
        return error, 0
    least = max(POINT, ROBUST * 1.4826 * float(np.median(np.abs(steps))))
    bad = np.zeros(len(error), dtype=bool)
    large = np.flatnonzero(np.abs(steps) > least)
    for one, other in pairwise(large):
        back = steps[one] * steps[other] < 0 and other - one <= MOST_IN_A_ROW
        apart = abs(error[other + 1] - error[one])
        if back and apart <= min(abs(steps[one]), abs(steps[other])) / 2 and not bad[one]:
            bad[one + 1 : other + 1] = True
    bad[0] |= bool(abs(steps[0]) > least and not bad[1] and abs(steps[1]) <= least)
    bad[-1] |= bool(abs(steps[-1]) > least and not bad[-2] and abs(steps[-2]) <= least)
    places = np.arange(len(error))
    return np.interp(places, places[~bad], error[~bad]), int(bad.sum())


def settled(time: Array, motion: Array, start: float, limit: float) -> float | None:
    """Seconds from `start` until the motion of any later second stays within `limit` (arcsec,
    root mean square); None if it never does."""
    ends = np.searchsorted(time, time + 1.0, side="right")
    total = np.concatenate(([0.0], np.cumsum(motion * motion)))
    begins = np.arange(len(time))
    running = np.sqrt((total[ends] - total[begins]) / (ends - begins))
    restless = np.flatnonzero((running > limit) & (time >= start))
    if len(restless) == 0:
        return 0.0
    calm = np.flatnonzero(time > time[restless[-1]])
    if len(calm) == 0 or time[restless[-1]] + 1.0 >= time[-1]:
        return None
    # The last second that is too restless ends after what disturbed it.
    late = begins[motion > limit]
    quiet = late[late <= ends[restless[-1]] - 1]
    last = time[min(quiet[-1] + 1, len(time) - 1)] if len(quiet) else time[calm[0]]
    return float(max(last - start, 0.0))


def kind(recorded: float, repaired: float, cleaned: Motion, modes: Mapping[str, float]) -> Kind:
    """What kind of motion it was. recorded, repaired: mean squares (arcsec^2) as recorded, and
    with clocks put right; cleaned: what remains without lone points too."""
    rest, drift = _without_drift(cleaned)
    jitter = float(np.sqrt(rest.energy))
    parts = dict.fromkeys(CLASSES, 0.0)
    if recorded < NOTHING:
        return Kind({**parts, "noise": 1.0}, drift, jitter, spectrum(rest, modes))
    parts["timing"] = max(0.0, recorded - repaired) / recorded
    parts["glitch"] = max(0.0, min(recorded, repaired) - cleaned.energy) / recorded
    left = max(0.0, 1.0 - parts["timing"] - parts["glitch"])
    later, early = _after_settling(cleaned)
    parts["settling"] = left * early
    left -= parts["settling"]
    rest, _ = _without_drift(later)
    about = min(1.0, rest.energy / max(later.energy, NOTHING))
    parts["drift"] = left * (1.0 - about)
    left *= about
    found = spectrum(rest, modes)
    parts["oscillation"], parts["wind"] = left * found.in_peaks, left * found.slow
    parts["noise"] = left * max(0.0, 1.0 - found.in_peaks - found.slow)
    return Kind(parts, drift, jitter, found)


def _after_settling(motion: Motion) -> tuple[Motion, float]:
    """The motion after a restless beginning (all, where there was none), and the beginning's part
    of the mean square beyond what came after."""
    count = len(motion.time)
    seconds, place = np.unique(np.floor(motion.time - motion.time[0]), return_inverse=True)
    square = np.bincount(place, weights=motion.square) / np.bincount(place)
    usual = float(np.mean(motion.square[count // 3 :]))
    calm = np.flatnonzero(square <= 4 * usual + 1e-4)
    first = int(calm[0]) if len(calm) else 0
    if first == 0 or first > len(square) / 2:
        return motion, 0.0
    later = motion.after(motion.time[0] + seconds[first])
    early = motion.square[: count - len(later.time)]
    excess = float(np.sum(early - later.energy)) / count
    return later, min(1.0, max(0.0, excess) / max(motion.energy, NOTHING))


def _without_drift(motion: Motion) -> tuple[Motion, float]:
    """The motion about a straight line in each direction, and how far that line goes (arcsec)."""
    across, up = (fitted(motion.time, part, 1) for part in (motion.across, motion.up))
    length = float(np.hypot(across[-1] - across[0], up[-1] - up[0]))
    return Motion(motion.time, motion.across - across, motion.up - up), length


def spectrum(motion: Motion, modes: Mapping[str, float]) -> Spectrum:
    """The amplitude spectrum (Hann window, both directions in quadrature) and its peaks.

    A sine of amplitude a stands as a. A peak is a bin 12 times above the median power to its sides,
    with at least 5 % of the mean square and six cycles; of several the strongest four count.
    """
    count = len(motion.time)
    if count < FEWEST_FOR_SPECTRUM:
        return Spectrum(np.array([]), np.array([]))
    even = np.linspace(motion.time[0], motion.time[-1], count)
    window = np.hanning(count)
    waves = [
        np.fft.rfft(window * np.interp(even, motion.time, part))
        for part in (motion.across, motion.up)
    ]
    power = np.array([np.abs(wave) ** 2 for wave in waves])
    step = (even[-1] - even[0]) / (count - 1)
    frequency = np.fft.rfftfreq(count, step)
    total = power.sum(axis=0)
    found, taken = _peaks(frequency, power, float(window.sum()), float((window**2).sum()), modes)
    whole = max(float(total[1:].sum()), 1e-30)
    slow = (frequency < WIND_BELOW) & (frequency > 0) & ~taken
    return Spectrum(
        frequency[1:], (2 * np.sqrt(total) / window.sum())[1:], found,
        float(total[taken].sum()) / whole, float(total[slow].sum()) / whole,
    )  # fmt: skip


def _peaks(
    frequency: Array, power: Array, height: float, area: float, modes: Mapping[str, float]
) -> tuple[tuple[Peak, ...], npt.NDArray[np.bool_]]:
    total = power.sum(axis=0)
    whole = max(float(total[1:].sum()), 1e-30)
    taken = np.zeros(len(total), dtype=bool)
    found: list[Peak] = []
    for place in np.argsort(total)[::-1]:
        if len(found) == MOST_PEAKS:
            break
        if place < FEWEST_CYCLES or taken[place]:
            continue
        band = slice(place - WIDTH, place + WIDTH + 1)
        part = float(total[band][~taken[band]].sum()) / whole
        if part < LEAST_PART or total[place] < STANDS_OUT * _about(total, int(place)):
            continue
        at = float(np.average(frequency[band], weights=total[band]))
        # Parseval for a windowed sine: the band's power is (a^2 / 4) N sum(w^2), here both axes.
        amplitude = 2 * float(np.sqrt(total[band].sum() / area / len(total) / 2))
        axis = "azimuth" if power[0, band].sum() >= power[1, band].sum() else "elevation"
        found.append(Peak(at, amplitude, axis, _name(at, axis, float(frequency[1]), modes)))
        taken[band] = True
    return tuple(found), taken


def _about(power: Array, place: int) -> float:
    """The median power beside a peak, on the side that has more: a red spectrum is no peak."""
    sides = (power[max(1, place - REACH) : place - WIDTH], power[place + WIDTH + 1 :][:REACH])
    return max(float(np.median(side)) for side in sides if len(side))


def _name(at: float, axis: str, bin_width: float, modes: Mapping[str, float]) -> str:
    """The known mode that lies there, within 5 % or two bins; else axis and frequency."""
    near = {name: abs(at - hertz) for name, hertz in modes.items()}
    best = min(near, key=lambda name: near[name], default="")
    if best and near[best] <= max(0.05 * at, 2 * bin_width):
        return best
    return f"{axis} {at:.2g} Hz" if at >= 1 else f"{axis} {at:.2f} Hz"
