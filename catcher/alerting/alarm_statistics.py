"""The alarm statistics of ISA-18.2 and EEMUA 191, computed from the episodes of alerts.

Each is defined in ISA-18.2-2016, clause 16 (monitoring and assessment): alarms per ten minutes,
time in flood (more than 10 in 10 minutes until fewer than 5), the ten most frequent, chattering (3
or more cycles in a minute), stale (open longer than 24 hours), and the time to acknowledge. Every
alert counts, whether anybody was notified of it or not, except those of shadow rules.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

from catcher.alerting.flood import FloodDetector
from catcher.alerting.limits import FloodLimit
from catcher.alerting.router import SHADOW_REASON
from catcher.model.alert import Alert, Severity
from catcher.model.time import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Instant,
    Span,
    format_duration,
    format_instant,
    humanize_instant,
)

BUCKET_SPAN: Span = 10 * MINUTE
STALE_AFTER: Span = DAY
MIN_CHATTER_CYCLES = 3
MAX_OFFENDERS = 10


@dataclass(frozen=True, slots=True)
class AlarmBreakdown:
    """The statistics of one night, or of one rule."""

    name: str
    alerts: int
    share: float
    worst_severity: Severity
    peak_in_10m: int
    flood_duration: Span
    chattering: int
    stale: int
    median_acknowledge: Span | None
    median_open: Span | None


@dataclass(frozen=True, slots=True)
class AlarmStatistics:
    """The alarm load on the operators during an interval.

    `buckets` are the new alerts in each ten minutes from `start` on. `offenders` are the alerts
    that opened most often, with their counts; `chattering` those that opened three times or more in
    a minute, with their peak count in one; `floods` the start and end of each flood. Medians are
    None where there are no samples.
    """

    start: Instant
    end: Instant
    alerts: int = 0
    buckets: tuple[int, ...] = ()
    severities: dict[str, int] = field(default_factory=dict)
    floods: tuple[tuple[Instant, Instant], ...] = ()
    offenders: tuple[tuple[str, int], ...] = ()
    chattering: tuple[tuple[str, int], ...] = ()
    stale: tuple[str, ...] = ()
    open_at_end: int = 0
    acknowledged: int = 0
    median_acknowledge: Span | None = None
    nights: tuple[AlarmBreakdown, ...] = ()
    rules: tuple[AlarmBreakdown, ...] = ()

    @property
    def rate_per_10m(self) -> float:
        """The average number of new alerts in ten minutes."""
        return self.alerts * BUCKET_SPAN / max(1, self.end - self.start)

    @property
    def peak_in_10m(self) -> int:
        """The largest of the buckets."""
        return max(self.buckets, default=0)

    @property
    def flood_duration(self) -> Span:
        """The total duration of all floods."""
        return sum(end - start for start, end in self.floods)

    @property
    def offenders_share(self) -> float:
        """The share of all alerts that the ten most frequent make up, 0 to 1."""
        return sum(count for _, count in self.offenders) / self.alerts if self.alerts else 0.0


def compute_statistics(
    episodes: Iterable[Alert], start: Instant, end: Instant, longitude: float | None = None,
    limit: FloodLimit | None = None,
) -> AlarmStatistics:  # fmt: skip
    """Computes the statistics of the episodes that overlap the span from `start` to `end`.

    `longitude` determines where a night ends.
    """
    limit = limit or FloodLimit()
    relevant = [
        alert for alert in episodes if alert.held_back != SHADOW_REASON and alert.opened < end
    ]
    opened = sorted(
        (alert for alert in relevant if start <= alert.opened), key=lambda alert: alert.opened
    )
    total = _compute_breakdown("all", opened, relevant, start, end, len(opened), limit)
    by_rule: dict[str, list[Alert]] = defaultdict(list)
    by_night: dict[str, list[Alert]] = defaultdict(list)
    for alert in opened:
        by_rule[alert.rule].append(alert)
        by_night[instant_to_night_date(alert.opened, longitude)].append(alert)
    chattering = {
        name: peak
        for name, peak in _count_peaks_per_minute(opened).items()
        if peak >= MIN_CHATTER_CYCLES
    }
    offenders = Counter(alert.name for alert in opened).most_common(MAX_OFFENDERS)
    acknowledged = [alert for alert in opened if alert.taken is not None]
    return AlarmStatistics(
        start,
        end,
        len(opened),
        _count_alerts_per_bucket(opened, start, end),
        dict(Counter(str(alert.max_severity) for alert in opened)),
        tuple(iter_flood_intervals([alert.opened for alert in opened], end, limit)),
        tuple(offenders),
        tuple(sorted(chattering.items(), key=lambda item: -item[1])),
        tuple(sorted({alert.name for alert in relevant if _is_stale(alert, end)})),
        sum(_is_open_at(alert, end) for alert in relevant),
        len(acknowledged),
        total.median_acknowledge,
        tuple(
            _compute_breakdown(name, group, group, start, end, len(opened), limit)
            for name, group in sorted(by_night.items())
        ),
        tuple(
            _compute_breakdown(
                name,
                group,
                [alert for alert in relevant if alert.rule == name],
                start,
                end,
                len(opened),
                limit,
            )
            for name, group in sorted(by_rule.items(), key=lambda item: -len(item[1]))
        ),
    )


def iter_flood_intervals(
    opened: Sequence[Instant], end: Instant, limit: FloodLimit
) -> Iterable[tuple[Instant, Instant]]:
    """Yields the start and end of each flood; one still active at `end` ends there."""
    detector, since = FloodDetector(limit), 0
    for time in opened:
        ends_at = detector.predict_end_time()
        if ends_at is not None and ends_at <= time:
            detector.detect_begin_or_end(ends_at)
            yield since, ends_at
        if detector.record_alert(time) == "began":
            since = time
    ends_at = detector.predict_end_time()
    if ends_at is not None:
        yield since, min(max(ends_at, since), end)


def instant_to_night_date(instant: Instant, longitude: float | None = None) -> str:
    """Returns the date on which a night began: nights are divided at solar noon.

    Without a longitude they are divided at 12:00 UTC, as Rubin's days of observation are.
    """
    offset = 12 * HOUR if longitude is None else 12 * HOUR - round(longitude / 15 * HOUR)
    return datetime.fromtimestamp(max(0, instant - offset) // 10**9, UTC).strftime("%Y-%m-%d")


def _compute_breakdown(
    name: str, opened: Sequence[Alert], relevant: Sequence[Alert], start: Instant, end: Instant,
    total: int, limit: FloodLimit,
) -> AlarmBreakdown:  # fmt: skip
    acknowledge_times = [
        alert.taken - alert.appeared for alert in opened if alert.taken and alert.appeared
    ]
    open_times = [alert.resolved - alert.opened for alert in opened if alert.resolved is not None]
    opened_times = [alert.opened for alert in opened]
    return AlarmBreakdown(
        name=name,
        alerts=len(opened),
        share=len(opened) / total if total else 0.0,
        worst_severity=max((alert.max_severity for alert in opened), default=Severity.NONE),
        peak_in_10m=_count_peak_in_window(opened_times, BUCKET_SPAN),
        flood_duration=sum(
            flood_end - flood_start
            for flood_start, flood_end in iter_flood_intervals(opened_times, end, limit)
        ),
        chattering=sum(
            peak >= MIN_CHATTER_CYCLES for peak in _count_peaks_per_minute(opened).values()
        ),
        stale=sum(_is_stale(alert, end) for alert in relevant),
        median_acknowledge=round(median(acknowledge_times)) if acknowledge_times else None,
        median_open=round(median(open_times)) if open_times else None,
    )


def _count_alerts_per_bucket(
    opened: Sequence[Alert], start: Instant, end: Instant
) -> tuple[int, ...]:
    counts = Counter((alert.opened - start) // BUCKET_SPAN for alert in opened)
    return tuple(counts[index] for index in range(-(-(end - start) // BUCKET_SPAN)))


def _count_peaks_per_minute(opened: Sequence[Alert]) -> dict[str, int]:
    """Returns the peak number of openings of each alert within a minute."""
    times: dict[str, list[Instant]] = defaultdict(list)
    for alert in opened:
        times[alert.name].append(alert.opened)
    return {name: _count_peak_in_window(instants, MINUTE) for name, instants in times.items()}


def _count_peak_in_window(times: Sequence[Instant], span: Span) -> int:
    peak = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - span:
            first += 1
        peak = max(peak, last - first + 1)
    return peak


def _is_open_at(alert: Alert, end: Instant) -> bool:
    return alert.state != "pending" and (alert.resolved is None or alert.resolved >= end)


def _is_stale(alert: Alert, end: Instant) -> bool:
    last = end if _is_open_at(alert, end) else alert.resolved or end
    return alert.state != "pending" and last - alert.opened > STALE_AFTER


# The statistics as JSON and as text.


Row = dict[str, Any]
_BAR_LEVELS = " ▁▂▃▄▅▆▇█"
_CHART_WIDTH = 72


def statistics_to_json(statistics: AlarmStatistics) -> Row:
    """Converts the statistics to JSON: spans in seconds, times as ISO 8601."""
    return {
        "start": format_instant(statistics.start),
        "end": format_instant(statistics.end),
        "alerts": statistics.alerts,
        "alerts_per_10m": round(statistics.rate_per_10m, 3),
        "most_in_10m": statistics.peak_in_10m,
        "severities": dict(statistics.severities),
        "floods": [
            {"start": format_instant(start), "end": format_instant(end)}
            for start, end in statistics.floods
        ],
        "in_flood_s": _span_to_seconds(statistics.flood_duration),
        "top": [{"alert": name, "count": count} for name, count in statistics.offenders],
        "top_share": round(statistics.offenders_share, 3),
        "chattering": [{"alert": name, "in_1m": peak} for name, peak in statistics.chattering],
        "stale": list(statistics.stale),
        "standing": statistics.open_at_end,
        "acknowledged": statistics.acknowledged,
        "median_acknowledge_s": _span_to_seconds(statistics.median_acknowledge),
        "nights": [_breakdown_to_json("night", breakdown) for breakdown in statistics.nights],
        "rules": [_breakdown_to_json("rule", breakdown) for breakdown in statistics.rules],
        "buckets": list(statistics.buckets),
        "bucket_s": _span_to_seconds(BUCKET_SPAN),
    }


def _breakdown_to_json(kind: str, breakdown: AlarmBreakdown) -> Row:
    return {
        kind: breakdown.name,
        "alerts": breakdown.alerts,
        "share": round(breakdown.share, 3),
        "worst": str(breakdown.worst_severity),
        "most_in_10m": breakdown.peak_in_10m,
        "in_flood_s": _span_to_seconds(breakdown.flood_duration),
        "chattering": breakdown.chattering,
        "stale": breakdown.stale,
        "median_acknowledge_s": _span_to_seconds(breakdown.median_acknowledge),
        "median_open_s": _span_to_seconds(breakdown.median_open),
    }


def _span_to_seconds(span: Span | None) -> float | None:
    return None if span is None else round(span / SECOND, 3)


def format_statistics_lines(statistics: AlarmStatistics) -> Iterator[str]:
    """Yields the statistics as text, beside what ISA-18.2 and EEMUA 191 call manageable."""
    span, plural = (
        max(1, statistics.end - statistics.start),
        "" if len(statistics.floods) == 1 else "s",
    )
    yield f"{humanize_instant(statistics.start)} to {humanize_instant(statistics.end)}"
    yield (
        f"new alerts       {statistics.alerts}: "
        f"{statistics.rate_per_10m:.2f} in 10 minutes on average "
        f"(manageable: 1 to 2), at most {statistics.peak_in_10m} (10)"
    )
    yield f"                 {format_sparkline(statistics.buckets)}"
    severity_counts = ", ".join(
        f"{count} {name}" for name, count in sorted(statistics.severities.items())
    )
    yield f"by severity      {severity_counts or 'none'}"
    yield (
        f"in flood         {_format_rough_span(statistics.flood_duration)}, "
        f"{statistics.flood_duration / span:.1%} of the time "
        f"(manageable: below 1 %), in {len(statistics.floods)} flood{plural}"
    )
    yield (
        f"acknowledged     {statistics.acknowledged} of {statistics.alerts}, "
        f"after {_format_rough_span(statistics.median_acknowledge)} (median)"
    )
    yield (
        f"open at the end  {statistics.open_at_end}, of "
        f"these and others stale: {len(statistics.stale)}"
    )
    yield f"top ten          {statistics.offenders_share:.0%} of all (manageable: 1 to 5 %)"
    for name, count in statistics.offenders:
        yield f"                 {count:>6}  {name}"
    for name, peak in statistics.chattering:
        yield f"chattering       {name}: {peak} times in a minute"
    for name in statistics.stale:
        yield f"stale            {name}: open for longer than a day"


def format_sparkline(buckets: tuple[int, ...]) -> str:
    """Draws the new alerts over time as a line of bars, the highest for the peak in ten minutes."""
    step = max(1, -(-len(buckets) // _CHART_WIDTH))
    heights = [max(buckets[index : index + step]) for index in range(0, len(buckets), step)]
    peak = max(heights, default=0) or 1
    return "".join(_BAR_LEVELS[-(-height * (len(_BAR_LEVELS) - 1) // peak)] for height in heights)


def _format_rough_span(span: Span | None) -> str:
    if span is None:
        return "unknown"
    unit = SECOND if span < 10 * MINUTE else MINUTE
    return format_duration(span // unit * unit) if span < 100 * DAY else "long"
