"""Events from a Kafka cluster: by schema or as JSON, committed once they are kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from catcher.model.problem import CatcherError
from catcher.model.time import MILLISECOND, SECOND, parse_instant, wall_clock
from catcher.ports import Delivery
from catcher.sources.kafka import KafkaSettings, KafkaSource
from catcher.sources.kafka_batches import parted
from catcher.sources.kafka_broker import Cluster, Sasl
from catcher.sources.kafka_link import Message
from catcher.sources.kafka_offsets import Offsets
from catcher.sources.tls import Tls
from catcher.sources.topic_patterns import TopicPatterns
from tests.kafka_servers import Kafka, Registry, encoded, kafka, record, registry

QUICK = {"retry_first": 10 * MILLISECOND, "retry_longest": 100 * MILLISECOND}
WIND = record("wind", ("sent", "double"), ("speed", "double", {"units": "m/s"}))


@pytest.fixture(scope="module")
def shared() -> Iterator[Kafka]:
    with kafka() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Kafka) -> Kafka:
    return Kafka(shared.address, shared.real)


@pytest.fixture
def schemas() -> Iterator[Registry]:
    with registry() as server:
        yield server


def source(cluster: Kafka, **settings: Any) -> KafkaSource:
    said = {
        "servers": cluster.address, "group": cluster.name("group"), "start": "earliest",
        "session": 6 * SECOND, "topics": (cluster.name("*"),), **QUICK, **settings,
    }  # fmt: skip
    return KafkaSource("efd", KafkaSettings(**said), wall_clock)


async def ticks() -> AsyncIterator[None]:
    """Health is a state and no event: it has to be looked at."""
    while True:
        yield
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        async for _ in ticks():
            if condition():
                return


async def take(
    deliveries: AsyncIterator[Delivery], messages: int, done: bool = True
) -> list[Delivery]:
    """The next deliveries, up to so many events and rejected messages."""
    taken: list[Delivery] = []
    async with asyncio.timeout(60):
        while sum(len(one.events) + len(one.rejected) for one in taken) < messages:
            taken.append(await anext(deliveries))
            if done:
                await taken[-1].done()
    return taken


def events(taken: list[Delivery]) -> list[dict[str, Any]]:
    return [dict(event.fields) for one in taken for event in one.events]


def rejected(taken: list[Delivery]) -> list[str]:
    return [words for one in taken for words in one.rejected]


async def test_avro_and_json_are_events_and_poison_is_rejected_and_holds_up_nothing(
    cluster: Kafka, schemas: Registry
) -> None:
    topic = cluster.name("lsst.sal.wind")
    number = schemas.add(f"{topic}-value", WIND)
    unusable = schemas.add("odd", "syntax = 'proto3'", schemaType="PROTOBUF")
    broken = schemas.add("broken", '{"type": "recor"}')
    astray = schemas.add("astray", {"type": "int"}, references=["lost"])
    text = schemas.add("text", {"type": "object"}, schemaType="JSON")
    sent = 1745452837.0
    cluster.produce(
        topic,
        encoded(number, WIND, {"sent": sent, "speed": 7.5}),
        b"\0\0",
        encoded(number, WIND, {"sent": sent, "speed": 8.5})[:-1],
        encoded(unusable, WIND, {"sent": sent, "speed": 9.5}),
        encoded(broken, WIND, {"sent": sent, "speed": 9.5}),
        encoded(astray, WIND, {"sent": sent, "speed": 9.5}),
        encoded(999, WIND, {"sent": sent, "speed": 9.5}),
        b'{"speed": 1}',
        b"{",
        b"\xff\xfe",
        None,
        b'{"sent": 1745452838, "speed": 2}',
        b"\0" + text.to_bytes(4, "big") + b'{"sent": 1745452839, "speed": 3}',
        encoded(number, WIND, {"sent": float("nan"), "speed": 9.5}),
        encoded(number, WIND, {"sent": sent, "speed": float("inf")}),
    )
    heard = source(
        cluster, time="sent", scale="tai", topics={topic: "lsst.sal.wind"},
        registry=settings_of(schemas),
    )  # fmt: skip
    async with heard.open() as deliveries:
        taken = await take(deliveries, 14)
        await until(lambda: cluster.committed(cluster.name("group"), topic) == 15)
    assert [one["speed"] for one in events(taken)] == [7.5, 2, 3, None]
    first = taken[0].events[0]
    assert (first.topic, first.source) == ("lsst.sal.wind", "efd")
    assert first.time == parse_instant("2025-04-24T00:00:00Z")
    words = rejected(taken)
    assert len(words) == 10
    expected = [
        "before the number of its schema", "does not fit its schema", "PROTOBUF",
        "cannot be used", "are none", "has no schema 999", "no field 'sent'",
        "not JSON", "not JSON", "sent nan is no time",
    ]  # fmt: skip
    for found, part in zip(words, expected, strict=True):
        assert part in found
        assert "partition 0, offset" in found
    counts = heard.health().counts
    assert (counts["events"], counts["rejected"], counts["skipped"]) == (4, 10, 1)
    told = {one.name: one.unit for one in heard.described["lsst.sal.wind"]}
    assert told == {"sent": "", "speed": "m/s"}
    assert heard.health().state == "ended"
    assert sum(one.startswith("/schemas/ids/1") for one in schemas.asked) == 1


def settings_of(server: Registry, **more: Any) -> Any:
    from catcher.sources.registry import RegistrySettings

    return RegistrySettings(url=server.url, **more)


async def test_what_was_not_done_comes_again_and_what_was_does_not(cluster: Kafka) -> None:
    topic = cluster.name("numbers")
    cluster.produce(topic, *(b'{"n": %d}' % n for n in range(6)))
    heard = source(cluster)
    async with heard.open() as deliveries:
        taken = await take(deliveries, 6, done=False)
        assert [one["n"] for one in events(taken)] == [0, 1, 2, 3, 4, 5]
    assert cluster.committed(cluster.name("group"), topic) <= 0
    again = source(cluster)
    async with again.open() as deliveries:
        assert len(events(await take(deliveries, 6))) == 6
    assert cluster.committed(cluster.name("group"), topic) == 6
    cluster.produce(topic, b'{"n": 6}', partition=1)
    last = source(cluster)
    async with last.open() as deliveries:
        assert events(await take(deliveries, 1)) == [{"n": 6}]


async def test_schemas_that_grow_are_read_per_message(cluster: Kafka, schemas: Registry) -> None:
    topic = cluster.name("wind")
    old = record("wind", ("speed", "int"), ("gone", "string"))
    new = record("wind", ("speed", "double"), ("gust", "double", {"default": -1.0}))
    first, second = schemas.add(f"{topic}-value", old), schemas.add(f"{topic}-value", new)
    cluster.produce(
        topic,
        encoded(first, old, {"speed": 1, "gone": "x"}),
        encoded(second, new, {"speed": 2.5, "gust": 3.5}),
        encoded(first, old, {"speed": 4, "gone": "y"}),
    )
    heard = source(cluster, registry=settings_of(schemas))
    async with heard.open() as deliveries:
        found = events(await take(deliveries, 3))
    assert found == [
        {"speed": 1.0, "gone": "x", "gust": -1.0},
        {"speed": 2.5, "gust": 3.5},
        {"speed": 4.0, "gone": "y", "gust": -1.0},
    ]


async def test_a_registry_that_is_away_or_refuses_is_waited_for(
    cluster: Kafka, schemas: Registry
) -> None:
    topic = cluster.name("wind")
    number = schemas.add(f"{topic}-value", WIND)
    cluster.produce(topic, encoded(number, WIND, {"sent": 1.0, "speed": 7.5}))
    schemas.status, schemas.user = 503, "catcher:secret"
    wanted = {"username": "catcher", "password": "wrong"}
    heard = source(cluster, registry=settings_of(schemas, **wanted))
    async with heard.open() as deliveries:
        coming = asyncio.ensure_future(take(deliveries, 1))
        await until(lambda: "answers 503" in heard.health().problem)
        assert heard.health().state == "away"
        schemas.status = 0
        await until(lambda: "username and password" in heard.health().problem)
        schemas.status, schemas.body = 200, b"<html>"
        await until(lambda: "no JSON" in heard.health().problem)
        schemas.body, schemas.status = None, 0
        schemas.user = "catcher:wrong"
        assert events(await coming) == [{"sent": 1.0, "speed": 7.5}]
        assert (heard.health().state, heard.health().problem) == ("ok", "")


async def test_a_cluster_that_nobody_runs_is_away_with_words() -> None:
    heard = source(Kafka("127.0.0.1:1"), topics=("a",))
    async with heard.open() as deliveries:
        coming = asyncio.ensure_future(anext(deliveries))
        await until(lambda: heard.health().state == "away")
        assert "127.0.0.1:1: no server answers" in heard.health().problem
        coming.cancel()
        await asyncio.wait({coming})


def numbered(text: str) -> list[Message]:
    return [Message(one, 0, place, 0, b"") for place, one in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "stretches"),
    [
        ("", []),
        ("tt", [(False, "tt")]),
        ("ttitt", [(True, "ttitt")]),
        ("t" * 64 + "i" + "t" * 3, [(False, "t" * 64), (True, "ittt")]),
        ("i" * 64 + "t" * 64 + "i", [(True, "i" * 64), (False, "t" * 64), (True, "i")]),
    ],
)
def test_telemetry_goes_by_and_what_is_for_the_inbox_gets_there(
    text: str, stretches: list[tuple[bool, str]]
) -> None:
    found = [
        (durable, "".join(one.topic for one in some))
        for durable, some in parted(numbered(text), lambda topic: topic == "i")
    ]
    assert found == stretches


async def test_telemetry_is_not_durable_and_is_committed_at_once(cluster: Kafka) -> None:
    samples, deeds = cluster.name("samples"), cluster.name("deeds")
    cluster.produce(samples, *(b'{"n": %d}' % n for n in range(100)))
    heard = source(cluster, telemetry=(cluster.name("samples"),))
    async with heard.open() as deliveries:
        taken = await take(deliveries, 100, done=False)
        assert not any(one.durable for one in taken)
        for one in taken:
            await one.done()
        cluster.produce(deeds, b'{"n": 1}')
        (deed,) = await take(deliveries, 1)
        assert deed.durable
    assert cluster.committed(cluster.name("group"), samples) == 100


def test_offsets_of_an_earlier_turn_are_not_committed() -> None:
    offsets, place, other = Offsets(), ("t", 0), ("t", 1)
    offsets.assign([place, other])
    first = offsets.fetched({place: 5, other: 7})
    offsets.revoke()
    offsets.done(first)
    assert offsets.due() == {}
    offsets.assign([place])
    second = offsets.fetched({place: 9})
    offsets.done(first)
    assert offsets.due() == {}
    offsets.done(second)
    due = offsets.due()
    assert due == {place: 9}
    offsets.put_back(due)
    assert offsets.due() == {place: 9}
    offsets.begin_at({place: 3, other: 4})
    assert offsets.due() == {place: 3}


async def test_a_rebalance_waits_for_what_is_on_its_way() -> None:
    offsets = Offsets()
    offsets.assign([("t", 0)])
    reached = offsets.fetched({("t", 0): 5})
    waiting = asyncio.ensure_future(offsets.settled())
    await asyncio.sleep(0)
    assert not waiting.done()
    offsets.done(reached)
    await waiting


@pytest.mark.parametrize(
    ("topics", "topic", "name"),
    [
        (["a.*"], "a.b", "a.b"),
        ({"a.*.c*": "x.{2}.{1}"}, "a.b.cd", "x.d.b"),
        ({"a.b": "n", "a.*": "m"}, "a.b", "n"),
        ({"*": "{topic}"}, "a.b", "{topic}"),
        ({"*": "all.{0}"}, "a-b", "all.a-b"),
    ],
)
def test_patterns_name_streams(topics: Any, topic: str, name: str) -> None:
    assert TopicPatterns(topics).find(topic) == name


def test_a_stream_of_catchers_own_name_is_refused() -> None:
    with pytest.raises(ValueError, match="are results"):
        TopicPatterns(["catcher.*"]).find("catcher.wind")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"topics": ()}, "hears nothing"),
        ({"topics": ("a b",)}, "is no topic"),
        ({"topics": {"a.*": "{2}"}}, "stands for nothing"),
        ({"topics": {"a.*": ""}}, "is given no name"),
        ({"group": " "}, "has no name"),
        ({"servers": "http://kafka:9092"}, "no list of servers"),
        ({"servers": ", "}, "no list of servers"),
        ({"session": MILLISECOND}, "session"),
    ],
)
def test_settings_that_cannot_be_used_say_so(said: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"servers": "kafka:9092", "group": "g", "topics": ("a",)}
    with pytest.raises(CatcherError, match=words):
        KafkaSettings(**{**good, **said})


def test_how_one_enters_follows_from_what_is_said() -> None:
    sasl, tls = Sasl(username="u", password="secret"), Tls()
    protocols = [
        Cluster(servers="a, b:1", sasl=one, tls=other).protocol
        for one in (None, sasl)
        for other in (None, tls)
    ]
    assert protocols == ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
    assert Cluster(servers="a, b:1, [::1]:3").addresses == ["a:9092", "b:1", "[::1]:3"]
    assert "secret" not in repr(sasl)


def test_recorded_lines_are_read_as_everywhere(cluster: Kafka) -> None:
    line = {"topic": "x", "time": "2025-04-24T00:05:13Z", "fields": {"a": 1}}
    cluster.produce(cluster.name("night"), json.dumps(line).encode())

    async def hear() -> Delivery:
        async with source(cluster, topics={cluster.name("night"): "{topic}"}).open() as heard:
            return (await take(heard, 1))[0]

    (event,) = asyncio.run(hear()).events
    assert (event.topic, event.fields) == ("x", {"a": 1})
    assert event.time == parse_instant(line["time"])  # type: ignore[arg-type]
