"""Plots to be read at 3 a.m.: dark, large, one message, colours that anybody can tell apart.
The colours are those of Okabe and Ito (2008), which stay distinct for colour-blind eyes. A figure
is 1080 x 720 pixels, which a phone shows completely. No pyplot: a figure belongs to its job alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

BACKGROUND = "#0d1420"
PANEL = "#121c2b"
GRID = "#263348"
MUTED = "#93a1b5"
TEXT = "#eef3fa"
BLUE = "#56b4e9"
ORANGE = "#e69f00"
YELLOW = "#f0e442"
RED = "#ff7f5c"
"""Okabe and Ito's vermillion, lighter, for a dark background."""

Box = tuple[float, float, float, float]
"""Left, bottom, width and height in parts of the figure."""
_TICK_STEPS = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
)
_MAX_TICKS = 6
MAX_TIME = 253402300800.0
"""The end of the year 9999."""
MAX_DRAWN_PIXELS = 260
"""Pixels of an image that are drawn along its longer side: what a phone can show."""


def create_figure(title: str, subtitle: str = "") -> Figure:
    """Creates an empty figure under its title; one that is too long continues in a second line."""
    figure = Figure(figsize=(12, 8), dpi=90, facecolor=BACKGROUND)
    size = 27 if len(title) <= 48 else 24
    lines = textwrap.wrap(title, 56, max_lines=2, placeholder=" …")
    figure.text(0.045, 0.955, "\n".join(lines), color=TEXT, size=size, weight="bold", va="top")
    if subtitle:
        text = textwrap.shorten(subtitle, 100, placeholder=" …")
        figure.text(
            0.045, 0.872 if len(lines) == 1 else 0.838, text, color=MUTED, size=17, va="top"
        )
    return figure


def add_panel(
    figure: Figure,
    ylabel: str = "",
    box: Box = (0.1, 0.11, 0.865, 0.68),
) -> Axes:
    """Adds axes for lines."""
    axes = figure.add_axes(box, facecolor=PANEL)
    axes.grid(visible=True, color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=16, length=0, pad=8)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylabel(ylabel, color=MUTED, size=17, labelpad=8)
    return axes


def set_utc_axis(axes: Axes, start: float, end: float) -> None:
    """Sets the x axis to UTC from `start` to `end` (s since the epoch), at most 6 round ticks."""
    span = max(end - start, 1e-3)
    step = next(
        (step for step in _TICK_STEPS if span / step <= _MAX_TICKS),
        86400 * int(span / 86400 / 5 + 1),
    )
    # Labels are centred on their tick: none so near an edge that it would be cut.
    first, last = np.ceil((start + 0.02 * span) / step) * step, end - 0.02 * span
    axes.xaxis.set_major_locator(FixedLocator(list(np.arange(first, last, step))))
    time_format = "%H:%M" if step >= 60 else "%H:%M:%S"
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda time, _: format_utc(float(time), time_format))
    )
    axes.set_xlim(start, end)
    axes.set_xlabel(f"UTC, {format_utc(start, '%Y-%m-%d')}", color=MUTED, size=16, labelpad=6)


def format_utc(time: float, time_format: str = "%H:%M") -> str:
    """Formats a time (seconds since the epoch); empty if no calendar has it."""
    return datetime.fromtimestamp(time, UTC).strftime(time_format) if 0 <= time < MAX_TIME else ""


def draw_limit(axes: Axes, value: float, label: str, colour: str = ORANGE) -> None:
    """Draws a horizontal line at a limit, with its name on it."""
    axes.axhline(value, color=colour, linewidth=2.5, linestyle=(0, (6, 4)), zorder=3)
    axes.annotate(
        label, (0.012, value), xycoords=axes.get_yaxis_transform(), xytext=(0, 6),
        textcoords="offset points", color=colour, size=17, weight="bold", zorder=6,
    )  # fmt: skip


def add_title(axes: Axes, text: str, colour: str = TEXT) -> None:
    """Writes what the axes show into their upper left corner."""
    background = {"facecolor": PANEL, "edgecolor": "none", "alpha": 0.8, "pad": 4}
    axes.text(
        0.014, 0.95, text, color=colour, size=19, weight="bold", va="top", bbox=background,
        transform=axes.transAxes, zorder=6,
    )  # fmt: skip


def add_note(axes: Axes, x: float, text: str, colour: str = YELLOW) -> None:
    """Writes a small note at a position on the x axis, inside the axes at the bottom."""
    is_right_half = x > sum(axes.get_xlim()) / 2
    axes.annotate(
        text,
        (x, 0.03),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-4 if is_right_half else 4, 0),
        textcoords="offset points",
        color=colour,
        size=15,
        ha="right" if is_right_half else "left",
    )


def add_legend(axes: Axes, columns: int = 4) -> None:
    """Adds the legend, in large type on a quiet background."""
    legend = axes.legend(
        loc="upper left", ncols=columns, fontsize=15, frameon=True, labelcolor=TEXT
    )
    legend.get_frame().set(facecolor=PANEL, edgecolor=GRID, alpha=0.85)


def draw_message(axes: Axes, text: str) -> None:
    """Writes in the middle of empty axes why they are empty."""
    lines = "\n".join(textwrap.wrap(text, 48))
    axes.text(
        0.5, 0.5, lines, color=MUTED, size=20, ha="center", va="center", transform=axes.transAxes
    )
    axes.set(xticks=(), yticks=())


def format_list(names: Sequence[str], max_count: int = 4) -> str:
    """Returns `A, B, C and 12 more`."""
    text = ", ".join(names[:max_count])
    return f"{text} and {len(names) - max_count} more" if len(names) > max_count else text


def draw_image(figure: Figure, image: npt.NDArray[np.float32], box: Box) -> Axes:
    """Draws an image: north as stored, brightness from just under the sky to 99.7 %."""
    axes = figure.add_axes(box, facecolor=PANEL)
    axes.set(xticks=(), yticks=())
    binned = _bin_image(image, max(1, -(-max(image.shape) // MAX_DRAWN_PIXELS)))
    finite = binned[np.isfinite(binned)]
    if not finite.size:
        draw_message(axes, "no pixel has a value")
        return axes
    low, high = np.percentile(finite, (20, 99.7))
    axes.imshow(
        binned, origin="lower", cmap=colormaps["cividis"].resampled(32), vmin=low,
        vmax=max(high, low + 1e-6), interpolation="nearest",
    )  # fmt: skip
    return axes


def _bin_image(image: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    rows, columns = image.shape[0] // step * step, image.shape[1] // step * step
    blocks = image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def draw_table(
    figure: Figure,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    box: Box,
) -> None:
    """Draws a few rows of text in large type: at most 16."""
    axes = figure.add_axes(box)
    axes.set_axis_off()
    size = 18 if len(rows) <= 8 else 14
    step = min(0.085, 0.92 / max(len(rows), 1))
    for column, heading in enumerate(headings):
        x = 0.0 if column == 0 else 0.28 + 0.72 * column / max(len(headings) - 1, 1)
        side = "left" if column == 0 else "right"
        axes.text(x, 1.0, heading, color=MUTED, size=size - 3, ha=side, va="top")
        for row, row_values in enumerate(rows):
            y = 0.93 - row * step
            axes.text(x, y, row_values[column], color=TEXT, size=size, ha=side, va="top")


def draw_focal_plane(
    figure: Figure,
    cells: Mapping[tuple[int, int], tuple[str, float]],
    marked: Set[str],
    missing: Set[str],
) -> None:
    """Draws a focal plane: a square per (column, row), coloured by its value, with its name.
    Marked ones have a thick frame; missing ones and those without a value are hatched.
    """
    axes = figure.add_axes((0.045, 0.04, 0.83, 0.745))
    axes.set_axis_off()
    axes.set_aspect("equal")
    column_count = max((column for column, _ in cells), default=0) + 1
    row_count = max((row for _, row in cells), default=0) + 1
    axes.set(xlim=(-0.05, column_count + 0.05), ylim=(-0.05, row_count + 0.05))
    values = [value for _, value in cells.values() if np.isfinite(value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    # A spread under a tenth of the value is insignificant: it must not fill the whole scale.
    span = max(high - low, 0.1 * abs(high), 1e-9)
    if values:
        _draw_colour_scale(figure, (low + high - span) / 2, (low + high + span) / 2)
    for (column, row), (name, value) in cells.items():
        fraction = (value - (low + high - span) / 2) / span
        colour = colormaps["cividis"](fraction) if np.isfinite(value) else PANEL
        hatch = "" if np.isfinite(value) else "//"
        edge = RED if name in marked | missing else BACKGROUND
        axes.add_patch(Rectangle(
            (column + 0.03, row + 0.03), 0.94, 0.94, facecolor=colour, edgecolor=edge,
            hatch=hatch, linewidth=5 if name in marked else 1.5, zorder=2,
        ))  # fmt: skip
        if max(column_count, row_count) <= 6:
            label = "missing" if name in missing else f"{value:.2f}" if np.isfinite(value) else "?"
            _draw_cell_label(
                axes, (column, row), name, label, is_light=np.isfinite(value) and fraction > 0.55
            )


def draw_mosaic(
    figure: Figure,
    images: Mapping[str, npt.NDArray[np.float64]],
    positions: Mapping[str, tuple[int, int]],
) -> None:
    """Draws thumbnails at their detectors' positions, all with the same brightness scale.
    Detectors without one are hatched; those of a small camera have their names.
    """
    axes = figure.add_axes((0.045, 0.04, 0.83, 0.745))
    axes.set_axis_off()
    axes.set_aspect("equal")
    column_count = max((column for column, _ in positions.values()), default=0) + 1
    row_count = max((row for _, row in positions.values()), default=0) + 1
    axes.set(xlim=(-0.05, column_count + 0.05), ylim=(-0.05, row_count + 0.05))
    values = np.concatenate([image[np.isfinite(image)] for image in images.values()])
    low, high = np.percentile(values, (1, 98)) if values.size else (0.0, 1.0)
    # A sky that is even to a hundredth is shown as even.
    low, high = float(low), float(max(high, low + 0.02 * abs(low), low + 1e-6))
    _draw_colour_scale(figure, low, high)
    edge = 0.03
    for name, (column, row) in positions.items():
        box = (column + edge, column + 1 - edge, row + edge, row + 1 - edge)
        if name in images:
            axes.imshow(
                images[name], origin="lower", extent=box, cmap="cividis", vmin=low, vmax=high,
                interpolation="nearest", zorder=2,
            )  # fmt: skip
        else:
            axes.add_patch(Rectangle(
                (box[0], box[2]), box[1] - box[0], box[3] - box[2], facecolor=PANEL,
                edgecolor=RED, hatch="//", linewidth=1.5, zorder=2,
            ))  # fmt: skip
        if max(column_count, row_count) <= 6:
            background = {"facecolor": BACKGROUND, "edgecolor": "none", "alpha": 0.6, "pad": 2}
            axes.text(
                column + 0.06, row + 0.08, name, color=TEXT, size=13, zorder=4, bbox=background
            )
    axes.set(xlim=(-0.05, column_count + 0.05), ylim=(-0.05, row_count + 0.05))


def _draw_colour_scale(figure: Figure, low: float, high: float) -> None:
    axes = figure.add_axes((0.9, 0.1, 0.025, 0.6))
    ramp = np.linspace(0, 1, 64)[:, None]
    axes.imshow(ramp, origin="lower", aspect="auto", cmap=colormaps["cividis"])
    axes.set_axis_off()
    for y, value in ((1.03, high), (-0.09, low)):
        label = f"{value:.3g}"
        axes.text(0.5, y, label, color=TEXT, size=17, ha="center", transform=axes.transAxes)


def _draw_cell_label(
    axes: Axes, cell: tuple[int, int], name: str, text: str, is_light: bool
) -> None:
    colour = BACKGROUND if is_light else TEXT
    x, y = cell[0] + 0.5, cell[1] + 0.5
    axes.text(x, y + 0.06, text, color=colour, size=24, weight="bold", ha="center", zorder=4)
    axes.text(x, y - 0.26, name, color=colour, size=14, ha="center", zorder=4)
