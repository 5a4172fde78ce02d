"""What was measured in the last minute, and what happened in the last minutes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

Seconds = Callable[[], float]
"""A clock that only goes forward, in seconds; its zero means nothing."""


class Recent:
    """Durations of the last `span` seconds for quantiles, and count and sum of all ever.

    At most `size` are kept; of more within the span, the latest.
    """

    def __init__(self, seconds: Seconds, span: float = 60.0, size: int = 4096) -> None:
        self._seconds, self._span = seconds, span
        self._kept: deque[tuple[float, float]] = deque(maxlen=size)
        self.count = 0
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One more, measured now."""
        self._kept.append((self._seconds(), value))
        self.count += 1
        self.sum += value

    def quantiles(self, *wanted: float) -> Sequence[float]:
        """The nearest-rank quantiles (0 to 1) of the span; NaN each where nothing was measured."""
        since = self._seconds() - self._span
        values = sorted(value for time, value in self._kept if time >= since)
        if not values:
            return [float("nan")] * len(wanted)
        return [values[min(len(values) - 1, int(one * len(values)))] for one in wanted]


class Rate:
    """How often something happened in the last `buckets` times `width` seconds."""

    def __init__(self, seconds: Seconds, width: float = 10.0, buckets: int = 30) -> None:
        self._seconds, self._width, self._most = seconds, width, buckets
        self._counts: deque[tuple[int, int]] = deque()
        self.total = 0

    def add(self, count: int = 1) -> None:
        """It happened so often, now."""
        self.total += count
        bucket = int(self._seconds() // self._width)
        if self._counts and self._counts[-1][0] == bucket:
            self._counts[-1] = (bucket, self._counts[-1][1] + count)
        else:
            self._counts.append((bucket, count))
        self._forget(bucket)

    @property
    def within(self) -> int:
        """How often within the whole span."""
        self._forget(int(self._seconds() // self._width))
        return sum(count for _, count in self._counts)

    @property
    def earliest(self) -> float | None:
        """When, to a bucket's width, it first happened within the span."""
        self._forget(int(self._seconds() // self._width))
        return self._counts[0][0] * self._width if self._counts else None

    def per_second(self, since: float | None) -> float:
        """On average since a moment within the span; nought where there is none."""
        if since is None:
            return 0.0
        return self.within / max(self._seconds() - since, 1.0)

    def _forget(self, bucket: int) -> None:
        while self._counts and self._counts[0][0] <= bucket - self._most:
            self._counts.popleft()
