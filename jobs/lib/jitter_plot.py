"""The plot of a mount's jitter: the image's motion in time above, its spectrum below."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator

from . import plots
from .jitter import Judged
from .tracking import rms

_TIME: plots.Box = (0.1, 0.425, 0.865, 0.37)
_SPECTRUM: plots.Box = (0.1, 0.1, 0.865, 0.22)
_LEAST = 0.02


def picture(judged: Judged, title: str, name: str) -> plots.Figure:
    """The figure. title: its message; name: of the exposure."""
    numbers = judged.numbers
    subtitle = (
        f"{name + ' · ' if name else ''}"
        f'worst second {numbers["image_impact_worst_second"]:.3f}" · '
        f'drift {numbers["drift"]:.3f}" · '
        f"{100 * judged.looked.seen:.0f} % seen"
    )
    figure = plots.figure(title, subtitle)
    _motion(figure, judged)
    _spectrum(figure, judged)
    return figure


def _motion(figure: plots.Figure, judged: Judged) -> None:
    motion = judged.motion
    panel = plots.panel(figure, "arcsec", _TIME)
    panel.axvspan(judged.worst_at, judged.worst_at + 1, color=plots.YELLOW, alpha=0.22, linewidth=0)
    # A lone point must not press everything else flat: it leaves the frame, with its number told.
    both = np.abs(np.concatenate((motion.across, motion.up)))
    far = float(both.max())
    usual = 4 * float(np.percentile(both, 98))
    reach = 1.15 * max(min(far, usual) if judged.points else far, _LEAST)
    for words, values, colour in (
        (f'across {rms(motion.across):.3f}"', motion.across, plots.BLUE),
        (f'up {rms(motion.up):.3f}"', motion.up, plots.ORANGE),
    ):
        # A steep trace with soft edges makes a file three times as large, for nothing to see.
        panel.plot(motion.time, values, color=colour, linewidth=2, antialiased=False, label=words)
    panel.set_ylim(-reach, 1.6 * reach)
    plots.utc_axis(panel, float(motion.time[0]), float(motion.time[-1]))
    panel.set_xlabel("")
    plots.beside(panel, judged.worst_at + 1, "worst second")
    plots.names(panel, columns=2)
    about = judged.looked.axes["azimuth"].reference
    words = f"about the {about}" + (f', peaks to {far:.3g}"' if far > reach else "")
    panel.text(
        0.985, 0.93, words, color=plots.DIM, size=15, ha="right", va="top",
        transform=panel.transAxes,
    )  # fmt: skip


def _spectrum(figure: plots.Figure, judged: Judged) -> None:
    found = judged.kind.spectrum
    panel = plots.panel(figure, "arcsec", _SPECTRUM)
    if not len(found.frequency):
        plots.blank(panel, "too few samples for a spectrum")
        return
    panel.plot(found.frequency, found.amplitude, color=plots.BLUE, linewidth=2)
    highest = max(float(found.amplitude.max()), 1e-4)
    panel.set_ylim(0, 1.45 * highest)
    panel.set_xscale("log")
    panel.set_xlim(float(found.frequency[0]), float(found.frequency[-1]))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_xlabel("Hz", color=plots.DIM, size=16, labelpad=2)
    panel.yaxis.set_major_locator(MaxNLocator(3))
    for peak in found.peaks[:2]:
        place = int(np.argmin(np.abs(found.frequency - peak.frequency)))
        right = np.log(peak.frequency / found.frequency[0]) > 0.6 * np.log(
            found.frequency[-1] / found.frequency[0]
        )
        panel.annotate(
            f'{peak.name} · {peak.amplitude:.3f}"', (peak.frequency, found.amplitude[place]),
            xytext=(-10 if right else 10, 4), textcoords="offset points", color=plots.YELLOW,
            size=16, weight="bold", ha="right" if right else "left", va="bottom",
        )  # fmt: skip
