"""MQTT: the present state of each open alert, retained on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.alerting import Renderer, composer
from catcher.model.alert import Alert, Notice, NoticeKind
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, wall_clock
from catcher.ports import SinkError
from catcher.sinks.mqtt import MqttSink, Settings, topic
from catcher.sources.mqtt_link import Broker
from catcher.sources.mqtt_publisher import Publisher
from tests.alerting.making import NIGHT, NONE, SERIOUS, WARNING, alert
from tests.servers import Server, mosquitto, require

pytestmark = pytest.mark.server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    with mosquitto(tmp_path / "broker") as server:
        yield server


@pytest.fixture
async def sink(broker: Server) -> AsyncIterator[MqttSink]:
    async with Publisher("alerts", Broker(host="127.0.0.1", port=broker.port), wall_clock) as way:
        yield MqttSink("broker", Settings(), way, composer(Renderer()))


def notice(one: Alert, kind: NoticeKind = "opened") -> Notice:
    return Notice(f"{one.id}-{kind}", "broker", kind, one, one.sequence, NIGHT, previous=NONE)


async def heard(broker: Server, count: int, *options: str) -> list[str]:
    """What a newcomer hears first: `count` messages as `TOPIC PAYLOAD`, a line each."""
    command = [
        require("mosquitto_sub"), "-p", str(broker.port), "-t", "catcher/alerts/#", "-v",
        "-C", str(count), "-W", "20", *options,
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode().splitlines()


def payload(line: str) -> Any:
    return json.loads(line.partition(" ")[2])


async def test_a_newcomer_sees_what_is_wrong_now(sink: MqttSink, broker: Server) -> None:
    one = alert(SERIOUS, message="Wind is 16 m/s", links={"board": "http://board/a"})
    receipt = await sink.deliver(notice(one))
    (line,) = await heard(broker, 1)
    assert line.startswith(f"catcher/alerts/wind-high/{one.id} ")
    assert receipt == {"topic": f"catcher/alerts/wind-high/{one.id}"}
    body = payload(line)
    assert (body["severity"], body["severity_name"], body["state"]) == (3, "SERIOUS", "firing")
    assert (body["headline"], body["message"]) == ("SERIOUS wind-high 301", "Wind is 16 m/s")
    assert (body["opened"], body["links"]) == ("2025-04-24T00:00:00Z", {"board": "http://board/a"})
    assert (body["notice"], body["change"]) == (f"{one.id}-opened", "opened")


async def test_each_alert_has_a_topic_with_its_latest_state(sink: MqttSink, broker: Server) -> None:
    one, other = alert(WARNING), alert(WARNING, key="302")
    await sink.deliver(notice(one))
    await sink.deliver(notice(other))
    await sink.deliver(notice(alert(SERIOUS), "raised"))
    states = {one["key"]: one["severity"] for one in map(payload, await heard(broker, 2))}
    assert states == {"301": 3, "302": 2}


async def test_a_resolved_alert_is_told_and_then_gone(sink: MqttSink, broker: Server) -> None:
    one, other = alert(SERIOUS), alert(WARNING, key="302")
    await sink.deliver(notice(one))
    await sink.deliver(notice(other))
    listening = asyncio.create_task(heard(broker, 3, "-R"))
    over = replace(one, state="resolved", severity=NONE, resolved=NIGHT)
    while not listening.done():
        # A subscriber that is there hears of the end, then that the topic is empty.
        await sink.deliver(notice(over, "resolved"))
    empty = f"{topic('catcher/alerts', over)} (null)"
    lines = await listening
    told = lines[0] if lines[0] != empty else lines[1]
    assert payload(told)["state"] == "resolved"
    assert lines[lines.index(told) + 1] == empty
    (left,) = await heard(broker, 1)
    assert payload(left)["key"] == "302", "a newcomer sees open alerts only"


async def test_a_broker_that_is_away_is_a_failed_delivery(broker: Server) -> None:
    address = Broker(host="127.0.0.1", port=broker.port)
    broker.stop()
    async with Publisher("alerts", address, wall_clock, patience=SECOND // 10) as way:
        sink = MqttSink("broker", Settings(), way, composer(Renderer()))
        with pytest.raises(SinkError, match="MQTT broker"):
            await sink.deliver(notice(alert()))
        assert sink.health().state == "away"


async def test_what_events_say_is_plain_and_short(sink: MqttSink, broker: Server) -> None:
    nasty = "\x1b[31m{{ 7*7 }}\u202e\ud800" + "x" * 1_000_000
    await sink.deliver(notice(alert(key=nasty, message=nasty, reason=nasty)))
    (line,) = await heard(broker, 1)
    body = payload(line)
    assert len(line) < 10_000
    assert "{{ 7*7 }}" in body["message"] and "\u202e" not in body["message"]


def test_a_topic_has_no_wild_cards() -> None:
    place = topic("observatory/alerts/", alert(rule="a/b+c#d"))
    assert place.startswith("observatory/alerts/a_b_c_d/")


@pytest.mark.parametrize("prefix", ["", "/", "alerts/#", "+/alerts"])
def test_a_prefix_that_is_none_says_what_is_right(prefix: str) -> None:
    with pytest.raises(CatcherError, match="write it like catcher/alerts"):
        Settings(prefix=prefix)
