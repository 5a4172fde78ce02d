"""The plot of a mount's jitter: the image's motion in time above, its spectrum below."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from . import plots
from .jitter import JitterAnalysis
from .tracking import rms

_TIME_BOX: plots.Box = (0.1, 0.425, 0.865, 0.37)
_SPECTRUM_BOX: plots.Box = (0.1, 0.1, 0.865, 0.22)
_MIN_REACH = 0.02


def plot_jitter(analysis: JitterAnalysis, title: str, name: str) -> plots.Figure:
    """Plots the jitter. title: the message; name: of the exposure."""
    values = analysis.values
    subtitle = (
        f"{name + ' · ' if name else ''}"
        f'worst second {values["image_impact_worst_second"]:.3f}" · '
        f'drift {values["drift"]:.3f}" · '
        f"{100 * analysis.errors.coverage:.0f} % seen"
    )
    figure = plots.create_figure(title, subtitle)
    _plot_motion(figure, analysis)
    _plot_spectrum(figure, analysis)
    return figure


def _plot_motion(figure: plots.Figure, analysis: JitterAnalysis) -> None:
    motion = analysis.motion
    panel = plots.add_panel(figure, "arcsec", _TIME_BOX)
    panel.axvspan(
        analysis.worst_second_start,
        analysis.worst_second_start + 1,
        color=plots.YELLOW,
        alpha=0.22,
        linewidth=0,
    )
    # A lone point must not flatten everything else: it leaves the frame, and its value is written.
    distances = np.abs(np.concatenate((motion.across, motion.up)))
    farthest = float(distances.max())
    typical_reach = 4 * float(np.percentile(distances, 98))
    limit = 1.15 * max(
        min(farthest, typical_reach) if analysis.glitch_count else farthest, _MIN_REACH
    )
    for text, values, colour in (
        (f'across {rms(motion.across):.3f}"', motion.across, plots.BLUE),
        (f'up {rms(motion.up):.3f}"', motion.up, plots.ORANGE),
    ):
        # A steep trace with soft edges would triple the file's size, with no visible gain.
        panel.plot(motion.time, values, color=colour, linewidth=2, antialiased=False, label=text)
    panel.set_ylim(-limit, 1.6 * limit)
    plots.set_utc_axis(panel, float(motion.time[0]), float(motion.time[-1]))
    panel.set_xlabel("")
    plots.add_note(panel, analysis.worst_second_start + 1, "worst second")
    plots.add_legend(panel, columns=2)
    reference = analysis.errors.axes["azimuth"].reference
    text = f"about the {reference}" + (f', peaks to {farthest:.3g}"' if farthest > limit else "")
    panel.text(
        0.985, 0.93, text, color=plots.MUTED, size=15, ha="right", va="top",
        transform=panel.transAxes,
    )  # fmt: skip


def _plot_spectrum(figure: plots.Figure, analysis: JitterAnalysis) -> None:
    spectrum = analysis.breakdown.spectrum
    panel = plots.add_panel(figure, "arcsec", _SPECTRUM_BOX)
    if not len(spectrum.frequency):
        plots.draw_message(panel, "too few samples for a spectrum")
        return
    panel.plot(spectrum.frequency, spectrum.amplitude, color=plots.BLUE, linewidth=2)
    highest = max(float(spectrum.amplitude.max()), 1e-4)
    panel.set_ylim(0, 1.45 * highest)
    panel.set_xscale("log")
    panel.set_xlim(float(spectrum.frequency[0]), float(spectrum.frequency[-1]))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_xlabel("Hz", color=plots.MUTED, size=16, labelpad=2)
    panel.yaxis.set_major_locator(MaxNLocator(3))
    for peak in spectrum.peaks[:2]:
        index = int(np.argmin(np.abs(spectrum.frequency - peak.frequency)))
        is_right_half = np.log(peak.frequency / spectrum.frequency[0]) > 0.6 * np.log(
            spectrum.frequency[-1] / spectrum.frequency[0]
        )
        panel.annotate(
            f'{peak.name} · {peak.amplitude:.3f}"',
            (peak.frequency, spectrum.amplitude[index]),
            xytext=(-10 if is_right_half else 10, 4),
            textcoords="offset points",
            color=plots.YELLOW,
            size=16,
            weight="bold",
            ha="right" if is_right_half else "left",
            va="bottom",
        )
