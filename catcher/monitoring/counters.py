"""Counts runs by rule and state, and opened alerts, as they happen."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from catcher.model.alert import Alert
from catcher.model.run import Run
from catcher.monitoring.backlog import Backlog, estimate_drain_time
from catcher.monitoring.sliding_statistics import EventRate, MonotonicClock

WINDOW_MINUTES = 10.0
"""The window in minutes over which alerts are counted, as EEMUA 191 does."""


class EngineCounters:
    """Records runs and alerts; all counts are since the start."""

    def __init__(
        self, monotonic: MonotonicClock = time.monotonic, open_alerts: Iterable[Alert] = ()
    ) -> None:
        self._monotonic = monotonic
        self.run_counts: Counter[tuple[str, str]] = Counter()
        self.shard_counts: Counter[tuple[str, str]] = Counter()
        self.missed_deadlines: Counter[str] = Counter()
        self._finish_rates: dict[str, EventRate] = {}
        self._arrival_rates: dict[str, EventRate] = {}
        self._episodes = {alert.id: alert.episode for alert in open_alerts}
        self._open_times: deque[float] = deque(maxlen=100_000)
        self.alerts_opened = 0

    # -- recording ----------------------------------------------------------------------------

    def record_run(self, run: Run) -> None:
        """Records a new or finished run, or a finished part."""
        if run.parent:
            self.shard_counts[run.rule, run.state] += 1
            return
        if run.state == "pending":
            self._get_rate(self._arrival_rates, run.rule).add()
            return
        if run.state == "running":
            return
        self.run_counts[run.rule, run.state] += 1
        self.missed_deadlines[run.rule] += run.missed_deadline
        if run.state not in ("dropped", "skipped", "replaced"):
            self._get_rate(self._finish_rates, run.rule).add()

    def record_alert(self, alert: Alert) -> None:
        """Records a changed alert."""
        if alert.state in ("resolved", "pending"):
            self._episodes.pop(alert.id, None)
        elif self._episodes.get(alert.id) != alert.episode:
            self._episodes[alert.id] = alert.episode
            self._open_times.append(self._monotonic())
            self.alerts_opened += 1

    # -- reading ------------------------------------------------------------------------------

    def count_recent_alerts(self) -> int:
        """Returns how many alerts opened in the last ten minutes."""
        since = self._monotonic() - WINDOW_MINUTES * 60
        while self._open_times and self._open_times[0] < since:
            self._open_times.popleft()
        return len(self._open_times)

    def add_rates(self, backlog: Backlog) -> Backlog:
        """Returns a rule's backlog with its rates, and its drain time at the current rate.

        The rates are over the last five minutes, or since the first run within them.
        """
        finish_rate = self._get_rate(self._finish_rates, backlog.rule)
        arrival_rate = self._get_rate(self._arrival_rates, backlog.rule)
        starts = [
            rate.earliest_time
            for rate in (finish_rate, arrival_rate)
            if rate.earliest_time is not None
        ]
        since = min(starts, default=None)
        finished_per_second, arrived_per_second = (
            finish_rate.compute_per_second(since),
            arrival_rate.compute_per_second(since),
        )
        return replace(
            backlog,
            per_minute=60 * finished_per_second,
            arriving=60 * arrived_per_second,
            drain=estimate_drain_time(backlog.waiting, finished_per_second),
        )

    def get_totals(self) -> Mapping[str, int]:
        """Returns the totals, for those who want few numbers."""
        return {"runs": sum(self.run_counts.values()), "alerts_opened": self.alerts_opened}

    def _get_rate(self, rates: dict[str, EventRate], rule: str) -> EventRate:
        if rule not in rates:
            rates[rule] = EventRate(self._monotonic)
        return rates[rule]
