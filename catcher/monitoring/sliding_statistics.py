"""Quantiles of recent measurements, and rates of recent events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

MonotonicClock = Callable[[], float]
"""A clock that only goes forward, in seconds; its zero means nothing."""


class SlidingQuantiles:
    """The durations of the last `window` seconds for quantiles; count and sum of all ever.

    At most `max_samples` are kept; of more within the window, the latest.
    """

    def __init__(
        self, monotonic: MonotonicClock, window: float = 60.0, max_samples: int = 4096
    ) -> None:
        self._monotonic, self._window = monotonic, window
        self._samples: deque[tuple[float, float]] = deque(maxlen=max_samples)
        self.count = 0
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Adds one value, measured now."""
        self._samples.append((self._monotonic(), value))
        self.count += 1
        self.sum += value

    def compute_quantiles(self, *probabilities: float) -> Sequence[float]:
        """Returns the nearest-rank quantiles (0 to 1) of the window; NaN each without samples."""
        since = self._monotonic() - self._window
        values = sorted(value for time, value in self._samples if time >= since)
        if not values:
            return [float("nan")] * len(probabilities)
        return [
            values[min(len(values) - 1, int(probability * len(values)))]
            for probability in probabilities
        ]


class EventRate:
    """The rate of events in the last `bucket_count` times `bucket_seconds` seconds."""

    def __init__(
        self, monotonic: MonotonicClock, bucket_seconds: float = 10.0, bucket_count: int = 30
    ) -> None:
        self._monotonic, self._bucket_seconds, self._bucket_count = (
            monotonic,
            bucket_seconds,
            bucket_count,
        )
        self._counts: deque[tuple[int, int]] = deque()
        self.total = 0

    def add(self, count: int = 1) -> None:
        """Counts events that happened now."""
        self.total += count
        bucket = int(self._monotonic() // self._bucket_seconds)
        if self._counts and self._counts[-1][0] == bucket:
            self._counts[-1] = (bucket, self._counts[-1][1] + count)
        else:
            self._counts.append((bucket, count))
        self._drop_old_buckets(bucket)

    @property
    def recent_count(self) -> int:
        """The number of events within the window."""
        self._drop_old_buckets(int(self._monotonic() // self._bucket_seconds))
        return sum(count for _, count in self._counts)

    @property
    def earliest_time(self) -> float | None:
        """The time of the first event within the window, accurate to a bucket."""
        self._drop_old_buckets(int(self._monotonic() // self._bucket_seconds))
        return self._counts[0][0] * self._bucket_seconds if self._counts else None

    def compute_per_second(self, since: float | None) -> float:
        """Returns the average rate since a time within the window; 0 if `since` is None."""
        if since is None:
            return 0.0
        return self.recent_count / max(self._monotonic() - since, 1.0)

    def _drop_old_buckets(self, bucket: int) -> None:
        while self._counts and self._counts[0][0] <= bucket - self._bucket_count:
            self._counts.popleft()
