"""The figures of the alerts as a picture. The only module that draws with matplotlib."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from catcher.alerting.figures import BUCKET, Figures
from catcher.alerting.noise import Flood
from catcher.model.problem import CatcherError
from catcher.model.time import told_instant

FORMS = (".png", ".svg", ".pdf")


def draw(found: Figures, file: Path) -> None:
    """New alerts in each ten minutes with the floods, and the ten most frequent, into a file."""
    if file.suffix.lower() not in FORMS:
        raise CatcherError(f"{file.name} is no picture", f"end its name in {', '.join(FORMS)}")
    # Slow to import, and only a picture needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    over_time, most_frequent = figure.subplots(2, 1, height_ratios=[3, 2])
    some = [number for number, count in enumerate(found.buckets) if count]
    over_time.bar(
        [_date(found.start + number * BUCKET) for number in some],
        [found.buckets[number] for number in some],
        width=timedelta(seconds=BUCKET / 1e9), align="edge", color="#4477aa",
        # In a picture of a week ten minutes are narrower than a pixel.
        edgecolor="#4477aa", linewidth=1.5,
    )  # fmt: skip
    over_time.axhline(Flood().above, color="#cc3311", linewidth=1, label="a flood: more than 10")
    for number, (start, end) in enumerate(found.floods):
        over_time.axvspan(
            _date(start), _date(end), color="#cc3311", alpha=0.15, zorder=0,
            label="" if number else "in flood",
        )  # fmt: skip
    over_time.set_ylabel("new alerts in 10 minutes")
    over_time.set_title(
        f"{told_instant(found.start)} to {told_instant(found.end)}", loc="left", fontsize=11
    )
    margin = (found.end - found.start) // 100  # the last bar is beside the frame, not under it
    over_time.set_xlim(_date(max(0, found.start - margin)), _date(found.end + margin))
    over_time.set_ylim(bottom=0)
    # Above the bars, which may stand anywhere.
    over_time.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    names = [name[:40].replace("$", r"\$") for name, _ in reversed(found.offenders)]
    counts = [count for _, count in reversed(found.offenders)]
    most_frequent.barh(range(len(names)), counts, color="#777777")
    most_frequent.set_yticks(range(len(names)), names)
    most_frequent.xaxis.get_major_locator().set_params(integer=True)
    most_frequent.set_xlabel("times opened, the ten most frequent alerts")
    try:
        figure.savefig(file, dpi=120)
    except OSError as trouble:
        raise CatcherError(
            f"{file} cannot be written ({trouble.strerror})", "choose another place"
        ) from trouble


def _date(instant: int) -> datetime:
    return datetime.fromtimestamp(instant / 1e9, UTC)
