"""Metrics written to InfluxDB 2 or 3, or whatever takes `/api/v2/write`; else to 1.x's `/write`.

    stores:
      metrics:
        influxdb: {url: "http://localhost:8086", org: tma, bucket: catcher, token: "${INFLUX}"}
        # 1.x: influxdb: {url: "http://localhost:8086", bucket: catcher, username: …, password: …}

In 1.x the bucket is the name of the database, or `database/retention policy`.

What a dashboard finds there:

| line protocol | content |
| --- | --- |
| measurement | `catcher.RULE`, as `catcher.mount-jitter` |
| tags | `rule`, `key` (the trigger's `by`), and the metric's labels (`band`, `detector`, …) |
| field | the metric's name, float; one that is unknown is not written |
| time | that of the firing, nanoseconds UTC |

The ledger is where metrics are kept; this is a further copy. What the server has not taken yet
waits in the ledger (`metrics_exporting`), also through a crash, up to `waiting` finished runs.
What it will never take is kept on disk (`metrics_letters`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write.point import Point
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService

from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Clock, Instant, Span, wall_clock
from catcher.ports import MetricPoint, StoreAway
from catcher.stores.metrics_influx_old import OldInflux, Rejected
from catcher.stores.metrics_letters import DeadPoints
from catcher.stores.web import HTTPError

BATCH = 5_000
REFUSED = (400, 413, 422)
"""The server will never take what it was sent; anything else may pass."""
TAKEN = 204
"""The one answer of a server that has written; a portal or a proxy says 200 to anything."""


@dataclass(frozen=True, slots=True)
class InfluxMetricSettings:
    """Where to write. Seconds: `timeout` of one request, `longest_pause` between two attempts.

    At most `waiting` finished runs wait for a server that is away; of more, the oldest are
    dropped here (not from the ledger) and counted.
    """

    url: str
    bucket: str
    org: str = ""
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 10.0
    longest_pause: float = 60.0
    waiting: int = 100_000

    def __post_init__(self) -> None:
        if self.token and self.username:
            raise CatcherError("it has both a token and a username", "give one of them")


class InfluxMetrics:
    """`ports.MetricStore` over influxdb-client; an async context manager."""

    def __init__(
        self,
        settings: InfluxMetricSettings,
        clock: Clock = wall_clock,
        dead: DeadPoints | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._dead = dead or DeadPoints(None)
        self._old: OldInflux | None = None
        self._counts = {"written": 0, "refused": 0, "failures": 0}
        self._state: HealthState = "starting"
        self._problem = ""
        self._since: Instant = 0
        self._last: Instant | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._since = self._clock()
        self._client = InfluxDBClient(
            settings.url,
            token=settings.token or f"{settings.username}:{settings.password}",
            org=settings.org or "-",
            timeout=round(settings.timeout * 1000),
            enable_gzip=True,
        )
        self._service = WriteService(self._client.api_client)  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics-influx")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "ended"
        # A request under way ends by its own timeout; nobody waits for it.
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._client.close()  # type: ignore[no-untyped-call]
        if self._old is not None:
            self._old.close()

    async def write(self, points: Sequence[MetricPoint]) -> None:
        """Writes points, in their order; StoreAway where the server does not take them now.

        Unknown values are left out, points that it will never take are counted.
        """
        known = [point for point in points if _writable(point)]
        for start in range(0, len(known), BATCH):
            try:
                await self._write(known[start : start + BATCH])
            except (ApiException, HTTPError, OSError, StoreAway) as error:
                self._counts["failures"] += 1
                self._turn("away", _words(error))
                raise StoreAway(_words(error), retry_after=_retry_after(error)) from None
        self._turn("ok", "")

    def health(self) -> Health:
        """`away` while the server does not take what it is sent."""
        return Health(
            "metrics", "metrics", self._state, self._since, self._last, self._problem,
            {**self._counts, "lost": self._dead.lost},
        )  # fmt: skip

    async def _write(self, batch: Sequence[MetricPoint]) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._send, batch)
        except (ApiException, Rejected) as error:
            if error.status not in REFUSED:
                raise
            await self._write_halves(batch, error)
        else:
            self._counts["written"] += len(batch)
            self._last = self._clock()

    async def _write_halves(
        self, batch: Sequence[MetricPoint], error: ApiException | Rejected
    ) -> None:
        """One bad point must not take the others with it, one heavy batch not stay for ever."""
        if len(batch) == 1:
            self._counts["refused"] += 1
            line, now = line_of(batch[0]), self._clock()
            await asyncio.to_thread(self._dead.keep, line, _words(error), now)
            self._problem = f"a point of {batch[0].rule} was refused: {_words(error)}"
            return
        middle = len(batch) // 2
        await self._write(batch[:middle])
        await self._write(batch[middle:])

    def _send(self, batch: Sequence[MetricPoint]) -> None:
        lines = "\n".join(line_of(point) for point in batch).encode("utf-8", "replace")
        if self._old is None:
            try:
                self._send_new(lines)
                return
            except ApiException as error:
                if not _has_no_v2(error):
                    raise
            settings = self._settings
            login = (settings.username, settings.password or settings.token)
            self._old = OldInflux(settings.url, settings.bucket, login, settings.timeout)
        self._old.write(lines)

    def _send_new(self, lines: bytes) -> None:
        _, status, _ = self._service.post_write_with_http_info(  # type: ignore[no-untyped-call]
            org=self._settings.org or "-",
            bucket=self._settings.bucket,
            body=lines,
            content_type="text/plain; charset=utf-8",
            _return_http_data_only=False,
        )
        if status != TAKEN:
            raise _NoInflux(f"the server answered {status}, which no InfluxDB says to a write")

    def _turn(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
            self._state, self._problem = state, problem
        elif state == "away":
            self._problem = problem


class _NoInflux(OSError):
    """Something answered that is not what the settings say it is."""


def _writable(point: MetricPoint) -> bool:
    return point.value is not None and math.isfinite(point.value)


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


def _has_no_v2(error: ApiException) -> bool:
    """Whether the path is not there at all: of a missing bucket InfluxDB 2 tells in JSON."""
    return error.status in (404, 405) and '"code"' not in str(error.body or "")


def _words(error: Exception) -> str:
    """What the server or the network said, without headers, which hold the token."""
    if isinstance(error, CatcherError):
        return error.message
    if isinstance(error, ApiException):
        body = " ".join(str(error.body or error.reason or "").split())[:200]
        return f"the server answered {error.status}: {body}"
    if isinstance(error, _NoInflux):
        return str(error)
    return f"the server cannot be reached ({type(error).__name__})"


def _retry_after(error: Exception) -> Span | None:
    """What a server that is asked too much asks for: seconds, as InfluxDB says it."""
    if isinstance(error, StoreAway):
        return error.retry_after
    headers: Any = getattr(error, "headers", None) or {}
    said = str(headers.get("Retry-After", ""))
    return int(said) * SECOND if said.isascii() and said.isdigit() and len(said) < 6 else None
