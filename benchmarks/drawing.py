"""Draws `comparison.svg` from the last results: rates on a logarithmic axis, ratios beside them.

python -m benchmarks drawing
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import reporting
from benchmarks.reporting import Row
from benchmarks.workloads import ALL

CHART_FILE = Path(__file__).parent / "comparison.svg"
CATCHER_COLOUR, OTHER_COLOUR, BOUND_COLOUR = "#1f6f8b", "#c9c9c9", "#e3b34c"
BAR_HEIGHT = 0.19
"""Inches a bar."""
DRAWN_WORKLOADS = ("thresholds", "many", "windows", "by", "holds")


def main(arguments: Sequence[str] = ()) -> None:
    """Writes the picture; of a benchmark that has not run nothing is shown."""
    panels = [
        (ALL[name].description, rows)
        for name in DRAWN_WORKLOADS
        if (rows := [row for row in reporting.read_results("rules") if row["workload"] == name])
    ]
    broker_rows = reporting.read_results("broker")
    if broker_rows:
        panels.append(("from mosquitto, JSON messages", broker_rows))
    if not panels:
        raise SystemExit("nothing to draw: run `python -m benchmarks rules` first")
    draw_chart(panels, CHART_FILE)
    print(f"\ndrawn: {CHART_FILE}")


def draw_chart(panels: Sequence[tuple[str, Sequence[Row]]], path: Path) -> None:
    """One panel a workload, one bar a contestant, beside it how many times as fast Catcher is."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    style = {"font.size": 7.5, "svg.fonttype": "none", "svg.hashsalt": "catcher"}
    counts = [sum(row["rate"] > 0 for row in rows) for _, rows in panels]
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            len(panels),
            1,
            sharex=True,
            figsize=(7.2, BAR_HEIGHT * (sum(counts) + 2.2 * len(panels))),
            gridspec_kw={"height_ratios": [count + 0.6 for count in counts]},
            squeeze=False,
        )
        for axis, (title, rows) in zip(axes[:, 0], panels, strict=True):
            _draw_panel(axis, title, [row for row in rows if row["rate"] > 0])
        axes[-1, 0].set_xlabel("events a second (logarithmic)")
        figure.tight_layout(h_pad=0.6)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw_panel(axis: Any, title: str, rows: Sequence[Row]) -> None:
    names = [row["contestant"] for row in rows]
    rates = [row["rate"] for row in rows]
    axis.barh(names, rates, color=[_choose_colour(name) for name in names], height=0.75)
    axis.set_xscale("log")
    axis.set_xlim(10, 5e7)
    axis.minorticks_off()
    axis.invert_yaxis()
    axis.set_title(title, loc="left", fontsize=8, fontweight="bold")
    axis.tick_params(length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    for index, row in enumerate(rows):
        axis.text(row["rate"] * 1.15, index, _format_label(row), va="center")


def _format_label(row: Row) -> str:
    rate = f"{row['rate']:,.0f}"
    ratio = row.get("ratio", 0.0)
    if row["contestant"] == "catcher" or not ratio:
        return rate
    if "workload" not in row:
        return f"{rate}   {ratio:.2f} × the bare loop"
    ratio_text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
    return f"{rate}   catcher: {ratio_text} ×"


def _choose_colour(name: str) -> str:
    if name.startswith("catcher"):
        return CATCHER_COLOUR
    return BOUND_COLOUR if name == "a function by hand" else OTHER_COLOUR
