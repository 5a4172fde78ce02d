"""Events from a real broker: nothing lost that it kept, and nothing broken by what it sends."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.time import MILLISECOND, SECOND, parse_instant, wall_clock
from catcher.ports import EventBatch
from catcher.sources.mqtt import (
    MqttBrokerSettings,
    MqttPublisher,
    MqttPublishError,
    MqttSource,
    MqttSourceSettings,
    TlsSettings,
)
from tests.servers import ServerProcess, publish_mqtt, require_program, run_mosquitto

pytestmark = pytest.mark.server
PERSISTENCE_CONFIG = "user root\npersistence true\nautosave_interval 1\npersistence_location {}/\n"
FAST_RETRY = {"retry_first": 10 * MILLISECOND, "retry_longest": 50 * MILLISECOND}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ServerProcess]:
    with run_mosquitto(tmp_path / "broker") as server:
        yield server


def create_source(server: ServerProcess, **settings: Any) -> MqttSource:
    settings = {
        "topics": {"sal/+/+": "lsst.sal.{1}.{2}"},
        "client_id": "test",
        **FAST_RETRY,
        **settings,
    }
    return MqttSource(
        "efd", MqttSourceSettings(host="127.0.0.1", port=server.port, **settings), wall_clock
    )


def create_publisher(server: ServerProcess, **settings: Any) -> MqttPublisher:
    settings = {**FAST_RETRY, **settings}
    return MqttPublisher(
        "alerts", MqttBrokerSettings(host="127.0.0.1", port=server.port, **settings), wall_clock
    )


async def poll_periodically() -> AsyncIterator[None]:
    """Health is a state and no event: it has to be looked at."""
    while True:
        yield
        await asyncio.sleep(0.005)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        async for _ in poll_periodically():
            if condition():
                return


async def wait_until_connected(source: MqttSource) -> None:
    await wait_until(lambda: source.health().state == "ok")


async def read_events(
    batches: AsyncIterator[EventBatch], count: int, acknowledge: bool = True
) -> list[Event]:
    """The next events, as many as are asked for, rejected messages among them not counted."""
    events: list[Event] = []
    async with asyncio.timeout(30):
        while len(events) < count:
            batch = await anext(batches)
            events += batch.events
            if acknowledge:
                await batch.acknowledge()
    return events


def list_speeds(events: list[Event]) -> list[Any]:
    return [event.fields["speed"] for event in events]


async def test_a_message_becomes_an_event_by_the_map_and_the_time_field(
    broker: ServerProcess,
) -> None:
    source = create_source(broker, time="private_sndStamp", scale="tai")
    async with source.open() as batches:
        await wait_until_connected(source)
        await publish_mqtt(
            broker.port, "sal/ESS/airFlow", '{"private_sndStamp": 1745452837, "speed": 7.5}'
        )
        batch = await anext(batches)
    event = batch.events[0]
    assert (event.topic, event.source) == ("lsst.sal.ESS.airFlow", "efd")
    assert event.time == parse_instant("2025-04-24T00:00:00Z")
    assert batch.durable
    assert source.health().state == "ended"


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_real_night_passes_through_the_broker_completely(
    broker: ServerProcess, shared_data: Path, protocol: str
) -> None:
    with gzip.open(shared_data / "efd-night-2023-07-28.jsonl.gz", "rt") as file:
        lines = file.read().splitlines()
    source = create_source(broker, topics={"night": "{topic}"}, protocol=protocol)
    async with source.open() as batches:
        await wait_until_connected(source)
        publish_task = asyncio.ensure_future(publish_mqtt(broker.port, "night", *lines))
        events = await read_events(batches, len(lines))
        await publish_task
    expected = [json.loads(line) for line in lines]
    assert Counter(item.topic for item in events) == Counter(item["topic"] for item in expected)
    assert [item.time for item in events] == [parse_instant(item["time"]) for item in expected]
    assert [item.fields for item in events] == [item["fields"] for item in expected]
    assert source.health().counts["rejected"] == 0


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_sent_while_disconnected_arrives_later(
    broker: ServerProcess, protocol: str, qos: int
) -> None:
    source = create_source(broker, qos=qos, protocol=protocol)
    async with source.open() as batches:
        await wait_until_connected(source)
        await publish_mqtt(broker.port, "sal/ESS/airFlow", '{"speed": 1}', qos=2)
        assert list_speeds(await read_events(batches, 1)) == [1]
    await publish_mqtt(broker.port, "sal/ESS/airFlow", '{"speed": 2}', '{"speed": 3}', qos=2)
    second_source = create_source(broker, qos=qos, protocol=protocol)
    async with second_source.open() as batches:
        assert list_speeds(await read_events(batches, 2)) == [2, 3]


@pytest.mark.parametrize("qos", [1, 2])
async def test_unacknowledged_messages_are_redelivered(broker: ServerProcess, qos: int) -> None:
    payloads = [f'{{"speed": {n}}}' for n in range(5)]
    source = create_source(broker, qos=qos)
    async with source.open() as batches:
        await wait_until_connected(source)
        await publish_mqtt(broker.port, "sal/ESS/airFlow", *payloads, qos=2)
        assert list_speeds(await read_events(batches, 5, acknowledge=False)) == [0, 1, 2, 3, 4]
    second_source = create_source(broker, qos=qos)
    async with second_source.open() as batches:
        assert list_speeds(await read_events(batches, 5)) == [0, 1, 2, 3, 4]
    # All is acknowledged now: what comes next is new.
    await publish_mqtt(broker.port, "sal/ESS/airFlow", '{"speed": 9}', qos=2)
    third_source = create_source(broker, qos=qos)
    async with third_source.open() as batches:
        assert list_speeds(await read_events(batches, 1)) == [9]


async def test_a_broker_that_restarts_is_reconnected_with_what_it_stored(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    with run_mosquitto(folder, PERSISTENCE_CONFIG.format(folder)) as server:
        source = create_source(server)
        async with source.open() as batches:
            await wait_until_connected(source)
            await publish_mqtt(server.port, "sal/ESS/airFlow", '{"speed": 1}')
            first = await anext(batches)
            server.stop()
            await wait_until(lambda: source.health().state == "away")
            assert f"127.0.0.1:{server.port}: " in source.health().problem
            # A receipt for a connection that is gone is no error.
            await first.acknowledge()
            server.start()
            await wait_until_connected(source)
            assert source.health().problem == ""
            await publish_mqtt(server.port, "sal/ESS/airFlow", '{"speed": 2}')
            assert set(list_speeds(await read_events(batches, 2))) == {1, 2}
            assert source.health().counts["connections"] == 2


async def test_a_broker_that_comes_up_later_is_found(broker: ServerProcess) -> None:
    broker.stop()
    source = create_source(broker)
    async with source.open() as batches:
        await wait_until(lambda: source.health().state == "away")
        assert "refused" in source.health().problem
        broker.start()
        await wait_until_connected(source)
        await publish_mqtt(broker.port, "sal/ESS/airFlow", '{"speed": 1}')
        assert list_speeds(await read_events(batches, 1)) == [1]


async def test_two_clients_with_one_name_disconnect_each_other_and_report_it(
    broker: ServerProcess,
) -> None:
    first, second = create_source(broker, protocol="5"), create_source(broker, protocol="5")
    async with first.open(), second.open():
        await wait_until(
            lambda: "same client_id?" in first.health().problem + second.health().problem
        )


async def test_retained_messages_arrive_unless_they_are_excluded(broker: ServerProcess) -> None:
    async with create_publisher(broker) as publisher:
        await publisher.publish("sal/A/state", b'{"speed": 1}', retain=True)
        await publisher.publish("sal/B/state", b'{"speed": 2}', retain=True)
        topics = {"sal/A/+": {"name": "a", "retained": False}, "sal/B/+": "b"}
        source = create_source(broker, topics=topics)
        async with source.open() as batches:
            assert list_speeds(await read_events(batches, 1)) == [2]
            await publisher.publish("sal/A/state", b'{"speed": 3}', retain=True)
            assert list_speeds(await read_events(batches, 1)) == [3]
        assert source.health().counts["skipped"] == 1


async def test_qos_0_is_not_durable(broker: ServerProcess) -> None:
    source = create_source(broker, topics={"sal/+/+": {"name": "{2}", "qos": 0}})
    async with source.open() as batches:
        await wait_until_connected(source)
        await publish_mqtt(broker.port, "sal/ESS/airFlow", '{"speed": 1}')
        assert not (await anext(batches)).durable


BAD_PAYLOADS = {
    b"": "it is empty",
    b"not json": "it is not JSON",
    b'{"speed": "\xff"}': "not UTF-8",
    b"[1, 2]": "a number is no sample",
    b'{"speed": 1}': "it has no field 't'",
    b'{"t": "yesterday"}': "is no time",
    b'{"t": 100000}': "is no time",
    b'{"t": 1e300}': "is no time",
    b"[" * 90_000: "levels deep",
    b'{"t": 1745452800, "a": "' + b"x" * 10_000_000 + b'"}': "larger than the 1000000",
}


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_bad_payloads_are_reported_and_disturb_nothing(
    broker: ServerProcess, protocol: str
) -> None:
    source = create_source(
        broker, time="t", protocol=protocol, topics={"sal/#": "{1}", "other/+": "catcher.{1}"}
    )
    rejected: list[str] = []
    events: list[Event] = []
    async with create_publisher(broker) as publisher, source.open() as batches:
        await wait_until_connected(source)
        for payload in BAD_PAYLOADS:
            await publisher.publish("sal/ESS/airFlow", payload)
        await publisher.publish("other/images", b'{"t": 1745452800}')
        await publisher.publish("sal/ESS/airFlow", b'{"t": 1745452800, "speed": NaN, "up": 1e999}')
        while not events:
            batch = await anext(batches)
            rejected += batch.rejected
            events += batch.events
            await batch.acknowledge()
    assert events[0].fields == {"t": 1745452800, "speed": None, "up": None}
    expected = [*BAD_PAYLOADS.values(), "are results"]
    assert len(rejected) >= len(expected)
    assert [
        message for message in expected if not any(message in rejection for rejection in rejected)
    ] == []
    assert source.health().counts["rejected"] == len(rejected)
    assert source.health().counts["unknown"] == 2
    assert source.health().counts["connections"] == 1


async def test_a_topic_that_no_longer_has_a_name_is_reported(broker: ServerProcess) -> None:
    async with create_source(broker).open():
        pass
    source = create_source(broker)
    async with source.open():
        await wait_until_connected(source)
    await publish_mqtt(broker.port, "sal/ESS/airFlow", '{"speed": 1}')
    renamed = create_source(broker, topics={"ess/+": "{1}"})
    async with renamed.open() as batches:
        batch = await anext(batches)
        await batch.acknowledge()
    assert batch.rejected == ["sal/ESS/airFlow: no entry of `topics` fits this MQTT topic"]


async def test_unread_messages_wait_at_the_broker_and_none_is_lost(broker: ServerProcess) -> None:
    source = create_source(broker)
    lines = [f'{{"speed": {n}}}' for n in range(20_000)]
    async with source.open() as batches:
        await wait_until_connected(source)
        publish_task = asyncio.ensure_future(
            publish_mqtt(broker.port, "sal/ESS/airFlow", *lines, qos=1)
        )
        await wait_until(lambda: source.health().counts["pauses"] > 0)
        assert source.health().counts["waiting"] < 20_000
        assert list_speeds(await read_events(batches, 20_000)) == list(range(20_000))
        await publish_task


async def test_mixed_streams_stay_in_order_and_are_durable_together(broker: ServerProcess) -> None:
    topics = {"sal/fast/+": {"name": "fast", "qos": 0}, "sal/sure/+": {"name": "sure", "qos": 1}}
    source = create_source(broker, topics=topics)
    async with create_publisher(broker) as publisher, source.open() as batches:
        await wait_until_connected(source)
        for n in range(300):
            topic = "sal/sure/x" if n % 100 == 99 else "sal/fast/x"
            await publisher.publish(topic, b'{"speed": %d}' % n)
        events: list[Event] = []
        while len(events) < 300:
            batch = await anext(batches)
            events += batch.events
            assert batch.durable or all(event.topic == "fast" for event in batch.events)
            await batch.acknowledge()
    assert list_speeds(events) == list(range(300))


async def test_a_subscription_that_is_not_granted_as_requested_is_a_problem(tmp_path: Path) -> None:
    with run_mosquitto(tmp_path / "broker", "max_qos 0\n") as server:
        source = create_source(server, protocol="5")
        async with source.open():
            await wait_until_connected(source)
            assert source.health().problem == "the broker grants 'sal/+/+' QoS 0 only, not 1"


async def test_a_password_is_required_and_never_shown(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    password_file = folder / "passwords"
    command = [
        require_program("mosquitto_passwd"),
        "-c",
        "-b",
        str(password_file),
        "catcher",
        "s3cret-word",
    ]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    access = f"user root\nallow_anonymous false\npassword_file {password_file}\n"
    with run_mosquitto(folder, access) as server:
        right = create_source(server, username="catcher", password="s3cret-word")
        wrong = create_source(server, username="catcher", password="wr0ng-word", client_id="other")
        async with right.open(), wrong.open():
            await wait_until_connected(right)
            await wait_until(lambda: wrong.health().state == "away")
            assert "uthori" in wrong.health().problem
            assert "wr0ng-word" not in wrong.health().problem
    assert "s3cret-word" not in repr(MqttBrokerSettings(password="s3cret-word"))


def create_certificates(folder: Path) -> None:
    """An authority `ca.pem` and a certificate of it for 127.0.0.1, with its key."""
    openssl = require_program("openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    commands = [
        [openssl, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
         "-subj", "/CN=Test CA"],
        [openssl, "req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=b"],
        [openssl, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
         "-CAcreateserial", "-days", "2", "-out", "server.pem", "-extfile", "names"],
    ]  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for command in commands:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


async def test_tls_with_an_authority_of_our_own(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    create_certificates(folder)
    access = "".join(
        f"{name} {folder / file}\n"
        for name, file in (
            ("cafile", "ca.pem"),
            ("certfile", "server.pem"),
            ("keyfile", "server.key"),
        )
    )
    lines = [f'{{"speed": {n}, "text": "{"x" * 200}"}}' for n in range(3000)]
    with run_mosquitto(folder, f"user root\nallow_anonymous true\n{access}") as server:
        tls = TlsSettings(ca=str(folder / "ca.pem"))
        source = create_source(server, tls=tls)
        untrusting = create_source(server, tls=TlsSettings(), client_id="strange")
        insecure = create_source(server, tls=TlsSettings(insecure=True), client_id="trusting")
        missing = create_source(
            server, tls=TlsSettings(ca=str(folder / "none.pem")), client_id="missing"
        )
        async with (
            create_publisher(server, tls=tls) as publisher,
            source.open() as batches,
            untrusting.open(),
            missing.open(),
            insecure.open(),
        ):
            await wait_until_connected(source)
            await wait_until_connected(insecure)
            await publisher.publish("sal/ESS/airFlow", f"[{','.join(lines)}]".encode())
            assert list_speeds(await read_events(batches, 3000)) == list(range(3000))
            await wait_until(lambda: untrusting.health().state == missing.health().state == "away")
            assert "CERTIFICATE_VERIFY_FAILED" in untrusting.health().problem
            assert "none.pem" in missing.health().problem


async def test_a_publisher_waits_for_the_broker_for_a_limited_time(broker: ServerProcess) -> None:
    publisher = MqttPublisher(
        "alerts",
        MqttBrokerSettings(host="127.0.0.1", port=broker.port, **FAST_RETRY),
        wall_clock,
        SECOND // 5,
    )
    async with publisher:
        await publisher.publish("catcher/alerts/1", b"{}", qos=2, retain=True)
        broker.stop()
        await wait_until(lambda: publisher.health().state == "away")
        with pytest.raises(MqttPublishError, match="refused"):
            await publisher.publish("catcher/alerts/1", b"{}")
        broker.start()
        await wait_until(lambda: publisher.health().state == "ok")
        await publisher.publish("catcher/alerts/1", b"{}")
        assert publisher.health().counts == {"published": 2, "failed": 1, "connections": 2}
    assert publisher.health().state == "ended"


async def test_closing_before_there_was_a_connection_is_harmless(broker: ServerProcess) -> None:
    source = create_source(broker)
    async with source.open():
        pass
    assert source.health().state == "ended"


async def publish_mqtt5(server: ServerProcess, topic: str, payload: str, *properties: str) -> None:
    command = [require_program("mosquitto_pub"), "-p", str(server.port), "-t", topic, "-m", payload]
    options = [
        argument
        for declaration in properties
        for argument in ("-D", "publish", *declaration.split(" "))
    ]
    process = await asyncio.create_subprocess_exec(*command, "-q", "1", "-V", "5", *options)
    assert await process.wait() == 0


async def test_user_properties_are_fields_where_configured(broker: ServerProcess) -> None:
    source = create_source(broker, protocol="5", user_properties={"origin": "sentBy"})
    async with source.open() as batches:
        await wait_until_connected(source)
        await publish_mqtt5(
            broker, "sal/ESS/airFlow", '{"speed": 7}', "user-property origin TMA",
            "user-property other x", "topic-alias 1", "content-type application/json",
        )  # fmt: skip
        (event,) = await read_events(batches, 1)
    assert event.fields == {"speed": 7, "sentBy": "TMA"}


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_sources_that_share_a_subscription_divide_its_messages(
    broker: ServerProcess, protocol: str
) -> None:
    topics = {"$share/night/sal/+/+": "lsst.sal.{1}.{2}"}
    sources = [
        create_source(broker, topics=topics, protocol=protocol, client_id=f"ear-{n}", session=0)
        for n in range(2)
    ]
    async with sources[0].open() as first_batches, sources[1].open() as second_batches:
        await asyncio.gather(*map(wait_until_connected, sources))
        payloads = [f'{{"speed": {n}}}' for n in range(20)]
        received: list[list[Event]] = [[], []]

        async def read_batches(index: int, batches: AsyncIterator[EventBatch]) -> None:
            async for batch in batches:
                received[index] += batch.events
                await batch.acknowledge()

        read_tasks = [
            asyncio.ensure_future(read_batches(n, batches))
            for n, batches in enumerate((first_batches, second_batches))
        ]
        await publish_mqtt(broker.port, "sal/ESS/airFlow", *payloads)
        await wait_until(lambda: len(received[0]) + len(received[1]) == 20)
        for task in read_tasks:
            task.cancel()
        await asyncio.wait(read_tasks)
    assert all(received)
    assert sorted(list_speeds([*received[0], *received[1]])) == list(range(20))


def test_user_properties_require_mqtt_5(broker: ServerProcess) -> None:
    with pytest.raises(CatcherError, match="came with MQTT 5"):
        create_source(broker, user_properties={"a": "b"})
