"""The plot of one detector: its image, and its amplifiers in a table."""

from __future__ import annotations

from . import plots
from .detector import Amplifier
from .image_measurement import ImageMeasurements


def plot_preview(measurements: ImageMeasurements, title: str) -> plots.Figure:
    """Plots the detector under its message, with the overscan of each amplifier beside it."""
    image = measurements.detector
    figure = plots.create_figure(title, _format_subtitle(measurements))
    plots.draw_image(figure, image.image, (0.045, 0.05, 0.60, 0.74))
    rows = [_format_row(amplifier) for amplifier in image.amplifiers[:16]]
    plots.draw_table(figure, ("amp", "bias ADU", "noise ADU"), rows, (0.68, 0.05, 0.285, 0.74))
    return figure


def _format_subtitle(measurements: ImageMeasurements) -> str:
    text = f"{measurements.source_count} sources, {measurements.cosmic_ray_count} cosmic rays"
    sky, unit, psf = measurements.sky, measurements.detector.unit, measurements.psf
    if sky is not None:
        text = f"sky {sky.level:.0f} ± {sky.noise:.1f} {unit} · {text}"
    if psf is not None:
        text += f" · e1 {psf.e1:+.3f} · e2 {psf.e2:+.3f}"
    return text


def _format_row(amplifier: Amplifier) -> tuple[str, str, str]:
    values = (f"{amplifier.overscan.median:.0f}", f"{amplifier.overscan.noise:.1f}")
    median, noise = (value if value != "nan" else "unknown" for value in values)
    return amplifier.name, median, noise
