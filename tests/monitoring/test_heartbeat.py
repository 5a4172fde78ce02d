"""Heartbeats over a real broker, a real web server, and LOVE; and when none may leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import aiomqtt
import pytest

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.errors import CatcherError
from catcher.model.health import Health
from catcher.model.time import MILLISECOND, SECOND, nanoseconds_to_seconds, parse_instant
from catcher.monitoring import HeartbeatMessage, HeartbeatSender
from catcher.monitoring.heartbeat_targets import (
    HttpHeartbeatSettings,
    HttpHeartbeatTarget,
    LoveHeartbeatSettings,
    LoveHeartbeatTarget,
    MqttHeartbeatSettings,
    MqttHeartbeatTarget,
)
from catcher.ports import SinkError
from catcher.sinks.love import LoveSink
from catcher.sinks.love import LoveSinkSettings as SinkSettings
from catcher.transport.mqtt.publisher import MqttBrokerSettings, MqttPublisher
from tests.servers import find_free_port, run_mosquitto
from tests.sinks.love_server import PASSWORD, love_server

NIGHT = parse_instant("2025-04-24T00:00:00Z")
HEALTHY = HeartbeatMessage(NIGHT, "summit", "engine-1", "ok")
DEGRADED = replace(HEALTHY, state="degraded", problems=("source efd is away",))
STOPPED = replace(HEALTHY, state="stopped")


def get_fixed_time() -> int:
    return NIGHT


@dataclass
class RecordingTarget:
    """A way out that keeps what goes out."""

    heartbeats: list[HeartbeatMessage] = field(default_factory=list)
    received: asyncio.Event = field(default_factory=asyncio.Event)
    is_stuck: bool = False

    async def send_heartbeat(self, heartbeat: HeartbeatMessage) -> None:
        if self.is_stuck:
            await asyncio.Event().wait()
        self.heartbeats.append(heartbeat)
        self.received.set()

    def health(self) -> Health:
        return Health("noted", "heartbeat", "ok")

    async def wait_for_heartbeat(self) -> None:
        async with asyncio.timeout(30):
            await self.received.wait()
        self.received.clear()


# -- the heart ---------------------------------------------------------------------------------


async def test_heartbeats_are_sent_and_a_last_one_at_stop() -> None:
    target = RecordingTarget()
    async with HeartbeatSender(
        MILLISECOND, [target], lambda last: STOPPED if last else HEALTHY
    ) as sender:
        for _ in range(3):
            await target.wait_for_heartbeat()
    assert target.heartbeats[:3] == [HEALTHY] * 3
    assert target.heartbeats[-1] == STOPPED
    assert sender.withheld_count == 0


async def test_no_heartbeat_while_the_engine_loop_hangs() -> None:
    target, is_hung = RecordingTarget(), [True]
    polled = asyncio.Event()

    def get_heartbeat(last: bool) -> HeartbeatMessage | None:
        polled.set()
        return None if is_hung[0] else HEALTHY

    async with HeartbeatSender(MILLISECOND, [target], get_heartbeat) as sender:
        for _ in range(3):
            polled.clear()
            await polled.wait()
        assert target.heartbeats == []
        assert sender.withheld_count >= 3
        is_hung[0] = False
        await target.wait_for_heartbeat()
    assert target.heartbeats[0] == HEALTHY


async def test_stuck_target_delays_no_other() -> None:
    stuck, target = RecordingTarget(is_stuck=True), RecordingTarget()
    async with HeartbeatSender(
        MILLISECOND, [stuck, target], lambda last: None if last else HEALTHY
    ) as sender:
        await target.wait_for_heartbeat()
        await target.wait_for_heartbeat()
    assert [health.name for health in sender.health()] == ["noted", "noted"]
    assert stuck.heartbeats == []


async def test_no_last_heartbeat_after_a_failure() -> None:
    target = RecordingTarget()
    with pytest.raises(OSError, match="broken"):
        async with HeartbeatSender(SECOND, [target], lambda last: STOPPED if last else HEALTHY):
            await target.wait_for_heartbeat()
            raise OSError("broken")
    assert target.heartbeats == [HEALTHY]


# -- MQTT --------------------------------------------------------------------------------------


async def test_mqtt_heartbeat_is_a_retained_message(tmp_path: Path) -> None:
    with run_mosquitto(tmp_path) as server:
        broker = MqttBrokerSettings(port=server.port)
        async with MqttPublisher("beat", broker, get_fixed_time) as publisher:
            target = MqttHeartbeatTarget(
                publisher, "catcher/summit/heartbeat", 10 * SECOND, get_fixed_time
            )
            assert target.health().state == "starting"
            await target.send_heartbeat(DEGRADED)
            assert (target.health().state, target.health().counts) == (
                "ok",
                {"sent": 1, "failed": 0},
            )
        async with aiomqtt.Client("127.0.0.1", server.port) as client:
            await client.subscribe("catcher/summit/heartbeat")
            message = await anext(client.messages)
    assert message.retain
    assert json.loads(bytes(message.payload)) == {  # type: ignore[arg-type]
        "time": "2025-04-24T00:00:00Z", "site": "summit", "engine": "engine-1",
        "state": "degraded", "problems": 1, "words": ["source efd is away"], "every": 10.0,
    }  # fmt: skip


async def test_unavailable_broker_is_shown_in_the_targets_health() -> None:
    broker = MqttBrokerSettings(port=find_free_port())
    async with MqttPublisher("beat", broker, get_fixed_time, timeout=50 * MILLISECOND) as publisher:
        target = MqttHeartbeatTarget(publisher, "t", SECOND, get_fixed_time)
        await target.send_heartbeat(HEALTHY)
    assert target.health().state == "away"
    assert "MQTT broker localhost:" in target.health().problem


@pytest.mark.parametrize("topic", ["a/+/b", "#"])
def test_a_topic_that_nobody_can_publish_to_is_refused(topic: str) -> None:
    with pytest.raises(CatcherError, match="is no topic to publish to"):
        MqttHeartbeatSettings(topic=topic)


# -- HTTP --------------------------------------------------------------------------------------


@contextmanager
def http_server(status: int = 200) -> Iterator[tuple[str, Queue[tuple[str, str, Any]]]]:
    """A web server that takes any request; its address, and what it was asked."""
    requests: Queue[tuple[str, str, Any]] = Queue()

    class RecordingHandler(BaseHTTPRequestHandler):
        def record_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.put((self.command, self.path, json.loads(body) if body else None))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_HEAD = record_request

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), RecordingHandler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_http_heartbeat_gets_the_url_or_its_fail_url() -> None:
    with http_server() as (url, requests):
        target = HttpHeartbeatTarget(
            HttpHeartbeatSettings(url=f"{url}/ping/s3cret?rid=1"), get_fixed_time
        )
        for heartbeat in (HEALTHY, DEGRADED, STOPPED):
            await target.send_heartbeat(heartbeat)
    assert [requests.get_nowait() for _ in range(requests.qsize())] == [
        ("GET", "/ping/s3cret?rid=1", None),
        ("GET", "/ping/s3cret/fail?rid=1", None),
    ]
    assert target.health().counts == {"sent": 2, "failed": 0}


async def test_heartbeat_can_be_posted_and_skipped_when_degraded() -> None:
    with http_server() as (url, requests):
        target = HttpHeartbeatTarget(
            HttpHeartbeatSettings(url=url, method="POST", fail=False), get_fixed_time
        )
        for heartbeat in (HEALTHY, DEGRADED):
            await target.send_heartbeat(heartbeat)
    assert requests.get_nowait() == ("POST", "/", HEALTHY.to_json())
    assert requests.empty()


@pytest.mark.parametrize("status", [404, 500])
async def test_refusal_is_reported_without_the_secret_url(status: int) -> None:
    with http_server(status) as (url, _):
        target = HttpHeartbeatTarget(HttpHeartbeatSettings(url=f"{url}/s3cret"), get_fixed_time)
        await target.send_heartbeat(HEALTHY)
    assert (target.health().state, target.health().problem) == (
        "away",
        f"127.0.0.1 answered {status}",
    )
    assert "s3cret" not in repr(target.health()) + repr(HttpHeartbeatSettings(url=f"{url}/s3cret"))


async def test_unreachable_server_is_reported() -> None:
    target = HttpHeartbeatTarget(
        HttpHeartbeatSettings(url=f"http://127.0.0.1:{find_free_port()}/s3cret"), get_fixed_time
    )
    await target.send_heartbeat(HEALTHY)
    assert target.health().problem == "127.0.0.1: Connection refused"


@pytest.mark.parametrize("url", ["", "ping", "ftp://x/y", "file:///etc/passwd", "http://"])
def test_only_web_urls_are_allowed(url: str) -> None:
    with pytest.raises(CatcherError, match="no web address"):
        HttpHeartbeatSettings(url=url)


# -- LOVE --------------------------------------------------------------------------------------


async def test_love_sees_a_components_heartbeat() -> None:
    async with love_server() as love:
        settings = SinkSettings(url=love.url, password=PASSWORD, retry_first=MILLISECOND)
        async with LoveSink(
            "love", settings, create_message_composer(TemplateRenderer()), list, get_fixed_time
        ) as sink:
            await love.wait_until(lambda: bool(love.producers))
            target = LoveHeartbeatTarget(
                LoveHeartbeatSettings(sink="love"), sink.send_message, get_fixed_time
            )
            for heartbeat in (DEGRADED, HEALTHY, STOPPED):
                await target.send_heartbeat(heartbeat)
            await love.wait_until(lambda: len(love.heartbeats) == 2)
    now = nanoseconds_to_seconds(NIGHT)
    assert love.heartbeats[0] == {
        "csc": "Catcher", "salindex": 0, "lost": 0, "last_heartbeat_timestamp": now,
        "max_lost_heartbeats": 5,
    }  # fmt: skip
    assert love.alarms == {}
    assert target.health().counts == {"sent": 2, "failed": 0}


async def test_unavailable_love_is_reported() -> None:
    async def fail_to_send(message: object) -> None:
        raise SinkError("LOVE is not connected yet")

    target = LoveHeartbeatTarget(LoveHeartbeatSettings(sink="love"), fail_to_send, get_fixed_time)
    await target.send_heartbeat(HEALTHY)
    assert (target.health().state, target.health().problem) == ("away", "LOVE is not connected yet")
