"""Classifies the motion of an image: its spectrum, its drift, when it settled, and what failed.
The parts of its mean square are separated one after the other: what disappears when clock jumps are
corrected (timing), with single points replaced (glitch), after the first part of the exposure
(settling), with a straight line subtracted (drift), in narrow peaks of the spectrum (oscillation),
below 1 Hz (wind), and the rest (noise). A mount that shakes has the last five.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .tracking import fit_polynomial

Array = npt.NDArray[np.float64]

FAILURE_CLASSES = ("noise", "oscillation", "wind", "glitch", "timing", "settling", "drift")
"""A failure's number is its index here."""
WIND_MAX_FREQUENCY = 1.0
"""Hz: gusts move a telescope slowly, its structure responds faster."""
MIN_GLITCH_STEP, GLITCH_SIGMAS, MAX_GLITCH_SAMPLES = 0.1, 8.0, 3
MIN_ENERGY = 1e-12
"""(arcsec)^2: below the resolution of any encoder."""
MIN_SPECTRUM_SAMPLES, MIN_CYCLES = 32, 6
MIN_PEAK_RATIO, MIN_PEAK_PART, MAX_PEAKS = 12.0, 0.05, 4
COMPARISON_BINS, PEAK_HALF_WIDTH = 25, 2
"""Bins about a peak to compare it with, and to either side that belong to it (Hann window)."""


@dataclass(frozen=True)
class ImageMotion:
    """The image's offset from its position (arcsec) at times (s): across (azimuth) and up."""

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

    def slice_from(self, time: float) -> ImageMotion:
        """Returns the part from a time (s) on."""
        is_kept = self.time >= time
        return ImageMotion(self.time[is_kept], self.across[is_kept], self.up[is_kept])


@dataclass(frozen=True)
class SpectralPeak:
    """An oscillation: Hz, amplitude on the sky (arcsec), its dominant axis, a name."""

    frequency: float
    amplitude: float
    axis: str
    name: str


@dataclass(frozen=True)
class MotionSpectrum:
    """Amplitude (arcsec) by frequency (Hz), its peaks, and which parts of the mean square are in
    them and, without them, below WIND_MAX_FREQUENCY.
    """

    frequency: Array
    amplitude: Array
    peaks: tuple[SpectralPeak, ...] = ()
    peak_part: float = 0.0
    slow_part: float = 0.0


@dataclass(frozen=True)
class MotionBreakdown:
    """Parts of the mean square by class (they add up to one), drift (arcsec from the start to the
    end) and jitter (arcsec, about the drift) of the valid motion, and the spectrum.
    """

    parts: Mapping[str, float]
    drift: float
    jitter: float
    spectrum: MotionSpectrum

    @property
    def name(self) -> str:
        """The class of the largest part."""
        return max(FAILURE_CLASSES, key=lambda name: self.parts[name])


def remove_glitches(error: Array) -> tuple[Array, int]:
    """Puts lone points of an error (arcsec) on the line between their neighbours; also counts them.
    Points are up to 3 samples between a step away and a step back, each of more than 0.1 arcsec and
    8 robust sigmas of all steps; before and after they agree within half of it. An oscillation,
    however fast, has many large steps, and no such point.
    """
    steps = np.diff(error)
    if len(steps) < 2 * MAX_GLITCH_SAMPLES:
        return error, 0
    threshold = max(MIN_GLITCH_STEP, GLITCH_SIGMAS * 1.4826 * float(np.median(np.abs(steps))))
    is_bad = np.zeros(len(error), dtype=bool)
    large_steps = np.flatnonzero(np.abs(steps) > threshold)
    for first, second in pairwise(large_steps):
        returns = steps[first] * steps[second] < 0 and second - first <= MAX_GLITCH_SAMPLES
        difference = abs(error[second + 1] - error[first])
        if (
            returns
            and difference <= min(abs(steps[first]), abs(steps[second])) / 2
            and not is_bad[first]
        ):
            is_bad[first + 1 : second + 1] = True
    is_bad[0] |= bool(abs(steps[0]) > threshold and not is_bad[1] and abs(steps[1]) <= threshold)
    is_bad[-1] |= bool(
        abs(steps[-1]) > threshold and not is_bad[-2] and abs(steps[-2]) <= threshold
    )
    indices = np.arange(len(error))
    return np.interp(indices, indices[~is_bad], error[~is_bad]), int(is_bad.sum())


def find_settle_time(time: Array, motion: Array, start: float, limit: float) -> float | None:
    """Returns the seconds from `start` until the motion of any later second stays within `limit`
    (arcsec, root mean square); None if it never does.
    """
    ends = np.searchsorted(time, time + 1.0, side="right")
    total = np.concatenate(([0.0], np.cumsum(motion * motion)))
    starts = np.arange(len(time))
    running_rms = np.sqrt((total[ends] - total[starts]) / (ends - starts))
    exceeding = np.flatnonzero((running_rms > limit) & (time >= start))
    if len(exceeding) == 0:
        return 0.0
    later = np.flatnonzero(time > time[exceeding[-1]])
    if len(later) == 0 or time[exceeding[-1]] + 1.0 >= time[-1]:
        return None
    # The last second above the limit ends after its disturbance.
    large_samples = starts[motion > limit]
    last_samples = large_samples[large_samples <= ends[exceeding[-1]] - 1]
    settle_instant = (
        time[min(last_samples[-1] + 1, len(time) - 1)] if len(last_samples) else time[later[0]]
    )
    return float(max(settle_instant - start, 0.0))


def classify_motion(
    recorded: float, repaired: float, cleaned: ImageMotion, modes: Mapping[str, float]
) -> MotionBreakdown:
    """Classifies a motion. recorded, repaired: mean squares (arcsec^2) as recorded, and with clocks
    corrected; cleaned: the motion without lone points, too.
    """
    residual, drift = _remove_drift(cleaned)
    jitter = float(np.sqrt(residual.energy))
    parts = dict.fromkeys(FAILURE_CLASSES, 0.0)
    if recorded < MIN_ENERGY:
        return MotionBreakdown(
            {**parts, "noise": 1.0}, drift, jitter, compute_spectrum(residual, modes)
        )
    parts["timing"] = max(0.0, recorded - repaired) / recorded
    parts["glitch"] = max(0.0, min(recorded, repaired) - cleaned.energy) / recorded
    remaining = max(0.0, 1.0 - parts["timing"] - parts["glitch"])
    settled, settling_part = _cut_settling(cleaned)
    parts["settling"] = remaining * settling_part
    remaining -= parts["settling"]
    residual, _ = _remove_drift(settled)
    residual_ratio = min(1.0, residual.energy / max(settled.energy, MIN_ENERGY))
    parts["drift"] = remaining * (1.0 - residual_ratio)
    remaining *= residual_ratio
    motion_spectrum = compute_spectrum(residual, modes)
    parts["oscillation"], parts["wind"] = (
        remaining * motion_spectrum.peak_part,
        remaining * motion_spectrum.slow_part,
    )
    parts["noise"] = remaining * max(
        0.0, 1.0 - motion_spectrum.peak_part - motion_spectrum.slow_part
    )
    return MotionBreakdown(parts, drift, jitter, motion_spectrum)


def _cut_settling(motion: ImageMotion) -> tuple[ImageMotion, float]:
    """Returns the motion after a restless beginning (all of it if there was none), and the
    beginning's part of the mean square beyond what came after.
    """
    count = len(motion.time)
    seconds, indices = np.unique(np.floor(motion.time - motion.time[0]), return_inverse=True)
    square = np.bincount(indices, weights=motion.square) / np.bincount(indices)
    typical_square = float(np.mean(motion.square[count // 3 :]))
    calm_seconds = np.flatnonzero(square <= 4 * typical_square + 1e-4)
    first = int(calm_seconds[0]) if len(calm_seconds) else 0
    if first == 0 or first > len(square) / 2:
        return motion, 0.0
    settled = motion.slice_from(motion.time[0] + seconds[first])
    settling_square = motion.square[: count - len(settled.time)]
    excess = float(np.sum(settling_square - settled.energy)) / count
    return settled, min(1.0, max(0.0, excess) / max(motion.energy, MIN_ENERGY))


def _remove_drift(motion: ImageMotion) -> tuple[ImageMotion, float]:
    """Returns the motion about a straight line in each direction, and its length (arcsec)."""
    across, up = (fit_polynomial(motion.time, values, 1) for values in (motion.across, motion.up))
    length = float(np.hypot(across[-1] - across[0], up[-1] - up[0]))
    return ImageMotion(motion.time, motion.across - across, motion.up - up), length


def compute_spectrum(motion: ImageMotion, modes: Mapping[str, float]) -> MotionSpectrum:
    """Computes the amplitude spectrum (Hann window, both directions in quadrature) and its peaks.
    A sine of amplitude a has the value a. A peak is a bin 12 times above the median power to its
    sides, with at least 5 % of the mean square and six cycles; only the strongest four count.
    """
    count = len(motion.time)
    if count < MIN_SPECTRUM_SAMPLES:
        return MotionSpectrum(np.array([]), np.array([]))
    even_times = np.linspace(motion.time[0], motion.time[-1], count)
    window = np.hanning(count)
    transforms = [
        np.fft.rfft(window * np.interp(even_times, motion.time, values))
        for values in (motion.across, motion.up)
    ]
    power = np.array([np.abs(transform) ** 2 for transform in transforms])
    interval = (even_times[-1] - even_times[0]) / (count - 1)
    frequency = np.fft.rfftfreq(count, interval)
    total = power.sum(axis=0)
    peaks, in_peak = _find_peaks(
        frequency, power, float(window.sum()), float((window**2).sum()), modes
    )
    total_power = max(float(total[1:].sum()), 1e-30)
    is_slow = (frequency < WIND_MAX_FREQUENCY) & (frequency > 0) & ~in_peak
    return MotionSpectrum(
        frequency[1:], (2 * np.sqrt(total) / window.sum())[1:], peaks,
        float(total[in_peak].sum()) / total_power, float(total[is_slow].sum()) / total_power,
    )  # fmt: skip


def _find_peaks(
    frequency: Array, power: Array, height: float, area: float, modes: Mapping[str, float]
) -> tuple[tuple[SpectralPeak, ...], npt.NDArray[np.bool_]]:
    total = power.sum(axis=0)
    total_power = max(float(total[1:].sum()), 1e-30)
    in_peak = np.zeros(len(total), dtype=bool)
    peaks: list[SpectralPeak] = []
    for index in np.argsort(total)[::-1]:
        if len(peaks) == MAX_PEAKS:
            break
        if index < MIN_CYCLES or in_peak[index]:
            continue
        band = slice(index - PEAK_HALF_WIDTH, index + PEAK_HALF_WIDTH + 1)
        part = float(total[band][~in_peak[band]].sum()) / total_power
        if part < MIN_PEAK_PART or total[index] < MIN_PEAK_RATIO * _background_power(
            total, int(index)
        ):
            continue
        peak_frequency = float(np.average(frequency[band], weights=total[band]))
        # Parseval for a windowed sine: the band's power is (a^2 / 4) N sum(w^2), here both axes.
        amplitude = 2 * float(np.sqrt(total[band].sum() / area / len(total) / 2))
        axis = "azimuth" if power[0, band].sum() >= power[1, band].sum() else "elevation"
        peaks.append(
            SpectralPeak(
                peak_frequency,
                amplitude,
                axis,
                _name_peak(peak_frequency, axis, float(frequency[1]), modes),
            )
        )
        in_peak[band] = True
    return tuple(peaks), in_peak


def _background_power(power: Array, index: int) -> float:
    """Returns the median power beside a peak, on the higher side: a red spectrum is no peak."""
    sides = (
        power[max(1, index - COMPARISON_BINS) : index - PEAK_HALF_WIDTH],
        power[index + PEAK_HALF_WIDTH + 1 :][:COMPARISON_BINS],
    )
    return max(float(np.median(side)) for side in sides if len(side))


def _name_peak(frequency: float, axis: str, bin_width: float, modes: Mapping[str, float]) -> str:
    """Returns the known mode within 5 % or two bins of a frequency; else axis and frequency."""
    distances = {name: abs(frequency - hertz) for name, hertz in modes.items()}
    nearest = min(distances, key=lambda name: distances[name], default="")
    if nearest and distances[nearest] <= max(0.05 * frequency, 2 * bin_width):
        return nearest
    return f"{axis} {frequency:.2g} Hz" if frequency >= 1 else f"{axis} {frequency:.2f} Hz"
