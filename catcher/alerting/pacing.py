"""How fast a sink may be told (a bucket of tokens, refilled steadily), and how long it is tried."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from catcher.alerting.noise import Rate
from catcher.model.time import DAY, MINUTE, SECOND, Instant, Span


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to keep trying. Waits double from `first` to `longest`, with jitter.

    `attempt` bounds one try; after `give_up` a notice is a dead letter; `look` is how often
    somebody looks for notices that wait too long. `size` bounds what waits in memory.
    """

    first: Span = SECOND
    longest: Span = 5 * MINUTE
    attempt: Span = 30 * SECOND
    give_up: Span = DAY
    look: Span = SECOND
    size: int = 2_000
    jitter: Callable[[], float] = random.random


class Pace:
    """At most `rate.count` messages in any `rate.span`, about; without a rate as fast as can be.

    What is worse than before does not wait: it is spent from what comes later.
    """

    def __init__(self, rate: Rate | None, now: Instant) -> None:
        self._rate, self._since = rate, now
        self._tokens = float(rate.count) if rate else 0.0

    def is_of(self, rate: Rate | None) -> bool:
        """Whether it keeps to this rate."""
        return self._rate == rate

    @property
    def limited(self) -> bool:
        """Whether there is a bound at all."""
        return self._rate is not None

    def ready(self, now: Instant) -> bool:
        """Whether one more may go out now."""
        if self._rate is None:
            return True
        self._refill(self._rate, now)
        return self._tokens >= 1

    def spend(self, now: Instant) -> None:
        """One more goes out."""
        if self._rate is not None:
            self._refill(self._rate, now)
            self._tokens = max(self._tokens - 1, -float(self._rate.count))

    def wait(self, now: Instant) -> Span:
        """How long until one more may go out."""
        if self._rate is None or self.ready(now):
            return 0
        return int((1 - self._tokens) * self._rate.span / self._rate.count) + 1

    def _refill(self, rate: Rate, now: Instant) -> None:
        gained = max(0, now - self._since) * rate.count / rate.span
        self._tokens = min(float(rate.count), self._tokens + gained)
        self._since = max(now, self._since)
