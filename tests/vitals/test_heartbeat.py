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

from catcher.alerting import Renderer, composer
from catcher.model.health import Health
from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, SECOND, parse_instant, to_seconds
from catcher.ports import SinkError
from catcher.sinks.love import LoveSink
from catcher.sinks.love import Settings as Love
from catcher.sources.mqtt_publisher import Broker, Publisher
from catcher.vitals import Beat, Heart
from catcher.vitals.outlets import (
    HttpOutlet,
    HttpSettings,
    LoveOutlet,
    LoveSettings,
    MqttOutlet,
    MqttSettings,
)
from tests.servers import free_port, mosquitto
from tests.sinks.love_server import PASSWORD, love_server

NIGHT = parse_instant("2025-04-24T00:00:00Z")
GOOD = Beat(NIGHT, "summit", "engine-1", "ok")
BAD = replace(GOOD, state="degraded", problems=("source efd is away",))
STOPPED = replace(GOOD, state="stopped")


def clock() -> int:
    return NIGHT


@dataclass
class Noted:
    """A way out that keeps what goes out."""

    beats: list[Beat] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    stuck: bool = False

    async def beat(self, beat: Beat) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        self.beats.append(beat)
        self.arrived.set()

    def health(self) -> Health:
        return Health("noted", "heartbeat", "ok")

    async def next(self) -> None:
        async with asyncio.timeout(30):
            await self.arrived.wait()
        self.arrived.clear()


# -- the heart ---------------------------------------------------------------------------------


async def test_beats_go_out_one_after_the_other_and_a_last_one_says_goodbye() -> None:
    way = Noted()
    async with Heart(MILLISECOND, [way], lambda last: STOPPED if last else GOOD) as heart:
        for _ in range(3):
            await way.next()
    assert way.beats[:3] == [GOOD] * 3
    assert way.beats[-1] == STOPPED
    assert heart.withheld == 0


async def test_no_beat_leaves_while_the_engines_loop_does_not_turn() -> None:
    way, hung = Noted(), [True]
    looked = asyncio.Event()

    def look(last: bool) -> Beat | None:
        looked.set()
        return None if hung[0] else GOOD

    async with Heart(MILLISECOND, [way], look) as heart:
        for _ in range(3):
            looked.clear()
            await looked.wait()
        assert way.beats == []
        assert heart.withheld >= 3
        hung[0] = False
        await way.next()
    assert way.beats[0] == GOOD


async def test_a_way_that_is_stuck_holds_up_no_other() -> None:
    stuck, way = Noted(stuck=True), Noted()
    async with Heart(MILLISECOND, [stuck, way], lambda last: None if last else GOOD) as heart:
        await way.next()
        await way.next()
    assert [one.name for one in heart.health()] == ["noted", "noted"]
    assert stuck.beats == []


async def test_after_a_failure_nobody_says_goodbye() -> None:
    way = Noted()
    with pytest.raises(OSError, match="broken"):
        async with Heart(SECOND, [way], lambda last: STOPPED if last else GOOD):
            await way.next()
            raise OSError("broken")
    assert way.beats == [GOOD]


# -- MQTT --------------------------------------------------------------------------------------


async def test_a_beat_is_a_retained_message(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as server:
        broker = Broker(port=server.port)
        async with Publisher("beat", broker, clock) as publisher:
            way = MqttOutlet(publisher, "catcher/summit/heartbeat", 10 * SECOND, clock)
            assert way.health().state == "starting"
            await way.beat(BAD)
            assert (way.health().state, way.health().counts) == ("ok", {"sent": 1, "failed": 0})
        async with aiomqtt.Client("127.0.0.1", server.port) as client:
            await client.subscribe("catcher/summit/heartbeat")
            message = await anext(client.messages)
    assert message.retain
    assert json.loads(bytes(message.payload)) == {  # type: ignore[arg-type]
        "time": "2025-04-24T00:00:00Z", "site": "summit", "engine": "engine-1",
        "state": "degraded", "problems": 1, "words": ["source efd is away"], "every": 10.0,
    }  # fmt: skip


async def test_a_broker_that_is_away_is_told_in_the_outlets_health() -> None:
    broker = Broker(port=free_port())
    async with Publisher("beat", broker, clock, patience=50 * MILLISECOND) as publisher:
        way = MqttOutlet(publisher, "t", SECOND, clock)
        await way.beat(GOOD)
    assert way.health().state == "away"
    assert "MQTT broker localhost:" in way.health().problem


@pytest.mark.parametrize("topic", ["a/+/b", "#"])
def test_a_topic_that_nobody_can_publish_to_is_refused(topic: str) -> None:
    with pytest.raises(CatcherError, match="is no topic to publish to"):
        MqttSettings(topic=topic)


# -- HTTP --------------------------------------------------------------------------------------


@contextmanager
def web(status: int = 200) -> Iterator[tuple[str, Queue[tuple[str, str, Any]]]]:
    """A web server that takes any request; its address, and what it was asked."""
    asked: Queue[tuple[str, str, Any]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.put((self.command, self.path, json.loads(body) if body else None))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_HEAD = answer

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_beat_asks_for_the_address_and_a_degraded_one_for_its_failure() -> None:
    with web() as (url, asked):
        way = HttpOutlet(HttpSettings(url=f"{url}/ping/s3cret?rid=1"), clock)
        for beat in (GOOD, BAD, STOPPED):
            await way.beat(beat)
    assert [asked.get_nowait() for _ in range(asked.qsize())] == [
        ("GET", "/ping/s3cret?rid=1", None),
        ("GET", "/ping/s3cret/fail?rid=1", None),
    ]
    assert way.health().counts == {"sent": 2, "failed": 0}


async def test_a_beat_can_be_posted_and_a_degraded_engine_can_keep_silent() -> None:
    with web() as (url, asked):
        way = HttpOutlet(HttpSettings(url=url, method="POST", fail=False), clock)
        for beat in (GOOD, BAD):
            await way.beat(beat)
    assert asked.get_nowait() == ("POST", "/", GOOD.row())
    assert asked.empty()


@pytest.mark.parametrize("status", [404, 500])
async def test_a_refusal_is_told_without_the_address_which_is_a_secret(status: int) -> None:
    with web(status) as (url, _):
        way = HttpOutlet(HttpSettings(url=f"{url}/s3cret"), clock)
        await way.beat(GOOD)
    assert (way.health().state, way.health().problem) == ("away", f"127.0.0.1 answered {status}")
    assert "s3cret" not in repr(way.health()) + repr(HttpSettings(url=f"{url}/s3cret"))


async def test_a_server_that_is_not_there_is_told() -> None:
    way = HttpOutlet(HttpSettings(url=f"http://127.0.0.1:{free_port()}/s3cret"), clock)
    await way.beat(GOOD)
    assert way.health().problem == "127.0.0.1: Connection refused"


@pytest.mark.parametrize("url", ["", "ping", "ftp://x/y", "file:///etc/passwd", "http://"])
def test_only_web_addresses_are_asked(url: str) -> None:
    with pytest.raises(CatcherError, match="no web address"):
        HttpSettings(url=url)


# -- LOVE --------------------------------------------------------------------------------------


async def test_love_sees_a_components_heartbeat() -> None:
    async with love_server() as love:
        settings = Love(url=love.url, password=PASSWORD, retry_first=MILLISECOND)
        async with LoveSink("love", settings, composer(Renderer()), list, clock) as sink:
            await love.until(lambda: bool(love.producers))
            way = LoveOutlet(LoveSettings(sink="love"), sink.say, clock)
            for beat in (BAD, GOOD, STOPPED):
                await way.beat(beat)
            await love.until(lambda: len(love.heartbeats) == 2)
    now = to_seconds(NIGHT)
    assert love.heartbeats[0] == {
        "csc": "Catcher", "salindex": 0, "lost": 0, "last_heartbeat_timestamp": now,
        "max_lost_heartbeats": 5,
    }  # fmt: skip
    assert love.alarms == {}
    assert way.health().counts == {"sent": 2, "failed": 0}


async def test_love_being_away_is_told() -> None:
    async def say(message: object) -> None:
        raise SinkError("LOVE is not connected yet")

    way = LoveOutlet(LoveSettings(sink="love"), say, clock)
    await way.beat(GOOD)
    assert (way.health().state, way.health().problem) == ("away", "LOVE is not connected yet")
