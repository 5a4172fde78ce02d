"""The ways out of a heartbeat: an MQTT broker, a web address, LOVE.

    # catcher.yaml
    heartbeat:
      every: 10s
      mqtt: {host: broker.example, topic: catcher/cerro-pachon/heartbeat}
      http: {url: "https://hc-ping.com/${PING_KEY}"}
      love: {sink: love}

MQTT: each beat as JSON, retained, and a last will `{"state": "offline", ...}` that the broker
publishes when the engine vanishes. HTTP, in the form of healthchecks.io: a request to the
address for each beat, to the address with `/fail` while the engine is degraded. LOVE: the form in
which LOVE-producer tells of the heartbeat of a component (an event of the pseudo component
`Heartbeat`), through the connection of a sink.
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

from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, Clock, Instant, Span, to_seconds
from catcher.ports import SinkError
from catcher.vitals.heartbeat import Beat

MOST_LOST = 5
"""Lost beats after which LOVE shows a component as gone, as LOVE-producer says of every one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
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
class HttpSettings:
    """The address that is asked at each beat, `timeout` for one answer.

    With `fail` a degraded engine asks for the address with `/fail`; else it keeps silent.
    """

    url: str = field(repr=False)
    method: Literal["GET", "POST", "HEAD"] = "GET"
    fail: bool = True
    timeout: Span = 5 * SECOND

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CatcherError("the heartbeat's url is no web address", "write it like https://…")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoveSettings:
    """Which sink's connection to LOVE to use, and as what component LOVE is to show us."""

    sink: str
    component: str = "Catcher"
    index: int = 0


class _Way:
    """What all outlets have: the health of the last beat that was to go out."""

    kind = ""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"sent": 0, "failed": 0}

    def health(self) -> Health:
        """`away` after a beat that did not get out."""
        return Health(
            self.kind, "heartbeat", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    def _sent(self) -> None:
        self._last = self._clock()
        self._counts["sent"] += 1
        self._become("ok", "")

    def _failed(self, words: str) -> None:
        self._counts["failed"] += 1
        self._become("away", words)

    def _become(self, state: HealthState, problem: str) -> None:
        if state != self._state:
            self._since = self._clock()
        self._state, self._problem = state, problem


class Publisher(Protocol):
    """A connection to a broker, kept up by itself."""

    async def publish(
        self, topic: str, payload: bytes, qos: Literal[0, 1, 2] = 1, retain: bool = False
    ) -> None:
        """Returns when the broker has the message; OSError where it has not."""
        ...


def will(site: str, engine: str) -> bytes:
    """What the broker says when the engine vanishes without a word."""
    return json.dumps({"site": site, "engine": engine, "state": "offline"}).encode()


class MqttOutlet(_Way):
    """Beats as retained messages; the will is the publisher's."""

    kind = "mqtt"

    def __init__(self, publisher: Publisher, topic: str, every: Span, clock: Clock) -> None:
        super().__init__(clock)
        self._publisher, self._topic, self._every = publisher, topic, every

    async def beat(self, beat: Beat) -> None:
        """Publishes it; `every` tells readers when to expect the next."""
        row = {**beat.row(), "every": to_seconds(self._every)}
        try:
            await self._publisher.publish(self._topic, json.dumps(row).encode(), 1, True)
        except (OSError, ValueError) as error:
            self._failed(str(error))
        else:
            self._sent()


class HttpOutlet(_Way):
    """Beats as requests. The address is a secret: nothing here shows more than its host."""

    kind = "http"

    def __init__(self, settings: HttpSettings, clock: Clock) -> None:
        super().__init__(clock)
        self._settings = settings
        self._host = urlsplit(settings.url).hostname or ""

    async def beat(self, beat: Beat) -> None:
        """One request, in a thread."""
        if beat.parting or (beat.state != "ok" and not self._settings.fail):
            return
        try:
            await asyncio.to_thread(self._ask, beat)
        except urllib.error.HTTPError as error:
            self._failed(f"{self._host} answered {error.code}")
            error.close()
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            words = getattr(reason, "strerror", None) or type(reason).__name__
            self._failed(f"{self._host}: {words}")
        else:
            self._sent()

    def _ask(self, beat: Beat) -> None:
        settings = self._settings
        body = json.dumps(beat.row()).encode() if settings.method == "POST" else None
        address = settings.url if beat.state == "ok" else _failing(settings.url)
        request = urllib.request.Request(
            address, data=body, method=settings.method, headers={"User-Agent": "catcher"}
        )
        if body is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=to_seconds(settings.timeout)):
            return


def _failing(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/fail"))


class LoveOutlet(_Way):
    """Beats as LOVE-producer tells of a component's; `say` sends a message to LOVE."""

    kind = "love"

    def __init__(
        self, settings: LoveSettings, say: Callable[[Mapping[str, Any]], Awaitable[None]],
        clock: Clock,
    ) -> None:  # fmt: skip
        super().__init__(clock)
        self._settings, self._say = settings, say

    async def beat(self, beat: Beat) -> None:
        """Sends it; none in parting, so that LOVE sees us go."""
        if beat.parting:
            return
        try:
            await self._say(love_message(beat, self._settings))
        except SinkError as error:
            self._failed(str(error))
        else:
            self._sent()


def love_message(beat: Beat, settings: LoveSettings) -> dict[str, Any]:
    """An event of `Heartbeat` (LOVE-producer, love_producer_csc.py: _get_heartbeat_message).

    Times are seconds since the epoch UTC, as there.
    """
    now = to_seconds(beat.time)
    stream = {
        "csc": settings.component,
        "salindex": settings.index,
        "lost": 0,
        "last_heartbeat_timestamp": now,
        "max_lost_heartbeats": MOST_LOST,
    }
    data = {"csc": "Heartbeat", "salindex": 0, "data": {"stream": stream}}
    return {"category": "event", "producer_snd": now, "data": [data]}
