"""The picture of one detector: what it saw, and its amplifiers in a table."""

from __future__ import annotations

from . import plots
from .detector import Amplifier
from .findings import Findings


def portrait(found: Findings, title: str) -> plots.Figure:
    """The detector under its message, with the overscan of each amplifier beside it."""
    image = found.detector
    figure = plots.figure(title, _subtitle(found))
    plots.picture(figure, image.image, (0.045, 0.05, 0.60, 0.74))
    rows = [_row(one) for one in image.amplifiers[:16]]
    plots.table(figure, ("amp", "bias ADU", "noise ADU"), rows, (0.68, 0.05, 0.285, 0.74))
    return figure


def _subtitle(found: Findings) -> str:
    words = f"{found.sources} sources, {found.particles} cosmic rays"
    sky, unit, psf = found.sky, found.detector.unit, found.psf
    if sky is not None:
        words = f"sky {sky.level:.0f} ± {sky.noise:.1f} {unit} · {words}"
    if psf is not None:
        words += f" · e1 {psf.e1:+.3f} · e2 {psf.e2:+.3f}"
    return words


def _row(one: Amplifier) -> tuple[str, str, str]:
    cells = (f"{one.overscan.median:.0f}", f"{one.overscan.noise:.1f}")
    median, noise = (cell if cell != "nan" else "unknown" for cell in cells)
    return one.name, median, noise
