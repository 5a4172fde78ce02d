"""Metrics written to InfluxDB 2 or 3, or compatible (`/api/v2/write`), or to 1.x's `/write`.

    stores:
      metrics:
        influxdb: {url: "http://localhost:8086", org: tma, bucket: catcher, token: "${INFLUX}"}
        # 1.x: influxdb: {url: "http://localhost:8086", bucket: catcher, username: …, password: …}

In 1.x the bucket is the name of the database, or `database/retention policy`.

The schema for dashboards:

| line protocol | content |
| --- | --- |
| measurement | `catcher.RULE`, as `catcher.mount-jitter` |
| tags | `rule`, `key` (the trigger's `by`), and the metric's labels (`band`, `detector`, …) |
| field | the metric's name, float; an unknown one is not written |
| time | that of the firing, nanoseconds UTC |

The ledger is the primary store of metrics; this is a copy. What the server has not accepted yet
waits in the ledger (`exporter.py`), also through a crash, up to `waiting` finished runs. What it
rejects is stored on disk (`dead_letter_file.py`).
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

from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.time import SECOND, Clock, Instant, Span, wall_clock
from catcher.ports import MetricPoint, StoreUnavailable
from catcher.stores.metrics.dead_letter_file import DeadLetterFile
from catcher.stores.metrics.influxdb_v1 import InfluxV1Writer, WriteRejected
from catcher.transport.http import HTTPError

BATCH_SIZE = 5_000
REFUSED_STATUSES = (400, 413, 422)
"""The server will never accept the data; any other status may be transient."""
WRITTEN_STATUS = 204
"""The only status of a successful write; a portal or a proxy says 200 to anything."""


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
        dead_letters: DeadLetterFile | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._dead_letters = dead_letters or DeadLetterFile(None)
        self._v1_writer: InfluxV1Writer | None = None
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
        self._thread_pool = ThreadPoolExecutor(1, thread_name_prefix="metrics-influx")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "ended"
        # A request in progress ends by its own timeout; do not wait for it.
        self._thread_pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()  # type: ignore[no-untyped-call]
        if self._v1_writer is not None:
            self._v1_writer.close()

    async def write(self, points: Sequence[MetricPoint]) -> None:
        """Writes points in order. Raises StoreUnavailable if the server does not accept them now.

        Unknown values are left out; points that it rejects go to the dead-letter file.
        """
        writable = [point for point in points if _has_finite_value(point)]
        for start in range(0, len(writable), BATCH_SIZE):
            try:
                await self._write_batch(writable[start : start + BATCH_SIZE])
            except (ApiException, HTTPError, OSError, StoreUnavailable) as error:
                self._counts["failures"] += 1
                self._set_state("away", _error_text(error))
                raise StoreUnavailable(
                    _error_text(error), retry_after=_parse_retry_after(error)
                ) from None
        self._set_state("ok", "")

    def health(self) -> Health:
        """Returns the health: unavailable while the server does not accept data."""
        return Health(
            "metrics", "metrics", self._state, self._since, self._last, self._problem,
            {**self._counts, "lost": self._dead_letters.lost_points},
        )  # fmt: skip

    async def _write_batch(self, batch: Sequence[MetricPoint]) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread_pool, self._send_batch, batch)
        except (ApiException, WriteRejected) as error:
            if error.status not in REFUSED_STATUSES:
                raise
            await self._handle_rejected_batch(batch, error)
        else:
            self._counts["written"] += len(batch)
            self._last = self._clock()

    async def _handle_rejected_batch(
        self, batch: Sequence[MetricPoint], error: ApiException | WriteRejected
    ) -> None:
        """Splits a rejected batch: isolates a bad point, and makes a too large batch smaller."""
        if len(batch) == 1:
            self._counts["refused"] += 1
            line, now = format_line_protocol(batch[0]), self._clock()
            await asyncio.to_thread(self._dead_letters.append_point, line, _error_text(error), now)
            self._problem = f"a point of {batch[0].rule} was refused: {_error_text(error)}"
            return
        middle = len(batch) // 2
        await self._write_batch(batch[:middle])
        await self._write_batch(batch[middle:])

    def _send_batch(self, batch: Sequence[MetricPoint]) -> None:
        lines = "\n".join(format_line_protocol(point) for point in batch).encode("utf-8", "replace")
        if self._v1_writer is None:
            try:
                self._send_v2(lines)
                return
            except ApiException as error:
                if not _lacks_v2_api(error):
                    raise
            settings = self._settings
            credentials = (settings.username, settings.password or settings.token)
            self._v1_writer = InfluxV1Writer(
                settings.url, settings.bucket, credentials, settings.timeout
            )
        self._v1_writer.write(lines)

    def _send_v2(self, lines: bytes) -> None:
        _, status, _ = self._service.post_write_with_http_info(  # type: ignore[no-untyped-call]
            org=self._settings.org or "-",
            bucket=self._settings.bucket,
            body=lines,
            content_type="text/plain; charset=utf-8",
            _return_http_data_only=False,
        )
        if status != WRITTEN_STATUS:
            raise _NotInfluxDb(f"the server answered {status}, which no InfluxDB says to a write")

    def _set_state(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
            self._state, self._problem = state, problem
        elif state == "away":
            self._problem = problem


class _NotInfluxDb(OSError):
    """The response is not from the configured kind of server."""


def _has_finite_value(point: MetricPoint) -> bool:
    return point.value is not None and math.isfinite(point.value)


def format_line_protocol(point: MetricPoint) -> str:
    """Formats a point in line protocol; empty tags are left out, `rule` and `key` always win."""
    tags = {**point.labels, "rule": point.rule, "key": point.key}
    value = float(point.value or 0.0)
    influx_point = Point(f"catcher.{point.rule}")  # type: ignore[no-untyped-call]
    influx_point.field(point.name, value)  # type: ignore[no-untyped-call]
    for name, text in sorted(tags.items()):
        if name and text:
            influx_point.tag(name, text)  # type: ignore[no-untyped-call]
    influx_point.time(point.time)  # type: ignore[no-untyped-call]
    return str(influx_point.to_line_protocol())  # type: ignore[no-untyped-call]


def _lacks_v2_api(error: ApiException) -> bool:
    """True if the path does not exist: for a missing bucket InfluxDB 2 answers in JSON."""
    return error.status in (404, 405) and '"code"' not in str(error.body or "")


def _error_text(error: Exception) -> str:
    """Returns the server's or network's error without headers, which contain the token."""
    if isinstance(error, CatcherError):
        return error.message
    if isinstance(error, ApiException):
        body = " ".join(str(error.body or error.reason or "").split())[:200]
        return f"the server answered {error.status}: {body}"
    if isinstance(error, _NotInfluxDb):
        return str(error)
    return f"the server cannot be reached ({type(error).__name__})"


def _parse_retry_after(error: Exception) -> Span | None:
    """Returns the delay that an overloaded server requests; InfluxDB gives it in seconds."""
    if isinstance(error, StoreUnavailable):
        return error.retry_after
    headers: Any = getattr(error, "headers", None) or {}
    text = str(headers.get("Retry-After", ""))
    return int(text) * SECOND if text.isascii() and text.isdigit() and len(text) < 6 else None
