"""The figures of ISA-18.2 and EEMUA 191, computed from the episodes of alerts.

What each means is in ISA-18.2-2016, clause 16 (monitoring and assessment): alarms per ten
minutes, time in flood (more than 10 in 10 minutes until fewer than 5), the ten most frequent,
chattering (3 or more cycles in a minute), stale (standing longer than 24 hours), and the time
to acknowledge. Everything is counted, whether anybody was told of it or not; rules in the
shadow are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median

from catcher.alerting.floods import FloodWatch
from catcher.alerting.noise import Flood
from catcher.alerting.ways import SHADOW
from catcher.model.alert import Alert, Severity
from catcher.model.time import DAY, HOUR, MINUTE, Instant, Span

BUCKET: Span = 10 * MINUTE
STALE: Span = DAY
CYCLES = 3
MOST_OFFENDERS = 10


@dataclass(frozen=True, slots=True)
class Line:
    """The figures of one night, or of one rule."""

    name: str
    alerts: int
    share: float
    worst: Severity
    most_in_10m: int
    in_flood: Span
    chattering: int
    stale: int
    to_acknowledge: Span | None
    open_for: Span | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a stretch of time was like for whoever was on shift.

    `buckets` are the new alerts in each ten minutes from `start` on. `offenders` are the alerts
    that opened most often, `chattering` those that did so three times in a minute or more, with
    their most in one; `floods` their spans. Medians are None where there is nothing to take one
    of.
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
    standing: int = 0
    acknowledged: int = 0
    to_acknowledge: Span | None = None
    nights: tuple[Line, ...] = ()
    rules: tuple[Line, ...] = ()

    @property
    def per_10m(self) -> float:
        """New alerts in ten minutes, on average."""
        return self.alerts * BUCKET / max(1, self.end - self.start)

    @property
    def most_in_10m(self) -> int:
        """The most in one of the stretches of ten minutes."""
        return max(self.buckets, default=0)

    @property
    def in_flood(self) -> Span:
        """How long there was a flood, altogether."""
        return sum(end - start for start, end in self.floods)

    @property
    def offenders_share(self) -> float:
        """The part of all that the ten most frequent make."""
        return sum(count for _, count in self.offenders) / self.alerts if self.alerts else 0.0


def figures(
    episodes: Iterable[Alert], start: Instant, end: Instant, longitude: float | None = None,
    law: Flood | None = None,
) -> Figures:  # fmt: skip
    """The figures of the episodes that reach into a span. `longitude` says when a night ends."""
    law = law or Flood()
    told = [one for one in episodes if one.held_back != SHADOW and one.opened < end]
    opened = sorted((one for one in told if start <= one.opened), key=lambda one: one.opened)
    whole = _line("all", opened, told, start, end, len(opened), law)
    by_rule: dict[str, list[Alert]] = defaultdict(list)
    by_night: dict[str, list[Alert]] = defaultdict(list)
    for one in opened:
        by_rule[one.rule].append(one)
        by_night[night_of(one.opened, longitude)].append(one)
    chattering = {name: most for name, most in _bursts(opened).items() if most >= CYCLES}
    offenders = Counter(one.name for one in opened).most_common(MOST_OFFENDERS)
    acknowledged = [one for one in opened if one.taken is not None]
    return Figures(
        start, end, len(opened), _buckets(opened, start, end),
        dict(Counter(str(one.max_severity) for one in opened)),
        tuple(floods([one.opened for one in opened], end, law)),
        tuple(offenders),
        tuple(sorted(chattering.items(), key=lambda item: -item[1])),
        tuple(sorted({one.name for one in told if _is_stale(one, end)})),
        sum(_stands(one, end) for one in told),
        len(acknowledged), whole.to_acknowledge,
        tuple(_line(name, some, some, start, end, len(opened), law)
              for name, some in sorted(by_night.items())),
        tuple(_line(name, some, [one for one in told if one.rule == name], start, end,
                    len(opened), law)
              for name, some in sorted(by_rule.items(), key=lambda item: -len(item[1]))),
    )  # fmt: skip


def floods(
    opened: Sequence[Instant], end: Instant, law: Flood
) -> Iterable[tuple[Instant, Instant]]:
    """When there was a flood; one that goes on at the end ends with it."""
    watch, since = FloodWatch(law), 0
    for time in opened:
        due = watch.due()
        if due is not None and due <= time:
            watch.turn(due)
            yield since, due
        if watch.opened(time) == "began":
            since = time
    due = watch.due()
    if due is not None:
        yield since, min(max(due, since), end)


def night_of(instant: Instant, longitude: float | None = None) -> str:
    """The date on which a night began: nights are parted at noon by the sun.

    Without a longitude they are parted at 12:00 UTC, as Rubin's days of observation are.
    """
    offset = 12 * HOUR if longitude is None else 12 * HOUR - round(longitude / 15 * HOUR)
    return datetime.fromtimestamp(max(0, instant - offset) // 10**9, UTC).strftime("%Y-%m-%d")


def _line(
    name: str, opened: Sequence[Alert], told: Sequence[Alert], start: Instant, end: Instant,
    total: int, law: Flood,
) -> Line:  # fmt: skip
    waits = [one.taken - one.appeared for one in opened if one.taken and one.appeared]
    lasted = [one.resolved - one.opened for one in opened if one.resolved is not None]
    times = [one.opened for one in opened]
    return Line(
        name=name,
        alerts=len(opened),
        share=len(opened) / total if total else 0.0,
        worst=max((one.max_severity for one in opened), default=Severity.NONE),
        most_in_10m=_most_within(times, BUCKET),
        in_flood=sum(last - first for first, last in floods(times, end, law)),
        chattering=sum(most >= CYCLES for most in _bursts(opened).values()),
        stale=sum(_is_stale(one, end) for one in told),
        to_acknowledge=round(median(waits)) if waits else None,
        open_for=round(median(lasted)) if lasted else None,
    )


def _buckets(opened: Sequence[Alert], start: Instant, end: Instant) -> tuple[int, ...]:
    counts = Counter((one.opened - start) // BUCKET for one in opened)
    return tuple(counts[number] for number in range(-(-(end - start) // BUCKET)))


def _bursts(opened: Sequence[Alert]) -> dict[str, int]:
    """The most openings of each alert within a minute."""
    times: dict[str, list[Instant]] = defaultdict(list)
    for one in opened:
        times[one.name].append(one.opened)
    return {name: _most_within(some, MINUTE) for name, some in times.items()}


def _most_within(times: Sequence[Instant], span: Span) -> int:
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - span:
            first += 1
        most = max(most, last - first + 1)
    return most


def _stands(alert: Alert, end: Instant) -> bool:
    return alert.state != "pending" and (alert.resolved is None or alert.resolved >= end)


def _is_stale(alert: Alert, end: Instant) -> bool:
    last = end if _stands(alert, end) else alert.resolved or end
    return alert.state != "pending" and last - alert.opened > STALE
