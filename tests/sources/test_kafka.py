"""Events from a Kafka cluster: by schema or as JSON, committed once they are kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from catcher.model.errors import CatcherError
from catcher.model.time import MILLISECOND, SECOND, parse_instant, wall_clock
from catcher.ports import EventBatch
from catcher.sources.kafka import KafkaSource, KafkaSourceSettings, split_by_durability
from catcher.transport.kafka.connection import KafkaMessage
from catcher.transport.kafka.offsets import OffsetTracker
from catcher.transport.kafka.settings import KafkaClusterSettings, SaslCredentials
from catcher.transport.kafka.topic_patterns import TopicPatterns
from catcher.transport.tls import TlsSettings
from tests.kafka_servers import (
    FakeSchemaRegistry,
    KafkaCluster,
    avro_schema,
    encode_message,
    run_kafka,
    run_schema_registry,
)

FAST_RETRY = {"retry_first": 10 * MILLISECOND, "retry_longest": 100 * MILLISECOND}
WIND = avro_schema("wind", ("sent", "double"), ("speed", "double", {"units": "m/s"}))


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[KafkaCluster]:
    with run_kafka() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: KafkaCluster) -> KafkaCluster:
    return KafkaCluster(shared_cluster.address, shared_cluster.is_real)


@pytest.fixture
def schema_registry() -> Iterator[FakeSchemaRegistry]:
    with run_schema_registry() as registry:
        yield registry


def create_source(cluster: KafkaCluster, **settings: Any) -> KafkaSource:
    options = {
        "servers": cluster.address, "group": cluster.unique_name("group"), "start": "earliest",
        "session": 6 * SECOND, "topics": (cluster.unique_name("*"),), **FAST_RETRY, **settings,
    }  # fmt: skip
    return KafkaSource("efd", KafkaSourceSettings(**options), wall_clock)


async def poll_periodically() -> AsyncIterator[None]:
    """Health is a state and no event: it has to be looked at."""
    while True:
        yield
        await asyncio.sleep(0.01)


async def wait_until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        async for _ in poll_periodically():
            if condition():
                return


async def read_batches(
    batches: AsyncIterator[EventBatch], messages: int, acknowledge: bool = True
) -> list[EventBatch]:
    """The next deliveries, up to so many events and rejected messages."""
    received: list[EventBatch] = []
    async with asyncio.timeout(60):
        while sum(len(batch.events) + len(batch.rejected) for batch in received) < messages:
            received.append(await anext(batches))
            if acknowledge:
                await received[-1].acknowledge()
    return received


def list_fields(batches: list[EventBatch]) -> list[dict[str, Any]]:
    return [dict(event.fields) for batch in batches for event in batch.events]


def list_rejected(batches: list[EventBatch]) -> list[str]:
    return [message for batch in batches for message in batch.rejected]


async def test_avro_and_json_are_events_and_poison_is_rejected_and_holds_up_nothing(
    cluster: KafkaCluster, schema_registry: FakeSchemaRegistry
) -> None:
    topic = cluster.unique_name("lsst.sal.wind")
    schema_id = schema_registry.add_schema(f"{topic}-value", WIND)
    unusable = schema_registry.add_schema("odd", "syntax = 'proto3'", schemaType="PROTOBUF")
    broken = schema_registry.add_schema("broken", '{"type": "recor"}')
    unresolvable = schema_registry.add_schema("astray", {"type": "int"}, references=["lost"])
    json_schema = schema_registry.add_schema("text", {"type": "object"}, schemaType="JSON")
    sent = 1745452837.0
    cluster.produce(
        topic,
        encode_message(schema_id, WIND, {"sent": sent, "speed": 7.5}),
        b"\0\0",
        encode_message(schema_id, WIND, {"sent": sent, "speed": 8.5})[:-1],
        encode_message(unusable, WIND, {"sent": sent, "speed": 9.5}),
        encode_message(broken, WIND, {"sent": sent, "speed": 9.5}),
        encode_message(unresolvable, WIND, {"sent": sent, "speed": 9.5}),
        encode_message(999, WIND, {"sent": sent, "speed": 9.5}),
        b'{"speed": 1}',
        b"{",
        b"\xff\xfe",
        None,
        b'{"sent": 1745452838, "speed": 2}',
        b"\0" + json_schema.to_bytes(4, "big") + b'{"sent": 1745452839, "speed": 3}',
        encode_message(schema_id, WIND, {"sent": float("nan"), "speed": 9.5}),
        encode_message(schema_id, WIND, {"sent": sent, "speed": float("inf")}),
    )
    source = create_source(
        cluster, time="sent", scale="tai", topics={topic: "lsst.sal.wind"},
        registry=create_registry_settings(schema_registry),
    )  # fmt: skip
    async with source.open() as batches:
        received = await read_batches(batches, 14)
        await wait_until(
            lambda: cluster.committed_offset(cluster.unique_name("group"), topic) == 15
        )
    assert [fields["speed"] for fields in list_fields(received)] == [7.5, 2, 3, None]
    first = received[0].events[0]
    assert (first.topic, first.source) == ("lsst.sal.wind", "efd")
    assert first.time == parse_instant("2025-04-24T00:00:00Z")
    messages = list_rejected(received)
    assert len(messages) == 10
    expected = [
        "before the number of its schema", "does not fit its schema", "PROTOBUF",
        "cannot be used", "are none", "has no schema 999", "no field 'sent'",
        "not JSON", "not JSON", "sent nan is no time",
    ]  # fmt: skip
    for message, expected_part in zip(messages, expected, strict=True):
        assert expected_part in message
        assert "partition 0, offset" in message
    counts = source.health().counts
    assert (counts["events"], counts["rejected"], counts["skipped"]) == (4, 10, 1)
    units = {field.name: field.unit for field in source.field_schemas["lsst.sal.wind"]}
    assert units == {"sent": "", "speed": "m/s"}
    assert source.health().state == "ended"
    assert sum(path.startswith("/schemas/ids/1") for path in schema_registry.requested_paths) == 1


def create_registry_settings(registry: FakeSchemaRegistry, **options: Any) -> Any:
    from catcher.transport.schema_registry import SchemaRegistrySettings

    return SchemaRegistrySettings(url=registry.url, **options)


async def test_unacknowledged_messages_are_redelivered_and_others_are_not(
    cluster: KafkaCluster,
) -> None:
    topic = cluster.unique_name("numbers")
    cluster.produce(topic, *(b'{"n": %d}' % n for n in range(6)))
    source = create_source(cluster)
    async with source.open() as batches:
        received = await read_batches(batches, 6, acknowledge=False)
        assert [fields["n"] for fields in list_fields(received)] == [0, 1, 2, 3, 4, 5]
    assert cluster.committed_offset(cluster.unique_name("group"), topic) <= 0
    second_source = create_source(cluster)
    async with second_source.open() as batches:
        assert len(list_fields(await read_batches(batches, 6))) == 6
    assert cluster.committed_offset(cluster.unique_name("group"), topic) == 6
    cluster.produce(topic, b'{"n": 6}', partition=1)
    third_source = create_source(cluster)
    async with third_source.open() as batches:
        assert list_fields(await read_batches(batches, 1)) == [{"n": 6}]


async def test_schemas_that_grow_are_read_per_message(
    cluster: KafkaCluster, schema_registry: FakeSchemaRegistry
) -> None:
    topic = cluster.unique_name("wind")
    old = avro_schema("wind", ("speed", "int"), ("gone", "string"))
    new = avro_schema("wind", ("speed", "double"), ("gust", "double", {"default": -1.0}))
    first, second = (
        schema_registry.add_schema(f"{topic}-value", old),
        schema_registry.add_schema(f"{topic}-value", new),
    )
    cluster.produce(
        topic,
        encode_message(first, old, {"speed": 1, "gone": "x"}),
        encode_message(second, new, {"speed": 2.5, "gust": 3.5}),
        encode_message(first, old, {"speed": 4, "gone": "y"}),
    )
    source = create_source(cluster, registry=create_registry_settings(schema_registry))
    async with source.open() as batches:
        received = list_fields(await read_batches(batches, 3))
    assert received == [
        {"speed": 1.0, "gone": "x", "gust": -1.0},
        {"speed": 2.5, "gust": 3.5},
        {"speed": 4.0, "gone": "y", "gust": -1.0},
    ]


async def test_an_unavailable_or_refusing_registry_is_waited_for(
    cluster: KafkaCluster, schema_registry: FakeSchemaRegistry
) -> None:
    topic = cluster.unique_name("wind")
    schema_id = schema_registry.add_schema(f"{topic}-value", WIND)
    cluster.produce(topic, encode_message(schema_id, WIND, {"sent": 1.0, "speed": 7.5}))
    schema_registry.status, schema_registry.user = 503, "catcher:secret"
    credentials = {"username": "catcher", "password": "wrong"}
    source = create_source(
        cluster, registry=create_registry_settings(schema_registry, **credentials)
    )
    async with source.open() as batches:
        task = asyncio.ensure_future(read_batches(batches, 1))
        await wait_until(lambda: "answers 503" in source.health().problem)
        assert source.health().state == "away"
        schema_registry.status = 0
        await wait_until(lambda: "username and password" in source.health().problem)
        schema_registry.status, schema_registry.body = 200, b"<html>"
        await wait_until(lambda: "no JSON" in source.health().problem)
        schema_registry.body, schema_registry.status = None, 0
        schema_registry.user = "catcher:wrong"
        assert list_fields(await task) == [{"sent": 1.0, "speed": 7.5}]
        assert (source.health().state, source.health().problem) == ("ok", "")


async def test_a_missing_cluster_is_unavailable_with_a_message() -> None:
    source = create_source(KafkaCluster("127.0.0.1:1"), topics=("a",))
    async with source.open() as batches:
        task = asyncio.ensure_future(anext(batches))
        await wait_until(lambda: source.health().state == "away")
        assert "127.0.0.1:1: no server answers" in source.health().problem
        task.cancel()
        await asyncio.wait({task})


def create_records(text: str) -> list[KafkaMessage]:
    return [KafkaMessage(letter, 0, offset, 0, b"") for offset, letter in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", []),
        ("tt", [(False, "tt")]),
        ("ttitt", [(True, "ttitt")]),
        ("t" * 64 + "i" + "t" * 3, [(False, "t" * 64), (True, "ittt")]),
        ("i" * 64 + "t" * 64 + "i", [(True, "i" * 64), (False, "t" * 64), (True, "i")]),
    ],
)
def test_records_for_the_inbox_are_separated_from_telemetry(
    text: str, segments: list[tuple[bool, str]]
) -> None:
    result = [
        (durable, "".join(record.topic for record in records))
        for durable, records in split_by_durability(
            create_records(text), lambda topic: topic == "i"
        )
    ]
    assert result == segments


async def test_telemetry_is_not_durable_and_is_committed_at_once(cluster: KafkaCluster) -> None:
    samples, commands = cluster.unique_name("samples"), cluster.unique_name("deeds")
    cluster.produce(samples, *(b'{"n": %d}' % n for n in range(100)))
    source = create_source(cluster, telemetry=(cluster.unique_name("samples"),))
    async with source.open() as batches:
        received = await read_batches(batches, 100, acknowledge=False)
        assert not any(batch.durable for batch in received)
        for batch in received:
            await batch.acknowledge()
        cluster.produce(commands, b'{"n": 1}')
        (command,) = await read_batches(batches, 1)
        assert command.durable
    assert cluster.committed_offset(cluster.unique_name("group"), samples) == 100


def test_offsets_of_an_earlier_assignment_are_not_committed() -> None:
    offsets, first_partition, second_partition = OffsetTracker(), ("t", 0), ("t", 1)
    offsets.assign_partitions([first_partition, second_partition])
    first = offsets.mark_in_flight({first_partition: 5, second_partition: 7})
    offsets.revoke_all()
    offsets.mark_processed(first)
    assert offsets.pop_committable() == {}
    offsets.assign_partitions([first_partition])
    second = offsets.mark_in_flight({first_partition: 9})
    offsets.mark_processed(first)
    assert offsets.pop_committable() == {}
    offsets.mark_processed(second)
    due_offsets = offsets.pop_committable()
    assert due_offsets == {first_partition: 9}
    offsets.restore_committable(due_offsets)
    assert offsets.pop_committable() == {first_partition: 9}
    offsets.add_start_offsets({first_partition: 3, second_partition: 4})
    assert offsets.pop_committable() == {first_partition: 3}


async def test_a_rebalance_waits_for_what_is_on_its_way() -> None:
    offsets = OffsetTracker()
    offsets.assign_partitions([("t", 0)])
    fetched = offsets.mark_in_flight({("t", 0): 5})
    rebalance = asyncio.ensure_future(offsets.wait_until_idle())
    await asyncio.sleep(0)
    assert not rebalance.done()
    offsets.mark_processed(fetched)
    await rebalance


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
    assert TopicPatterns(topics).resolve_stream_name(topic) == name


def test_a_stream_of_catchers_own_name_is_refused() -> None:
    with pytest.raises(ValueError, match="are results"):
        TopicPatterns(["catcher.*"]).resolve_stream_name("catcher.wind")


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_settings_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    valid: dict[str, Any] = {"servers": "kafka:9092", "group": "g", "topics": ("a",)}
    with pytest.raises(CatcherError, match=message):
        KafkaSourceSettings(**{**valid, **options})


def test_the_security_protocol_follows_from_the_settings() -> None:
    sasl, tls = SaslCredentials(username="u", password="secret"), TlsSettings()
    protocols = [
        KafkaClusterSettings(servers="a, b:1", sasl=sasl_choice, tls=tls_choice).security_protocol
        for sasl_choice in (None, sasl)
        for tls_choice in (None, tls)
    ]
    assert protocols == ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
    assert KafkaClusterSettings(servers="a, b:1, [::1]:3").addresses == ["a:9092", "b:1", "[::1]:3"]
    assert "secret" not in repr(sasl)


def test_recorded_lines_are_read_as_everywhere(cluster: KafkaCluster) -> None:
    line = {"topic": "x", "time": "2025-04-24T00:05:13Z", "fields": {"a": 1}}
    cluster.produce(cluster.unique_name("night"), json.dumps(line).encode())

    async def read_first_batch() -> EventBatch:
        async with create_source(
            cluster, topics={cluster.unique_name("night"): "{topic}"}
        ).open() as batches:
            return (await read_batches(batches, 1))[0]

    (event,) = asyncio.run(read_first_batch()).events
    assert (event.topic, event.fields) == ("x", {"a": 1})
    assert event.time == parse_instant(line["time"])  # type: ignore[arg-type]
