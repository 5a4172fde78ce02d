"""Whether the alerts are a flood, after ISA-18.2 and EEMUA 191."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

from catcher.alerting.noise import Flood
from catcher.model.time import Instant

_MOST = 20_000
Turn = Literal["", "began", "ended"]


class FloodWatch:
    """Counts new alerts; a flood goes on from one bound to the other."""

    def __init__(self, law: Flood | None, opened: Iterable[Instant] = ()) -> None:
        self._law = law
        self._times: deque[Instant] = deque(sorted(opened)[-_MOST:], maxlen=_MOST)
        self.since: Instant | None = None

    @property
    def on(self) -> bool:
        """Whether a flood goes on."""
        return self.since is not None

    def swap(self, law: Flood | None) -> None:
        """Another law from now on. The first one says whether there was a flood before."""
        first, self._law = self._law is None, law
        if first and law is not None:
            self._take_up()

    def _take_up(self) -> None:
        """Goes through what opened before, as if it had been watched."""
        known, self._times = list(self._times), deque(maxlen=_MOST)
        for time in known:
            # A flood may have ended before this one came.
            due = self.due()
            if due is not None and due < time:
                self.turn(due)
            self.opened(time)

    def rate(self, now: Instant) -> int:
        """New alerts within the law's span up to now."""
        self._forget(now)
        return len(self._times)

    def opened(self, now: Instant) -> Turn:
        """One more alert; whether the flood begins with it."""
        self._times.append(now)
        return self.turn(now)

    def turn(self, now: Instant) -> Turn:
        """Whether a flood begins or ends now."""
        law = self._law
        if law is None:
            ended, self.since = self.since is not None, None
            return "ended" if ended else ""
        count = self.rate(now)
        if self.since is None and count > law.above:
            self.since = now
            return "began"
        if self.since is not None and count < law.below:
            self.since = None
            return "ended"
        return ""

    def due(self) -> Instant | None:
        """When a flood that goes on ends, if nothing more comes."""
        if self.since is None or self._law is None:
            return None
        last = len(self._times) - self._law.below
        return self._times[last] + self._law.within if last >= 0 else 0

    def _forget(self, now: Instant) -> None:
        if self._law is None:
            self._times.clear()
            return
        while self._times and self._times[0] <= now - self._law.within:
            self._times.popleft()
