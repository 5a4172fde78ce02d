"""Plots the alarm statistics with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from catcher.alerting.alarm_statistics import BUCKET_SPAN, AlarmStatistics
from catcher.alerting.limits import FloodLimit
from catcher.model.errors import CatcherError
from catcher.model.time import humanize_instant

IMAGE_SUFFIXES = (".png", ".svg", ".pdf")


def draw_alarm_plot(statistics: AlarmStatistics, file: Path) -> None:
    """Draws new alerts per ten minutes with the floods, and the ten most frequent, into a file."""
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        raise CatcherError(
            f"{file.name} is no picture", f"end its name in {', '.join(IMAGE_SUFFIXES)}"
        )
    # Slow to import, and only a plot needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    time_axis, frequency_axis = figure.subplots(2, 1, height_ratios=[3, 2])
    nonzero_buckets = [index for index, count in enumerate(statistics.buckets) if count]
    time_axis.bar(
        [_instant_to_datetime(statistics.start + index * BUCKET_SPAN) for index in nonzero_buckets],
        [statistics.buckets[index] for index in nonzero_buckets],
        width=timedelta(seconds=BUCKET_SPAN / 1e9), align="edge", color="#4477aa",
        # In a plot of a week ten minutes are narrower than a pixel.
        edgecolor="#4477aa", linewidth=1.5,
    )  # fmt: skip
    time_axis.axhline(
        FloodLimit().start_above, color="#cc3311", linewidth=1, label="a flood: more than 10"
    )
    for index, (start, end) in enumerate(statistics.floods):
        time_axis.axvspan(
            _instant_to_datetime(start),
            _instant_to_datetime(end),
            color="#cc3311",
            alpha=0.15,
            zorder=0,
            label="" if index else "in flood",
        )
    time_axis.set_ylabel("new alerts in 10 minutes")
    time_axis.set_title(
        f"{humanize_instant(statistics.start)} to {humanize_instant(statistics.end)}",
        loc="left",
        fontsize=11,
    )
    # The last bar is beside the frame, not under it.
    margin = (statistics.end - statistics.start) // 100
    time_axis.set_xlim(
        _instant_to_datetime(max(0, statistics.start - margin)),
        _instant_to_datetime(statistics.end + margin),
    )
    time_axis.set_ylim(bottom=0)
    # Above the bars, which may be anywhere.
    time_axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    _draw_offenders(frequency_axis, statistics.offenders)
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise CatcherError(
            f"{file} cannot be written ({error.strerror})", "choose another place"
        ) from error


def _instant_to_datetime(instant: int) -> datetime:
    return datetime.fromtimestamp(instant / 1e9, UTC)


def _draw_offenders(axis: Any, offenders: Sequence[tuple[str, int]]) -> None:
    names = [name[:40].replace("$", r"\$") for name, _ in reversed(offenders)]
    counts = [count for _, count in reversed(offenders)]
    axis.barh(range(len(names)), counts, color="#777777")
    axis.set_yticks(range(len(names)), names)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("times opened, the ten most frequent alerts")
