"""The targets of heartbeats: an MQTT broker, a URL, LOVE.

    # catcher.yaml
    heartbeat:
      every: 10s
      mqtt: {host: broker.example, topic: catcher/cerro-pachon/heartbeat}
      http: {url: "https://hc-ping.com/${PING_KEY}"}
      love: {sink: love}

MQTT: each heartbeat as JSON, retained, and a last will `{"state": "offline", ...}` that the broker
publishes when the engine vanishes. HTTP, in the form of healthchecks.io: a request to the URL for
each heartbeat, to the URL with `/fail` while the engine is degraded. LOVE: the form in which
LOVE-producer reports the heartbeat of a component (an event of the pseudo component `Heartbeat`),
through the connection of a sink.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.time import SECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.monitoring.heartbeat import HeartbeatMessage
from catcher.ports import SinkError

MAX_LOST_HEARTBEATS = 5
"""Lost heartbeats after which LOVE shows a component as gone; LOVE-producer's value for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttHeartbeatSettings:
    """The broker and how to enter it. `topic` empty means catcher/SITE/heartbeat.

    `port` 0 means 1883, or 8883 with `tls`; `ca` is a PEM file, empty for the machine's own
    authorities.
    """

    host: str = "localhost"
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    client_id: str = ""
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    tls: bool = False
    ca: str = ""
    topic: str = ""

    def __post_init__(self) -> None:
        if "+" in self.topic or "#" in self.topic:
            raise CatcherError(
                f"{self.topic!r} is no topic to publish to", "write it like catcher/site/heartbeat"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHeartbeatSettings:
    """The address that is asked at each beat, `timeout` for one answer.

    With `fail` a degraded engine asks for the address with `/fail`; else it keeps silent.
    """

    url: str = field(repr=False)
    method: Literal["GET", "POST", "HEAD"] = "GET"
    fail: bool = True
    timeout: Span = 5 * SECOND

    def __post_init__(self) -> None:
        url_parts = urlsplit(self.url)
        if url_parts.scheme not in ("http", "https") or not url_parts.hostname:
            raise CatcherError("the heartbeat's url is no web address", "write it like https://…")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoveHeartbeatSettings:
    """Which sink's connection to LOVE to use, and as what component LOVE is to show us."""

    sink: str
    component: str = "Catcher"
    index: int = 0


class _HeartbeatTargetBase:
    """What all targets share: the health of the last heartbeat."""

    kind = ""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"sent": 0, "failed": 0}

    def health(self) -> Health:
        """Returns the health, `away` after a heartbeat that could not be sent."""
        return Health(
            self.kind, "heartbeat", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    def _record_sent(self) -> None:
        self._last = self._clock()
        self._counts["sent"] += 1
        self._set_state("ok", "")

    def _record_failure(self, error_text: str) -> None:
        self._counts["failed"] += 1
        self._set_state("away", error_text)

    def _set_state(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


class HeartbeatPublisher(Protocol):
    """A connection to a broker that reconnects by itself."""

    async def publish(
        self, topic: str, payload: bytes, qos: Literal[0, 1, 2] = 1, retain: bool = False
    ) -> None:
        """Returns once the broker has the message; raises OSError if it does not take it."""
        ...


def build_last_will(site: str, engine: str) -> bytes:
    """Returns the message that the broker publishes when the engine vanishes."""
    return json.dumps({"site": site, "engine": engine, "state": "offline"}).encode()


class MqttHeartbeatTarget(_HeartbeatTargetBase):
    """Heartbeats as retained messages; the last will belongs to the publisher."""

    kind = "mqtt"

    def __init__(
        self, publisher: HeartbeatPublisher, topic: str, interval: Span, clock: Clock
    ) -> None:
        super().__init__(clock)
        self._publisher, self._topic, self._interval = publisher, topic, interval

    async def send_heartbeat(self, heartbeat: HeartbeatMessage) -> None:
        """Publishes a heartbeat; its `every` tells readers when to expect the next."""
        payload = {**heartbeat.to_json(), "every": nanoseconds_to_seconds(self._interval)}
        try:
            await self._publisher.publish(self._topic, json.dumps(payload).encode(), 1, True)
        except (OSError, ValueError) as error:
            self._record_failure(str(error))
        else:
            self._record_sent()


class HttpHeartbeatTarget(_HeartbeatTargetBase):
    """Heartbeats as requests. The URL is a secret: nothing here shows more than its host."""

    kind = "http"

    def __init__(self, settings: HttpHeartbeatSettings, clock: Clock) -> None:
        super().__init__(clock)
        self._settings = settings
        self._host = urlsplit(settings.url).hostname or ""

    async def send_heartbeat(self, heartbeat: HeartbeatMessage) -> None:
        """Sends one request, in a thread."""
        if heartbeat.is_stopping or (heartbeat.state != "ok" and not self._settings.fail):
            return
        try:
            await asyncio.to_thread(self._send_request, heartbeat)
        except urllib.error.HTTPError as error:
            self._record_failure(f"{self._host} answered {error.code}")
            error.close()
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            reason_text = getattr(reason, "strerror", None) or type(reason).__name__
            self._record_failure(f"{self._host}: {reason_text}")
        else:
            self._record_sent()

    def _send_request(self, heartbeat: HeartbeatMessage) -> None:
        settings = self._settings
        body = json.dumps(heartbeat.to_json()).encode() if settings.method == "POST" else None
        url = settings.url if heartbeat.state == "ok" else _build_fail_url(settings.url)
        request = urllib.request.Request(
            url, data=body, method=settings.method, headers={"User-Agent": "catcher"}
        )
        if body is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=nanoseconds_to_seconds(settings.timeout)):
            return


def _build_fail_url(url: str) -> str:
    url_parts = urlsplit(url)
    return urlunsplit(url_parts._replace(path=url_parts.path.rstrip("/") + "/fail"))


class LoveHeartbeatTarget(_HeartbeatTargetBase):
    """Heartbeats in LOVE-producer's form for a component; `send_message` sends to LOVE."""

    kind = "love"

    def __init__(
        self,
        settings: LoveHeartbeatSettings,
        send_message: Callable[[Mapping[str, Any]], Awaitable[None]],
        clock: Clock,
    ) -> None:
        super().__init__(clock)
        self._settings, self._send_message = settings, send_message

    async def send_heartbeat(self, heartbeat: HeartbeatMessage) -> None:
        """Sends a heartbeat; none while stopping, so that LOVE shows the engine as gone."""
        if heartbeat.is_stopping:
            return
        try:
            await self._send_message(build_love_message(heartbeat, self._settings))
        except SinkError as error:
            self._record_failure(str(error))
        else:
            self._record_sent()


def build_love_message(
    heartbeat: HeartbeatMessage, settings: LoveHeartbeatSettings
) -> dict[str, Any]:
    """Builds an event of `Heartbeat` (LOVE-producer, love_producer_csc.py: _get_heartbeat_message).

    Times are seconds since the epoch UTC, as there.
    """
    now = nanoseconds_to_seconds(heartbeat.time)
    stream = {
        "csc": settings.component,
        "salindex": settings.index,
        "lost": 0,
        "last_heartbeat_timestamp": now,
        "max_lost_heartbeats": MAX_LOST_HEARTBEATS,
    }
    data = {"csc": "Heartbeat", "salindex": 0, "data": {"stream": stream}}
    return {"category": "event", "producer_snd": now, "data": [data]}
