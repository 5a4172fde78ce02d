"""The rate limit of a sink (a token bucket, refilled steadily) and its retry policy."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from catcher.alerting.limits import RateLimit
from catcher.model.time import DAY, MINUTE, SECOND, Instant, Span


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to retry. Backoff doubles from `initial_backoff` to `max_backoff`, with jitter.

    `attempt_timeout` bounds one attempt; after `give_up_after` a notification becomes a dead
    letter; `check_interval` is how often overdue notifications are looked for. `queue_size` bounds
    the queue in memory.
    """

    initial_backoff: Span = SECOND
    max_backoff: Span = 5 * MINUTE
    attempt_timeout: Span = 30 * SECOND
    give_up_after: Span = DAY
    check_interval: Span = SECOND
    queue_size: int = 2_000
    jitter: Callable[[], float] = random.random


class TokenBucket:
    """Allows about `rate_limit.count` messages in any `rate_limit.span`; unlimited without one.

    A worsening does not wait: it takes its token from what comes later.
    """

    def __init__(self, rate_limit: RateLimit | None, now: Instant) -> None:
        self._rate_limit, self._refilled_at = rate_limit, now
        self._tokens = float(rate_limit.count) if rate_limit else 0.0

    def has_same_rate_limit(self, rate_limit: RateLimit | None) -> bool:
        """Whether this is its rate limit."""
        return self._rate_limit == rate_limit

    @property
    def is_limited(self) -> bool:
        """Whether there is a rate limit at all."""
        return self._rate_limit is not None

    def can_send_now(self, now: Instant) -> bool:
        """Whether one more message may be sent now."""
        if self._rate_limit is None:
            return True
        self._refill_tokens(self._rate_limit, now)
        return self._tokens >= 1

    def consume_token(self, now: Instant) -> None:
        """Takes the token of one message."""
        if self._rate_limit is not None:
            self._refill_tokens(self._rate_limit, now)
            self._tokens = max(self._tokens - 1, -float(self._rate_limit.count))

    def get_wait_time(self, now: Instant) -> Span:
        """Returns how long until one more message may be sent."""
        if self._rate_limit is None or self.can_send_now(now):
            return 0
        return int((1 - self._tokens) * self._rate_limit.span / self._rate_limit.count) + 1

    def _refill_tokens(self, rate_limit: RateLimit, now: Instant) -> None:
        new_tokens = max(0, now - self._refilled_at) * rate_limit.count / rate_limit.span
        self._tokens = min(float(rate_limit.count), self._tokens + new_tokens)
        self._refilled_at = max(now, self._refilled_at)
