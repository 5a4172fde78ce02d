"""MQTT: the present state of each open alert, retained on a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Alert, Notification, NotificationKind
from catcher.model.errors import CatcherError
from catcher.model.time import SECOND, wall_clock
from catcher.ports import SinkError
from catcher.sinks.mqtt import MqttSink, MqttSinkSettings, build_alert_topic
from catcher.transport.mqtt.connection import MqttBrokerSettings
from catcher.transport.mqtt.publisher import MqttPublisher
from tests.alerting.builders import NIGHT, NONE, SERIOUS, WARNING, create_alert
from tests.servers import ServerProcess, require_program, run_mosquitto

pytestmark = pytest.mark.server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ServerProcess]:
    with run_mosquitto(tmp_path / "broker") as server:
        yield server


@pytest.fixture
async def sink(broker: ServerProcess) -> AsyncIterator[MqttSink]:
    async with MqttPublisher(
        "alerts", MqttBrokerSettings(host="127.0.0.1", port=broker.port), wall_clock
    ) as publisher:
        yield MqttSink(
            "broker", MqttSinkSettings(), publisher, create_message_composer(TemplateRenderer())
        )


def create_notification(alert: Alert, kind: NotificationKind = "opened") -> Notification:
    return Notification(
        f"{alert.id}-{kind}", "broker", kind, alert, alert.sequence, NIGHT, previous=NONE
    )


async def receive_messages(broker: ServerProcess, count: int, *options: str) -> list[str]:
    """What a newcomer hears first: `count` messages as `TOPIC PAYLOAD`, a line each."""
    command = [
        require_program("mosquitto_sub"), "-p", str(broker.port), "-t", "catcher/alerts/#", "-v",
        "-C", str(count), "-W", "20", *options,
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode().splitlines()


def parse_payload(line: str) -> Any:
    return json.loads(line.partition(" ")[2])


async def test_new_subscriber_sees_open_alerts(sink: MqttSink, broker: ServerProcess) -> None:
    alert = create_alert(SERIOUS, message="Wind is 16 m/s", links={"board": "http://board/a"})
    receipt = await sink.deliver(create_notification(alert))
    (line,) = await receive_messages(broker, 1)
    assert line.startswith(f"catcher/alerts/wind-high/{alert.id} ")
    assert receipt == {"topic": f"catcher/alerts/wind-high/{alert.id}"}
    body = parse_payload(line)
    assert (body["severity"], body["severity_name"], body["state"]) == (3, "SERIOUS", "firing")
    assert (body["headline"], body["message"]) == ("SERIOUS wind-high 301", "Wind is 16 m/s")
    assert (body["opened"], body["links"]) == ("2025-04-24T00:00:00Z", {"board": "http://board/a"})
    assert (body["notice"], body["change"]) == (f"{alert.id}-opened", "opened")


async def test_each_alert_has_a_topic_with_its_latest_state(
    sink: MqttSink, broker: ServerProcess
) -> None:
    body, other = create_alert(WARNING), create_alert(WARNING, key="302")
    await sink.deliver(create_notification(body))
    await sink.deliver(create_notification(other))
    await sink.deliver(create_notification(create_alert(SERIOUS), "raised"))
    states = {
        body["key"]: body["severity"]
        for body in map(parse_payload, await receive_messages(broker, 2))
    }
    assert states == {"301": 3, "302": 2}


async def test_resolved_alert_is_published_and_then_cleared(
    sink: MqttSink, broker: ServerProcess
) -> None:
    alert, other = create_alert(SERIOUS), create_alert(WARNING, key="302")
    await sink.deliver(create_notification(alert))
    await sink.deliver(create_notification(other))
    listener = asyncio.create_task(receive_messages(broker, 3, "-R"))
    resolved = replace(alert, state="resolved", severity=NONE, resolved=NIGHT)
    while not listener.done():
        # A subscriber that is there hears of the end, then that the topic is empty.
        await sink.deliver(create_notification(resolved, "resolved"))
    empty = f"{build_alert_topic('catcher/alerts', resolved)} (null)"
    lines = await listener
    resolved_line = lines[0] if lines[0] != empty else lines[1]
    assert parse_payload(resolved_line)["state"] == "resolved"
    assert lines[lines.index(resolved_line) + 1] == empty
    (remaining,) = await receive_messages(broker, 1)
    assert parse_payload(remaining)["key"] == "302", "a newcomer sees open alerts only"


async def test_unavailable_broker_is_a_failed_delivery(broker: ServerProcess) -> None:
    broker_settings = MqttBrokerSettings(host="127.0.0.1", port=broker.port)
    broker.stop()
    async with MqttPublisher(
        "alerts", broker_settings, wall_clock, timeout=SECOND // 10
    ) as publisher:
        sink = MqttSink(
            "broker", MqttSinkSettings(), publisher, create_message_composer(TemplateRenderer())
        )
        with pytest.raises(SinkError, match="MQTT broker"):
            await sink.deliver(create_notification(create_alert()))
        assert sink.health().state == "away"


async def test_event_text_is_plain_and_short(sink: MqttSink, broker: ServerProcess) -> None:
    hostile_text = "\x1b[31m{{ 7*7 }}\u202e\ud800" + "x" * 1_000_000
    await sink.deliver(
        create_notification(
            create_alert(key=hostile_text, message=hostile_text, reason=hostile_text)
        )
    )
    (line,) = await receive_messages(broker, 1)
    body = parse_payload(line)
    assert len(line) < 10_000
    assert "{{ 7*7 }}" in body["message"] and "\u202e" not in body["message"]


def test_a_topic_has_no_wild_cards() -> None:
    topic_name = build_alert_topic("observatory/alerts/", create_alert(rule="a/b+c#d"))
    assert topic_name.startswith("observatory/alerts/a_b_c_d/")


@pytest.mark.parametrize("prefix", ["", "/", "alerts/#", "+/alerts"])
def test_invalid_prefix_shows_an_example(prefix: str) -> None:
    with pytest.raises(CatcherError, match="write it like catcher/alerts"):
        MqttSinkSettings(prefix=prefix)
