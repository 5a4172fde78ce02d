"""Metrics written to InfluxDB 2 or 3, or whatever takes `/api/v2/write`.

    stores:
      metrics:
        influxdb: {url: "http://localhost:8086", org: tma, bucket: catcher, token: "${INFLUX}"}

What a dashboard finds there:

| line protocol | content |
| --- | --- |
| measurement | `catcher.RULE`, as `catcher.mount-jitter` |
| tags | `rule`, `key` (the trigger's `by`), and the metric's labels (`band`, `detector`, …) |
| field | the metric's name, float; one that is unknown is not written |
| time | that of the firing, nanoseconds UTC |

The ledger is where metrics are kept; this is a further copy. A server that is away never delays
the engine: points wait in memory, the oldest are dropped beyond a bound, and both are counted.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write.point import Point
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from catcher.model.health import Health, HealthState
from catcher.model.time import Clock, Instant, wall_clock
from catcher.ports import MetricPoint

BATCH = 5_000
REFUSED = (400, 413, 422)
"""The server will never take what it was sent; anything else may pass."""


@dataclass(frozen=True, slots=True)
class InfluxMetricSettings:
    """Where to write. Seconds: `timeout` of one request, `longest_pause` between two attempts,
    `drain` that is given to what waits when the engine stops. `waiting` is a number of points."""

    url: str
    bucket: str
    org: str = ""
    token: str = field(default="", repr=False)
    timeout: float = 10.0
    longest_pause: float = 60.0
    drain: float = 3.0
    waiting: int = 100_000


class InfluxMetrics:
    """`ports.MetricStore` over influxdb-client; an async context manager."""

    def __init__(self, settings: InfluxMetricSettings, clock: Clock = wall_clock) -> None:
        self._settings = settings
        self._clock = clock
        self._points: deque[MetricPoint] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._counts = {"written": 0, "dropped": 0, "refused": 0, "failures": 0}
        self._state: HealthState = "starting"
        self._problem = ""
        self._since: Instant = 0
        self._last: Instant | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._since = self._clock()
        self._client = InfluxDBClient(
            settings.url,
            token=settings.token,
            org=settings.org or "-",
            timeout=round(settings.timeout * 1000),
            enable_gzip=True,
        )
        self._api = self._client.write_api(write_options=SYNCHRONOUS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics-influx")
        self._task = asyncio.create_task(self._work(), name="metrics-influx")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self._arrived.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._task, self._settings.drain)
        self._counts["dropped"] += len(self._points)
        self._points.clear()
        self._state = "ended"
        # A request under way ends by its own timeout; nobody waits for it.
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._client.close()  # type: ignore[no-untyped-call]

    async def write(self, points: Sequence[MetricPoint]) -> None:
        """Queues points; returns at once. Unknown values are left out."""
        self._points += [
            point for point in points if point.value is not None and math.isfinite(point.value)
        ]
        while len(self._points) > self._settings.waiting:
            self._points.popleft()
            self._counts["dropped"] += 1
        self._arrived.set()

    def health(self) -> Health:
        """`away` while the server does not take what waits; `waiting` is counted in points."""
        counts = {**self._counts, "waiting": len(self._points)}
        return Health(
            "metrics", "metrics", self._state, self._since, self._last, self._problem, counts
        )

    async def _work(self) -> None:
        failures = 0
        while self._points or not self._closing:
            if not self._points:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = [self._points.popleft() for _ in range(min(BATCH, len(self._points)))]
            try:
                await self._write(batch)
            except (ApiException, HTTPError, OSError) as error:
                failures += 1
                self._put_back(batch, error)
                await self._pause(failures)
            except asyncio.CancelledError:
                self._points.extendleft(reversed(batch))
                raise
            else:
                failures = 0
                self._turn("ok", "")

    async def _write(self, batch: Sequence[MetricPoint]) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._send, batch)
        except ApiException as error:
            if error.status not in REFUSED:
                raise
            await self._write_halves(batch, error)
        else:
            self._counts["written"] += len(batch)
            self._last = self._clock()

    async def _write_halves(self, batch: Sequence[MetricPoint], error: ApiException) -> None:
        """One bad point must not take the others with it, one heavy batch not stay for ever."""
        if len(batch) == 1:
            self._counts["refused"] += 1
            self._problem = f"a point of {batch[0].rule} was refused: {_words(error)}"
            return
        middle = len(batch) // 2
        await self._write(batch[:middle])
        await self._write(batch[middle:])

    def _send(self, batch: Sequence[MetricPoint]) -> None:
        lines = "\n".join(line_of(point) for point in batch).encode("utf-8", "replace")
        self._api.write(self._settings.bucket, record=lines)

    def _put_back(self, batch: Sequence[MetricPoint], error: Exception) -> None:
        self._counts["failures"] += 1
        room = max(0, self._settings.waiting - len(self._points))
        kept = batch[max(0, len(batch) - room) :] if room else []
        self._counts["dropped"] += len(batch) - len(kept)
        self._points.extendleft(reversed(kept))
        self._turn("away", _words(error))

    async def _pause(self, failures: int) -> None:
        longest = min(self._settings.longest_pause, 0.5 * 2.0 ** min(failures, 20))
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))

    def _turn(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
            self._state, self._problem = state, problem
        elif state == "away":
            self._problem = problem


def line_of(point: MetricPoint) -> str:
    """A point in line protocol; empty tags are left out, `rule` and `key` are not overridden."""
    tags = {**point.labels, "rule": point.rule, "key": point.key}
    value = float(point.value or 0.0)
    made = Point(f"catcher.{point.rule}")  # type: ignore[no-untyped-call]
    made.field(point.name, value)  # type: ignore[no-untyped-call]
    for name, text in sorted(tags.items()):
        if name and text:
            made.tag(name, text)  # type: ignore[no-untyped-call]
    made.time(point.time)  # type: ignore[no-untyped-call]
    return str(made.to_line_protocol())  # type: ignore[no-untyped-call]


def _words(error: Exception) -> str:
    """What the server or the network said, without headers, which hold the token."""
    if isinstance(error, ApiException):
        body = " ".join(str(error.body or error.reason or "").split())[:200]
        return f"the server answered {error.status}: {body}"
    return f"the server cannot be reached ({type(error).__name__})"
