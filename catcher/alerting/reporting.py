"""The figures of a stretch of time as JSON rows and in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from catcher.alerting.figures import BUCKET, Figures, Line
from catcher.model.time import (
    DAY,
    MINUTE,
    SECOND,
    Span,
    format_duration,
    format_instant,
    told_instant,
)

Row = dict[str, Any]
_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 72


def figures_row(found: Figures) -> Row:
    """All of it; spans in seconds, times as ISO 8601."""
    return {
        "start": format_instant(found.start),
        "end": format_instant(found.end),
        "alerts": found.alerts,
        "alerts_per_10m": round(found.per_10m, 3),
        "most_in_10m": found.most_in_10m,
        "severities": dict(found.severities),
        "floods": [
            {"start": format_instant(start), "end": format_instant(end)}
            for start, end in found.floods
        ],
        "in_flood_s": _seconds(found.in_flood),
        "top": [{"alert": name, "count": count} for name, count in found.offenders],
        "top_share": round(found.offenders_share, 3),
        "chattering": [{"alert": name, "in_1m": most} for name, most in found.chattering],
        "stale": list(found.stale),
        "standing": found.standing,
        "acknowledged": found.acknowledged,
        "median_acknowledge_s": _seconds(found.to_acknowledge),
        "nights": [_line_row("night", one) for one in found.nights],
        "rules": [_line_row("rule", one) for one in found.rules],
        "buckets": list(found.buckets),
        "bucket_s": _seconds(BUCKET),
    }


def _line_row(kind: str, line: Line) -> Row:
    return {
        kind: line.name,
        "alerts": line.alerts,
        "share": round(line.share, 3),
        "worst": str(line.worst),
        "most_in_10m": line.most_in_10m,
        "in_flood_s": _seconds(line.in_flood),
        "chattering": line.chattering,
        "stale": line.stale,
        "median_acknowledge_s": _seconds(line.to_acknowledge),
        "median_open_s": _seconds(line.open_for),
    }


def _seconds(span: Span | None) -> float | None:
    return None if span is None else round(span / SECOND, 3)


def in_words(found: Figures) -> Iterator[str]:
    """The figures beside what ISA-18.2 and EEMUA 191 hold to be manageable, line by line."""
    span, plural = max(1, found.end - found.start), "" if len(found.floods) == 1 else "s"
    yield f"{told_instant(found.start)} to {told_instant(found.end)}"
    yield (
        f"new alerts       {found.alerts}: {found.per_10m:.2f} in 10 minutes on average "
        f"(manageable: 1 to 2), at most {found.most_in_10m} (10)"
    )
    yield f"                 {bars(found.buckets)}"
    graded = ", ".join(f"{count} {name}" for name, count in sorted(found.severities.items()))
    yield f"by severity      {graded or 'none'}"
    yield (
        f"in flood         {_rough(found.in_flood)}, {found.in_flood / span:.1%} of the time "
        f"(manageable: below 1 %), in {len(found.floods)} flood{plural}"
    )
    yield (
        f"acknowledged     {found.acknowledged} of {found.alerts}, "
        f"after {_rough(found.to_acknowledge)} (median)"
    )
    yield f"open at the end  {found.standing}, of these and others stale: {len(found.stale)}"
    yield f"top ten          {found.offenders_share:.0%} of all (manageable: 1 to 5 %)"
    for name, count in found.offenders:
        yield f"                 {count:>6}  {name}"
    for name, most in found.chattering:
        yield f"chattering       {name}: {most} times in a minute"
    for name in found.stale:
        yield f"stale            {name}: open for longer than a day"


def bars(buckets: tuple[int, ...]) -> str:
    """New alerts over time as a line of bars, the highest the most in ten minutes."""
    step = max(1, -(-len(buckets) // _WIDTH))
    heights = [max(buckets[at : at + step]) for at in range(0, len(buckets), step)]
    most = max(heights, default=0) or 1
    return "".join(_BARS[-(-height * (len(_BARS) - 1) // most)] for height in heights)


def _rough(span: Span | None) -> str:
    if span is None:
        return "unknown"
    step = SECOND if span < 10 * MINUTE else MINUTE
    return format_duration(span // step * step) if span < 100 * DAY else "long"
