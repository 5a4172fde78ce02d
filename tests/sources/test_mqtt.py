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

from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, SECOND, parse_instant, wall_clock
from catcher.ports import Delivery
from catcher.sources.mqtt import Broker, MqttSettings, MqttSource, NotPublished, Publisher, Tls
from tests.servers import Server, mosquitto, publish, require

pytestmark = pytest.mark.server
PERSISTENT = "user root\npersistence true\nautosave_interval 1\npersistence_location {}/\n"
QUICK = {"retry_first": 10 * MILLISECOND, "retry_longest": 50 * MILLISECOND}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    with mosquitto(tmp_path / "broker") as server:
        yield server


def source(server: Server, **settings: Any) -> MqttSource:
    settings = {"topics": {"sal/+/+": "lsst.sal.{1}.{2}"}, "client_id": "test", **QUICK, **settings}
    return MqttSource(
        "efd", MqttSettings(host="127.0.0.1", port=server.port, **settings), wall_clock
    )


def publisher(server: Server, **settings: Any) -> Publisher:
    settings = {**QUICK, **settings}
    return Publisher("alerts", Broker(host="127.0.0.1", port=server.port, **settings), wall_clock)


async def ticks() -> AsyncIterator[None]:
    """Health is a state and no event: it has to be looked at."""
    while True:
        yield
        await asyncio.sleep(0.005)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        async for _ in ticks():
            if condition():
                return


async def connected(heard: MqttSource) -> None:
    await until(lambda: heard.health().state == "ok")


async def take(deliveries: AsyncIterator[Delivery], count: int, done: bool = True) -> list[Event]:
    """The next events, as many as are asked for, rejected messages among them not counted."""
    events: list[Event] = []
    async with asyncio.timeout(30):
        while len(events) < count:
            delivery = await anext(deliveries)
            events += delivery.events
            if done:
                await delivery.done()
    return events


def speeds(events: list[Event]) -> list[Any]:
    return [event.fields["speed"] for event in events]


async def test_a_message_becomes_an_event_by_the_map_and_the_time_field(broker: Server) -> None:
    heard = source(broker, time="private_sndStamp", scale="tai")
    async with heard.open() as deliveries:
        await connected(heard)
        await publish(
            broker.port, "sal/ESS/airFlow", '{"private_sndStamp": 1745452837, "speed": 7.5}'
        )
        delivery = await anext(deliveries)
    event = delivery.events[0]
    assert (event.topic, event.source) == ("lsst.sal.ESS.airFlow", "efd")
    assert event.time == parse_instant("2025-04-24T00:00:00Z")
    assert delivery.durable
    assert heard.health().state == "ended"


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_a_real_night_passes_through_the_broker_whole(
    broker: Server, shared_data: Path, protocol: str
) -> None:
    with gzip.open(shared_data / "efd-night-2023-07-28.jsonl.gz", "rt") as file:
        lines = file.read().splitlines()
    heard = source(broker, topics={"night": "{topic}"}, protocol=protocol)
    async with heard.open() as deliveries:
        await connected(heard)
        sending = asyncio.ensure_future(publish(broker.port, "night", *lines))
        events = await take(deliveries, len(lines))
        await sending
    expected = [json.loads(line) for line in lines]
    assert Counter(one.topic for one in events) == Counter(one["topic"] for one in expected)
    assert [one.time for one in events] == [parse_instant(one["time"]) for one in expected]
    assert [one.fields for one in events] == [one["fields"] for one in expected]
    assert heard.health().counts["rejected"] == 0


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_sent_while_we_are_away_arrives_later(
    broker: Server, protocol: str, qos: int
) -> None:
    heard = source(broker, qos=qos, protocol=protocol)
    async with heard.open() as deliveries:
        await connected(heard)
        await publish(broker.port, "sal/ESS/airFlow", '{"speed": 1}', qos=2)
        assert speeds(await take(deliveries, 1)) == [1]
    await publish(broker.port, "sal/ESS/airFlow", '{"speed": 2}', '{"speed": 3}', qos=2)
    again = source(broker, qos=qos, protocol=protocol)
    async with again.open() as deliveries:
        assert speeds(await take(deliveries, 2)) == [2, 3]


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_not_acknowledged_comes_again(broker: Server, qos: int) -> None:
    payloads = [f'{{"speed": {n}}}' for n in range(5)]
    heard = source(broker, qos=qos)
    async with heard.open() as deliveries:
        await connected(heard)
        await publish(broker.port, "sal/ESS/airFlow", *payloads, qos=2)
        assert speeds(await take(deliveries, 5, done=False)) == [0, 1, 2, 3, 4]
    again = source(broker, qos=qos)
    async with again.open() as deliveries:
        assert speeds(await take(deliveries, 5)) == [0, 1, 2, 3, 4]
    # All is acknowledged now: what comes next is new.
    await publish(broker.port, "sal/ESS/airFlow", '{"speed": 9}', qos=2)
    last = source(broker, qos=qos)
    async with last.open() as deliveries:
        assert speeds(await take(deliveries, 1)) == [9]


async def test_a_broker_that_restarts_is_found_again_with_what_it_kept(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    with mosquitto(folder, PERSISTENT.format(folder)) as server:
        heard = source(server)
        async with heard.open() as deliveries:
            await connected(heard)
            await publish(server.port, "sal/ESS/airFlow", '{"speed": 1}')
            first = await anext(deliveries)
            server.stop()
            await until(lambda: heard.health().state == "away")
            assert f"127.0.0.1:{server.port}: " in heard.health().problem
            # A receipt for a connection that is gone is no error.
            await first.done()
            server.start()
            await connected(heard)
            assert heard.health().problem == ""
            await publish(server.port, "sal/ESS/airFlow", '{"speed": 2}')
            assert set(speeds(await take(deliveries, 2))) == {1, 2}
            assert heard.health().counts["connections"] == 2


async def test_a_broker_that_comes_up_later_is_found(broker: Server) -> None:
    broker.stop()
    heard = source(broker)
    async with heard.open() as deliveries:
        await until(lambda: heard.health().state == "away")
        assert "refused" in heard.health().problem
        broker.start()
        await connected(heard)
        await publish(broker.port, "sal/ESS/airFlow", '{"speed": 1}')
        assert speeds(await take(deliveries, 1)) == [1]


async def test_two_with_one_name_throw_each_other_out_and_say_so(broker: Server) -> None:
    one, two = source(broker, protocol="5"), source(broker, protocol="5")
    async with one.open(), two.open():
        await until(lambda: "same client_id?" in one.health().problem + two.health().problem)


async def test_retained_messages_arrive_unless_they_are_not_wanted(broker: Server) -> None:
    async with publisher(broker) as speaker:
        await speaker.publish("sal/A/state", b'{"speed": 1}', retain=True)
        await speaker.publish("sal/B/state", b'{"speed": 2}', retain=True)
        topics = {"sal/A/+": {"name": "a", "retained": False}, "sal/B/+": "b"}
        heard = source(broker, topics=topics)
        async with heard.open() as deliveries:
            assert speeds(await take(deliveries, 1)) == [2]
            await speaker.publish("sal/A/state", b'{"speed": 3}', retain=True)
            assert speeds(await take(deliveries, 1)) == [3]
        assert heard.health().counts["skipped"] == 1


async def test_qos_0_is_not_durable(broker: Server) -> None:
    heard = source(broker, topics={"sal/+/+": {"name": "{2}", "qos": 0}})
    async with heard.open() as deliveries:
        await connected(heard)
        await publish(broker.port, "sal/ESS/airFlow", '{"speed": 1}')
        assert not (await anext(deliveries)).durable


BAD = {
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
async def test_bad_payloads_are_told_and_disturb_nothing(broker: Server, protocol: str) -> None:
    heard = source(
        broker, time="t", protocol=protocol, topics={"sal/#": "{1}", "other/+": "catcher.{1}"}
    )
    rejected: list[str] = []
    events: list[Event] = []
    async with publisher(broker) as speaker, heard.open() as deliveries:
        await connected(heard)
        for payload in BAD:
            await speaker.publish("sal/ESS/airFlow", payload)
        await speaker.publish("other/images", b'{"t": 1745452800}')
        await speaker.publish("sal/ESS/airFlow", b'{"t": 1745452800, "speed": NaN, "up": 1e999}')
        while not events:
            delivery = await anext(deliveries)
            rejected += delivery.rejected
            events += delivery.events
            await delivery.done()
    assert events[0].fields == {"t": 1745452800, "speed": None, "up": None}
    wanted = [*BAD.values(), "are results"]
    assert len(rejected) >= len(wanted)
    assert [words for words in wanted if not any(words in one for one in rejected)] == []
    assert heard.health().counts["rejected"] == len(rejected)
    assert heard.health().counts["unknown"] == 2
    assert heard.health().counts["connections"] == 1


async def test_a_topic_that_no_longer_has_a_name_is_told(broker: Server) -> None:
    async with source(broker).open():
        pass
    heard = source(broker)
    async with heard.open():
        await connected(heard)
    await publish(broker.port, "sal/ESS/airFlow", '{"speed": 1}')
    renamed = source(broker, topics={"ess/+": "{1}"})
    async with renamed.open() as deliveries:
        delivery = await anext(deliveries)
        await delivery.done()
    assert delivery.rejected == ["sal/ESS/airFlow: no entry of `topics` fits this MQTT topic"]


async def test_what_is_not_yet_pulled_waits_at_the_broker_and_none_is_lost(broker: Server) -> None:
    heard = source(broker)
    lines = [f'{{"speed": {n}}}' for n in range(20_000)]
    async with heard.open() as deliveries:
        await connected(heard)
        sending = asyncio.ensure_future(publish(broker.port, "sal/ESS/airFlow", *lines, qos=1))
        await until(lambda: heard.health().counts["pauses"] > 0)
        assert heard.health().counts["waiting"] < 20_000
        assert speeds(await take(deliveries, 20_000)) == list(range(20_000))
        await sending


async def test_mixed_streams_stay_in_order_and_are_durable_together(broker: Server) -> None:
    topics = {"sal/fast/+": {"name": "fast", "qos": 0}, "sal/sure/+": {"name": "sure", "qos": 1}}
    heard = source(broker, topics=topics)
    async with publisher(broker) as speaker, heard.open() as deliveries:
        await connected(heard)
        for n in range(300):
            topic = "sal/sure/x" if n % 100 == 99 else "sal/fast/x"
            await speaker.publish(topic, b'{"speed": %d}' % n)
        events: list[Event] = []
        while len(events) < 300:
            delivery = await anext(deliveries)
            events += delivery.events
            assert delivery.durable or all(event.topic == "fast" for event in delivery.events)
            await delivery.done()
    assert speeds(events) == list(range(300))


async def test_a_subscription_that_is_not_granted_as_asked_is_a_problem(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker", "max_qos 0\n") as server:
        heard = source(server, protocol="5")
        async with heard.open():
            await connected(heard)
            assert heard.health().problem == "the broker grants 'sal/+/+' QoS 0 only, not 1"


async def test_a_password_is_asked_for_and_never_shown(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    passwords = folder / "passwords"
    command = [require("mosquitto_passwd"), "-c", "-b", str(passwords), "catcher", "s3cret-word"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    access = f"user root\nallow_anonymous false\npassword_file {passwords}\n"
    with mosquitto(folder, access) as server:
        right = source(server, username="catcher", password="s3cret-word")
        wrong = source(server, username="catcher", password="wr0ng-word", client_id="other")
        async with right.open(), wrong.open():
            await connected(right)
            await until(lambda: wrong.health().state == "away")
            assert "uthori" in wrong.health().problem
            assert "wr0ng-word" not in wrong.health().problem
    assert "s3cret-word" not in repr(Broker(password="s3cret-word"))


def certificates(folder: Path) -> None:
    """An authority `ca.pem` and a certificate of it for 127.0.0.1, with its key."""
    openssl = require("openssl")
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
    certificates(folder)
    access = "".join(
        f"{name} {folder / file}\n"
        for name, file in (
            ("cafile", "ca.pem"),
            ("certfile", "server.pem"),
            ("keyfile", "server.key"),
        )
    )
    lines = [f'{{"speed": {n}, "text": "{"x" * 200}"}}' for n in range(3000)]
    with mosquitto(folder, f"user root\nallow_anonymous true\n{access}") as server:
        tls = Tls(ca=str(folder / "ca.pem"))
        heard = source(server, tls=tls)
        strange = source(server, tls=Tls(), client_id="strange")
        trusting = source(server, tls=Tls(insecure=True), client_id="trusting")
        missing = source(server, tls=Tls(ca=str(folder / "none.pem")), client_id="missing")
        async with (
            publisher(server, tls=tls) as speaker,
            heard.open() as deliveries,
            strange.open(),
            missing.open(),
            trusting.open(),
        ):
            await connected(heard)
            await connected(trusting)
            await speaker.publish("sal/ESS/airFlow", f"[{','.join(lines)}]".encode())
            assert speeds(await take(deliveries, 3000)) == list(range(3000))
            await until(lambda: strange.health().state == missing.health().state == "away")
            assert "CERTIFICATE_VERIFY_FAILED" in strange.health().problem
            assert "none.pem" in missing.health().problem


async def test_a_publisher_waits_for_the_broker_but_not_for_ever(broker: Server) -> None:
    speaker = Publisher(
        "alerts", Broker(host="127.0.0.1", port=broker.port, **QUICK), wall_clock, SECOND // 5
    )
    async with speaker:
        await speaker.publish("catcher/alerts/1", b"{}", qos=2, retain=True)
        broker.stop()
        await until(lambda: speaker.health().state == "away")
        with pytest.raises(NotPublished, match="refused"):
            await speaker.publish("catcher/alerts/1", b"{}")
        broker.start()
        await until(lambda: speaker.health().state == "ok")
        await speaker.publish("catcher/alerts/1", b"{}")
        assert speaker.health().counts == {"published": 2, "failed": 1, "connections": 2}
    assert speaker.health().state == "ended"


async def test_leaving_before_there_was_a_connection_is_no_trouble(broker: Server) -> None:
    heard = source(broker)
    async with heard.open():
        pass
    assert heard.health().state == "ended"


async def publish_5(server: Server, topic: str, payload: str, *properties: str) -> None:
    command = [require("mosquitto_pub"), "-p", str(server.port), "-t", topic, "-m", payload]
    options = [word for one in properties for word in ("-D", "publish", *one.split(" "))]
    sent = await asyncio.create_subprocess_exec(*command, "-q", "1", "-V", "5", *options)
    assert await sent.wait() == 0


async def test_user_properties_are_fields_where_they_are_wanted(broker: Server) -> None:
    heard = source(broker, protocol="5", user_properties={"origin": "sentBy"})
    async with heard.open() as deliveries:
        await connected(heard)
        await publish_5(
            broker, "sal/ESS/airFlow", '{"speed": 7}', "user-property origin TMA",
            "user-property other x", "topic-alias 1", "content-type application/json",
        )  # fmt: skip
        (event,) = await take(deliveries, 1)
    assert event.fields == {"speed": 7, "sentBy": "TMA"}


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
async def test_sources_that_share_a_subscription_divide_its_messages(
    broker: Server, protocol: str
) -> None:
    topics = {"$share/night/sal/+/+": "lsst.sal.{1}.{2}"}
    ears = [
        source(broker, topics=topics, protocol=protocol, client_id=f"ear-{n}", session=0)
        for n in range(2)
    ]
    async with ears[0].open() as one, ears[1].open() as other:
        await asyncio.gather(*map(connected, ears))
        payloads = [f'{{"speed": {n}}}' for n in range(20)]
        heard: list[list[Event]] = [[], []]

        async def hear(place: int, deliveries: AsyncIterator[Delivery]) -> None:
            async for delivery in deliveries:
                heard[place] += delivery.events
                await delivery.done()

        hearing = [asyncio.ensure_future(hear(n, ear)) for n, ear in enumerate((one, other))]
        await publish(broker.port, "sal/ESS/airFlow", *payloads)
        await until(lambda: len(heard[0]) + len(heard[1]) == 20)
        for task in hearing:
            task.cancel()
        await asyncio.wait(hearing)
    assert all(heard)
    assert sorted(speeds([*heard[0], *heard[1]])) == list(range(20))


def test_user_properties_want_mqtt_5(broker: Server) -> None:
    with pytest.raises(CatcherError, match="came with MQTT 5"):
        source(broker, user_properties={"a": "b"})
