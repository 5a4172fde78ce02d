"""Counts what happens as it is told: runs by rule and state, and alerts that open."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from catcher.model.alert import Alert
from catcher.model.run import Run
from catcher.vitals.backlog import Backlog, drain_time
from catcher.vitals.recent import Rate, Seconds

WINDOW = 10.0
"""Minutes over which alerts are counted, as EEMUA 191 does."""


class Census:
    """Hears of runs and alerts; every count is since the start."""

    def __init__(self, seconds: Seconds = time.monotonic, known: Iterable[Alert] = ()) -> None:
        self._seconds = seconds
        self.runs: Counter[tuple[str, str]] = Counter()
        self.parts: Counter[tuple[str, str]] = Counter()
        self.missed_deadlines: Counter[str] = Counter()
        self._finished: dict[str, Rate] = {}
        self._arrived: dict[str, Rate] = {}
        self._episodes = {alert.id: alert.episode for alert in known}
        self._opened: deque[float] = deque(maxlen=100_000)
        self.opened = 0

    # -- hearing ------------------------------------------------------------------------------

    def run(self, run: Run) -> None:
        """A run that is new or over, or a part of one that is over."""
        if run.parent:
            self.parts[run.rule, run.state] += 1
            return
        if run.state == "pending":
            self._rate(self._arrived, run.rule).add()
            return
        if run.state == "running":
            return
        self.runs[run.rule, run.state] += 1
        self.missed_deadlines[run.rule] += run.missed_deadline
        if run.state not in ("dropped", "skipped", "replaced"):
            self._rate(self._finished, run.rule).add()

    def alert(self, alert: Alert) -> None:
        """An alert that has changed."""
        if alert.state in ("resolved", "pending"):
            self._episodes.pop(alert.id, None)
        elif self._episodes.get(alert.id) != alert.episode:
            self._episodes[alert.id] = alert.episode
            self._opened.append(self._seconds())
            self.opened += 1

    # -- telling ------------------------------------------------------------------------------

    def opened_lately(self) -> int:
        """How many alerts opened in the last ten minutes."""
        since = self._seconds() - WINDOW * 60
        while self._opened and self._opened[0] < since:
            self._opened.popleft()
        return len(self._opened)

    def weighed(self, backlog: Backlog) -> Backlog:
        """A rule's backlog with its rates, and how long it takes at the present one.

        The rates are over the last five minutes, or since the first of what came in them.
        """
        finished = self._rate(self._finished, backlog.rule)
        arrived = self._rate(self._arrived, backlog.rule)
        known = [one.earliest for one in (finished, arrived) if one.earliest is not None]
        since = min(known, default=None)
        done, arriving = finished.per_second(since), arrived.per_second(since)
        return replace(
            backlog,
            per_minute=60 * done,
            arriving=60 * arriving,
            drain=drain_time(backlog.waiting, done),
        )

    def figures(self) -> Mapping[str, int]:
        """Totals for those who want few numbers."""
        return {"runs": sum(self.runs.values()), "alerts_opened": self.opened}

    def _rate(self, rates: dict[str, Rate], rule: str) -> Rate:
        if rule not in rates:
            rates[rule] = Rate(self._seconds)
        return rates[rule]
