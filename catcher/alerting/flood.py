"""Detects alert floods, after ISA-18.2 and EEMUA 191."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

from catcher.alerting.limits import FloodLimit
from catcher.model.time import Instant

_MAX_TIMES = 20_000
FloodChange = Literal["", "began", "ended"]


class FloodDetector:
    """Counts new alerts; a flood lasts from one threshold to the other."""

    def __init__(self, limit: FloodLimit | None, opened_times: Iterable[Instant] = ()) -> None:
        self._limit = limit
        self._times: deque[Instant] = deque(sorted(opened_times)[-_MAX_TIMES:], maxlen=_MAX_TIMES)
        self.since: Instant | None = None

    @property
    def is_active(self) -> bool:
        """Whether there is a flood now."""
        return self.since is not None

    def replace_limit(self, limit: FloodLimit | None) -> None:
        """Replaces the limit. The first one also decides whether there is a flood already."""
        is_first, self._limit = self._limit is None, limit
        if is_first and limit is not None:
            self._replay_history()

    def _replay_history(self) -> None:
        """Replays earlier openings as if they had been counted live."""
        history, self._times = list(self._times), deque(maxlen=_MAX_TIMES)
        for time in history:
            # A flood may have ended before this opening.
            ends_at = self.predict_end_time()
            if ends_at is not None and ends_at < time:
                self.detect_begin_or_end(ends_at)
            self.record_alert(time)

    def count_recent(self, now: Instant) -> int:
        """Returns the number of new alerts within the limit's span up to now."""
        self._drop_old(now)
        return len(self._times)

    def record_alert(self, now: Instant) -> FloodChange:
        """Counts one more alert; "began" if it starts a flood."""
        self._times.append(now)
        return self.detect_begin_or_end(now)

    def detect_begin_or_end(self, now: Instant) -> FloodChange:
        """Returns whether a flood begins or ends now."""
        limit = self._limit
        if limit is None:
            was_active, self.since = self.since is not None, None
            return "ended" if was_active else ""
        count = self.count_recent(now)
        if self.since is None and count > limit.start_above:
            self.since = now
            return "began"
        if self.since is not None and count < limit.end_below:
            self.since = None
            return "ended"
        return ""

    def predict_end_time(self) -> Instant | None:
        """Returns when the current flood ends, if nothing more comes."""
        if self.since is None or self._limit is None:
            return None
        index = len(self._times) - self._limit.end_below
        return self._times[index] + self._limit.within if index >= 0 else 0

    def _drop_old(self, now: Instant) -> None:
        if self._limit is None:
            self._times.clear()
            return
        while self._times and self._times[0] <= now - self._limit.within:
            self._times.popleft()
