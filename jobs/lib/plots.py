"""Plots to be read at 3 a.m.: dark, large, one message in words, colours anybody can tell apart.

The colours are those of Okabe and Ito (2008), which stay apart for colour-blind eyes. A figure
is 1080 x 720 pixels, which a phone shows whole. No pyplot: a figure belongs to its job alone.
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

NIGHT = "#0d1420"
PANEL = "#121c2b"
GRID = "#263348"
DIM = "#93a1b5"
TEXT = "#eef3fa"
BLUE = "#56b4e9"
ORANGE = "#e69f00"
YELLOW = "#f0e442"
RED = "#ff7f5c"
"""Okabe and Ito's vermillion, lighter, as it stands on a dark ground."""

Box = tuple[float, float, float, float]
"""Left, bottom, width and height in parts of the figure."""
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_TICKS = 6
LAST = 253402300800.0
"""The end of the year 9999."""
FINEST = 260
"""Pixels of an image that are drawn along its longer side: what a phone can show."""


def figure(title: str, subtitle: str = "") -> Figure:
    """An empty figure under its message; titles that are too long go on in a second line."""
    made = Figure(figsize=(12, 8), dpi=90, facecolor=NIGHT)
    size = 27 if len(title) <= 48 else 24
    lines = textwrap.wrap(title, 56, max_lines=2, placeholder=" …")
    made.text(0.045, 0.955, "\n".join(lines), color=TEXT, size=size, weight="bold", va="top")
    if subtitle:
        words = textwrap.shorten(subtitle, 100, placeholder=" …")
        made.text(0.045, 0.872 if len(lines) == 1 else 0.838, words, color=DIM, size=17, va="top")
    return made


def panel(
    on: Figure,
    ylabel: str = "",
    box: Box = (0.1, 0.11, 0.865, 0.68),
) -> Axes:
    """Axes for lines."""
    axes = on.add_axes(box, facecolor=PANEL)
    axes.grid(visible=True, color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(colors=DIM, labelsize=16, length=0, pad=8)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylabel(ylabel, color=DIM, size=17, labelpad=8)
    return axes


def utc_axis(axes: Axes, start: float, end: float) -> None:
    """The x axis in UTC from `start` to `end` (seconds since the epoch), at most 6 round ticks."""
    span = max(end - start, 1e-3)
    step = next((one for one in _STEPS if span / one <= _TICKS), 86400 * int(span / 86400 / 5 + 1))
    # Labels stand in the middle of their tick: none so near an edge that it would be cut.
    first, last = np.ceil((start + 0.02 * span) / step) * step, end - 0.02 * span
    axes.xaxis.set_major_locator(FixedLocator(list(np.arange(first, last, step))))
    form = "%H:%M" if step >= 60 else "%H:%M:%S"
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: utc(float(at), form)))
    axes.set_xlim(start, end)
    axes.set_xlabel(f"UTC, {utc(start, '%Y-%m-%d')}", color=DIM, size=16, labelpad=6)


def utc(at: float, form: str = "%H:%M") -> str:
    """A time (seconds since the epoch) in words; empty where no calendar has it."""
    return datetime.fromtimestamp(at, UTC).strftime(form) if 0 <= at < LAST else ""


def level(axes: Axes, value: float, words: str, colour: str = ORANGE) -> None:
    """A line across at a limit, with its name written on it."""
    axes.axhline(value, color=colour, linewidth=2.5, linestyle=(0, (6, 4)), zorder=3)
    axes.annotate(
        words, (0.012, value), xycoords=axes.get_yaxis_transform(), xytext=(0, 6),
        textcoords="offset points", color=colour, size=17, weight="bold", zorder=6,
    )  # fmt: skip


def tag(axes: Axes, words: str, colour: str = TEXT) -> None:
    """What the axes show, written in their upper left corner."""
    ground = {"facecolor": PANEL, "edgecolor": "none", "alpha": 0.8, "pad": 4}
    axes.text(
        0.014, 0.95, words, color=colour, size=19, weight="bold", va="top", bbox=ground,
        transform=axes.transAxes, zorder=6,
    )  # fmt: skip


def beside(axes: Axes, at: float, words: str, colour: str = YELLOW) -> None:
    """Small words at a place on the x axis, inside the axes at the bottom."""
    right = at > sum(axes.get_xlim()) / 2
    axes.annotate(
        words, (at, 0.03), xycoords=axes.get_xaxis_transform(), xytext=(-4 if right else 4, 0),
        textcoords="offset points", color=colour, size=15, ha="right" if right else "left",
    )  # fmt: skip


def names(axes: Axes, columns: int = 4) -> None:
    """The legend, in large type on a quiet ground."""
    legend = axes.legend(
        loc="upper left", ncols=columns, fontsize=15, frameon=True, labelcolor=TEXT
    )
    legend.get_frame().set(facecolor=PANEL, edgecolor=GRID, alpha=0.85)


def blank(axes: Axes, words: str) -> None:
    """Says in the middle of empty axes why they are empty."""
    lines = "\n".join(textwrap.wrap(words, 48))
    axes.text(
        0.5, 0.5, lines, color=DIM, size=20, ha="center", va="center", transform=axes.transAxes
    )
    axes.set(xticks=(), yticks=())


def listed(names: Sequence[str], most: int = 4) -> str:
    """`A, B, C and 12 more`."""
    head = ", ".join(names[:most])
    return f"{head} and {len(names) - most} more" if len(names) > most else head


def picture(on: Figure, image: npt.NDArray[np.float32], box: Box) -> Axes:
    """An image as one would look at it: north as stored, from just under the sky to 99.7 %."""
    axes = on.add_axes(box, facecolor=PANEL)
    axes.set(xticks=(), yticks=())
    shown = _binned(image, max(1, -(-max(image.shape) // FINEST)))
    finite = shown[np.isfinite(shown)]
    if not finite.size:
        blank(axes, "no pixel has a value")
        return axes
    low, high = np.percentile(finite, (20, 99.7))
    axes.imshow(
        shown, origin="lower", cmap=colormaps["cividis"].resampled(32), vmin=low,
        vmax=max(high, low + 1e-6), interpolation="nearest",
    )  # fmt: skip
    return axes


def _binned(image: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    rows, columns = image.shape[0] // step * step, image.shape[1] // step * step
    blocks = image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def table(
    on: Figure,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    box: Box,
) -> None:
    """A few rows of text in large type: at most 16."""
    axes = on.add_axes(box)
    axes.set_axis_off()
    size = 18 if len(rows) <= 8 else 14
    step = min(0.085, 0.92 / max(len(rows), 1))
    for column, words in enumerate(head):
        at = 0.0 if column == 0 else 0.28 + 0.72 * column / max(len(head) - 1, 1)
        side = "left" if column == 0 else "right"
        axes.text(at, 1.0, words, color=DIM, size=size - 3, ha=side, va="top")
        for row, cells in enumerate(rows):
            y = 0.93 - row * step
            axes.text(at, y, cells[column], color=TEXT, size=size, ha=side, va="top")


def tiles(
    on: Figure,
    cells: Mapping[tuple[int, int], tuple[str, float]],
    marked: Set[str],
    missing: Set[str],
) -> None:
    """A focal plane: a square for each (column, row), coloured by its value, with its name.

    The marked ones have a thick frame, missing ones and those without a value are hatched.
    """
    axes = on.add_axes((0.045, 0.04, 0.83, 0.745))
    axes.set_axis_off()
    axes.set_aspect("equal")
    across = max((column for column, _ in cells), default=0) + 1
    up = max((row for _, row in cells), default=0) + 1
    axes.set(xlim=(-0.05, across + 0.05), ylim=(-0.05, up + 0.05))
    known = [value for _, value in cells.values() if np.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    # A spread under a tenth of the value is no news: it must not fill the whole scale.
    widened = max(high - low, 0.1 * abs(high), 1e-9)
    if known:
        _scale(on, (low + high - widened) / 2, (low + high + widened) / 2)
    for (column, row), (name, value) in cells.items():
        part = (value - (low + high - widened) / 2) / widened
        ground = colormaps["cividis"](part) if np.isfinite(value) else PANEL
        hatch = "" if np.isfinite(value) else "//"
        edge = RED if name in marked | missing else NIGHT
        axes.add_patch(Rectangle(
            (column + 0.03, row + 0.03), 0.94, 0.94, facecolor=ground, edgecolor=edge,
            hatch=hatch, linewidth=5 if name in marked else 1.5, zorder=2,
        ))  # fmt: skip
        if max(across, up) <= 6:
            words = "missing" if name in missing else f"{value:.2f}" if np.isfinite(value) else "?"
            _label(axes, (column, row), name, words, dark=np.isfinite(value) and part > 0.55)


def mosaic(
    on: Figure,
    images: Mapping[str, npt.NDArray[np.float64]],
    laid: Mapping[str, tuple[int, int]],
) -> None:
    """Small images where their detectors lie, from dark to bright over all of them alike.

    Detectors without one are hatched; those of a small camera have their names.
    """
    axes = on.add_axes((0.045, 0.04, 0.83, 0.745))
    axes.set_axis_off()
    axes.set_aspect("equal")
    across = max((column for column, _ in laid.values()), default=0) + 1
    up = max((row for _, row in laid.values()), default=0) + 1
    axes.set(xlim=(-0.05, across + 0.05), ylim=(-0.05, up + 0.05))
    values = np.concatenate([image[np.isfinite(image)] for image in images.values()])
    low, high = np.percentile(values, (1, 98)) if values.size else (0.0, 1.0)
    # A sky that is even to a hundredth is shown as even.
    low, high = float(low), float(max(high, low + 0.02 * abs(low), low + 1e-6))
    _scale(on, low, high)
    edge = 0.03
    for name, (column, row) in laid.items():
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
        if max(across, up) <= 6:
            ground = {"facecolor": NIGHT, "edgecolor": "none", "alpha": 0.6, "pad": 2}
            axes.text(column + 0.06, row + 0.08, name, color=TEXT, size=13, zorder=4, bbox=ground)
    axes.set(xlim=(-0.05, across + 0.05), ylim=(-0.05, up + 0.05))


def _scale(on: Figure, low: float, high: float) -> None:
    axes = on.add_axes((0.9, 0.1, 0.025, 0.6))
    ramp = np.linspace(0, 1, 64)[:, None]
    axes.imshow(ramp, origin="lower", aspect="auto", cmap=colormaps["cividis"])
    axes.set_axis_off()
    for at, value in ((1.03, high), (-0.09, low)):
        words = f"{value:.3g}"
        axes.text(0.5, at, words, color=TEXT, size=17, ha="center", transform=axes.transAxes)


def _label(axes: Axes, at: tuple[int, int], name: str, words: str, dark: bool) -> None:
    colour = NIGHT if dark else TEXT
    x, y = at[0] + 0.5, at[1] + 0.5
    axes.text(x, y + 0.06, words, color=colour, size=24, weight="bold", ha="center", zorder=4)
    axes.text(x, y - 0.26, name, color=colour, size=14, ha="center", zorder=4)
