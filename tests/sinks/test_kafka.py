"""Alerts and results as messages in Kafka: to the cluster itself, and through a REST proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from aiohttp import web

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Notification
from catcher.model.errors import CatcherError
from catcher.model.result import Metric
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import MILLISECOND, SECOND, wall_clock
from catcher.ports import SinkError
from catcher.sinks.kafka import KafkaSink, KafkaSinkSettings
from catcher.sinks.kafka_rest_proxy import RestProxy
from catcher.sinks.payload_schemas import ALERT_SCHEMA, RESULT_SCHEMA, build_result_row
from catcher.sinks.result_publisher import ResultPublisher
from catcher.transport.kafka.producer import (
    KafkaClusterSettings,
    KafkaPublisher,
    KafkaPublishError,
    SchemaRegistrySettings,
)
from tests.alerting.builders import NIGHT, NONE, SERIOUS, create_alert
from tests.kafka_servers import FakeSchemaRegistry, KafkaCluster, run_kafka, run_schema_registry
from tests.sample_site import DOUBLING, engine_in_thread, write_site
from tests.servers import require_program, run_mosquitto
from tests.sinks.web_server import FakeHttpService, http_service


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with run_kafka() as server:
        yield server


@pytest.fixture
def schemas() -> Iterator[FakeSchemaRegistry]:
    with run_schema_registry() as server:
        yield server


@pytest.fixture
async def proxy() -> AsyncIterator[FakeHttpService]:
    async with http_service() as server:
        yield server


def create_publisher(cluster: KafkaCluster, **options: Any) -> KafkaPublisher:
    retry_settings = {"retry_first": 10 * MILLISECOND, "retry_longest": 50 * MILLISECOND}
    return KafkaPublisher(
        "out",
        KafkaClusterSettings(servers=cluster.address, **retry_settings),
        wall_clock,
        **options,
    )


def create_notification() -> Notification:
    alert = create_alert(SERIOUS, message="Wind is 16 m/s", labels={"band": "r"})
    return Notification(
        f"{alert.id}-opened", "kafka", "opened", alert, alert.sequence, NIGHT, previous=NONE
    )


def create_run(number: int = 1, **changes: Any) -> Run:
    firing = Firing("jitter", "", NIGHT, f"cause-{number}", "it shook")
    artifact = ArtifactRecord("jitter/1.png", "1.png", "r", "jitter", NIGHT, 10, "image/png", "ab")
    metrics = {"rms": Metric(0.25, unit="arcsec"), "lost": Metric(None)}
    run = Run(
        f"run-{number}", firing, "mount_jitter", "done", observation="MC_O_1", finished=NIGHT,
        columns={"band": "r", "n": 3}, metrics=metrics, artifacts=(artifact,),
    )  # fmt: skip
    return replace(run, **changes)


async def wait_until(condition: Callable[[], Any]) -> None:
    async def iter_polls() -> AsyncIterator[None]:
        while True:
            yield
            await asyncio.sleep(0.01)

    async with asyncio.timeout(20):
        async for _ in iter_polls():
            if condition():
                return


def decode_avro(schemas: FakeSchemaRegistry, topic: str, value: bytes) -> Any:
    """A message as somebody else's consumer reads it."""
    schema_id = int.from_bytes(value[1:5], "big")
    assert value[0] == 0
    assert schemas.subjects[f"{topic}-value"] == [schema_id]
    schema = fastavro.parse_schema(json.loads(schemas.schemas[schema_id]["schema"]))
    return fastavro.schemaless_reader(BytesIO(value[5:]), schema, None)


async def test_an_alert_is_a_message_under_its_id_as_json_and_as_avro(
    cluster: KafkaCluster, schemas: FakeSchemaRegistry
) -> None:
    compose, notification = create_message_composer(TemplateRenderer()), create_notification()
    json_topic, avro_topic = cluster.unique_name("plain"), cluster.unique_name("avro")
    async with create_publisher(cluster) as publisher:
        sink = KafkaSink(
            "k", KafkaSinkSettings(servers=cluster.address, topic=json_topic), publisher, compose
        )
        assert await sink.deliver(notification) == {"topic": json_topic}
    registry_settings = SchemaRegistrySettings(url=schemas.url)
    async with create_publisher(cluster, registry=registry_settings) as publisher:
        settings = KafkaSinkSettings(
            servers=cluster.address, topic=avro_topic, format="avro", registry=schemas.url
        )  # fmt: skip
        await KafkaSink("k", settings, publisher, compose).deliver(notification)
    ((key, value),) = await asyncio.to_thread(cluster.read_messages, json_topic, 1)
    assert key == notification.alert.id.encode()
    body = json.loads(value or b"")
    assert (body["severity"], body["message"]) == (3, "Wind is 16 m/s")
    ((key, value),) = await asyncio.to_thread(cluster.read_messages, avro_topic, 1)
    record = decode_avro(schemas, avro_topic, value or b"")
    assert key == notification.alert.id.encode()
    assert record["labels"] == {"band": "r"}
    assert {name: record[name] for name in ("severity", "resolved", "change")} == {
        "severity": 3, "resolved": "", "change": "opened",
    }  # fmt: skip


async def test_unavailable_cluster_is_an_error_in_time() -> None:
    async with create_publisher(KafkaCluster("127.0.0.1:1"), timeout=SECOND // 2) as publisher:
        await wait_until(lambda: publisher.health().state == "away")
        sink = KafkaSink(
            "k",
            KafkaSinkSettings(servers="127.0.0.1:1"),
            publisher,
            create_message_composer(TemplateRenderer()),
        )
        with pytest.raises(SinkError, match="no server answers"):
            await sink.deliver(create_notification())
        assert sink.health().state == "away"


async def test_unavailable_registry_is_an_error_in_time(cluster: KafkaCluster) -> None:
    registry_settings = SchemaRegistrySettings(url="http://127.0.0.1:1", patience=SECOND)
    async with create_publisher(cluster, registry=registry_settings) as publisher:
        with pytest.raises(KafkaPublishError, match=r"the registry 127.0.0.1 does not answer"):
            await publisher.publish("t", "", {}, ALERT_SCHEMA)


@pytest.mark.parametrize("form", ["json", "avro"])
async def test_rest_proxy_gets_version_2(proxy: FakeHttpService, form: Any) -> None:
    proxy.responses = [web.json_response({"offsets": [{"partition": 0, "offset": 3}]})]
    row = build_result_row(create_run(), "summit")
    async with RestProxy(proxy.url + "/", form, 5 * SECOND, ("catcher", "pw")) as rest_proxy:
        await rest_proxy.publish("catcher.results", "jitter", row, RESULT_SCHEMA)
    (request,) = proxy.requests
    assert (request.method, request.path) == ("POST", "/topics/catcher.results")
    assert request.headers["content-type"] == f"application/vnd.kafka.{form}.v2+json"
    assert request.headers["authorization"].startswith("Basic ")
    body = json.loads(request.body)
    assert body["records"] == [{"key": "jitter", "value": row}]
    if form == "avro":
        assert json.loads(body["value_schema"]) == RESULT_SCHEMA
        schema = fastavro.parse_schema(json.loads(body["value_schema"]))
        assert fastavro.validate(body["records"][0]["value"], schema)
    assert row["metrics"] == [{"name": "rms", "value": 0.25, "unit": "arcsec"}]
    assert row["unknown"] == ["lost"]


@pytest.mark.parametrize(
    ("response", "message", "final"),
    [
        ({"status": 401, "text": "no"}, "answers 401; see to its username", False),
        ({"status": 422, "text": "{}"}, "does not allow ours", True),
        ({"status": 503, "text": "later"}, "answers 503", False),
        ({"text": "<html>"}, "is no REST proxy", False),
        (
            {"text": '{"offsets": [{"error_code": 2, "error": "leader lost"}]}'},
            "leader lost",
            False,
        ),
    ],
)
async def test_what_a_proxy_refuses_is_an_error(
    proxy: FakeHttpService, response: dict[str, Any], message: str, final: bool
) -> None:
    proxy.responses = [web.Response(**response)]
    async with RestProxy(proxy.url, "json", 5 * SECOND) as rest_proxy:
        sink = KafkaSink(
            "k",
            KafkaSinkSettings(rest=proxy.url),
            rest_proxy,
            create_message_composer(TemplateRenderer()),
        )
        with pytest.raises(SinkError, match=message) as error:
            await sink.deliver(create_notification())
    assert error.value.final is final


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "one of `servers` and `rest`"),
        ({"servers": "a", "rest": "http://b"}, "one of `servers` and `rest`"),
        ({"rest": "file:///etc/passwd"}, "no web address"),
        ({"servers": "a", "format": "avro"}, "schema registry"),
        ({"servers": "a", "topic": "a/b"}, "no Kafka topic"),
    ],
)
def test_settings_that_cannot_be_used_say_so(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CatcherError, match=message):
        KafkaSinkSettings(**settings)


async def test_results_wait_for_an_unavailable_publisher_and_the_oldest_are_dropped() -> None:
    published_ids: list[str] = []
    available = asyncio.Event()

    async def publish(run: Run) -> None:
        if not available.is_set():
            raise ConnectionError("away")
        if run.id == "run-4":
            raise ValueError("nobody can read this")
        published_ids.append(run.id)

    async with ResultPublisher("way", publish, wall_clock, max_pending=3) as announcer:
        announcer.enqueue(create_run(9, state="failed"))
        announcer.enqueue(create_run(8, parent="run-7"))
        for number in range(6):
            announcer.enqueue(create_run(number))
        await wait_until(lambda: announcer.health().state == "away")
        available.set()
        await wait_until(lambda: announcer.health().counts["waiting"] == 0)
        counts = announcer.health().counts
    assert published_ids == ["run-3", "run-5"]
    assert (counts["published"], counts["dropped"], counts["refused"]) == (2, 3, 1)


@pytest.mark.server
async def test_each_committed_result_is_published_to_kafka_and_mqtt(
    cluster: KafkaCluster, tmp_path: Path
) -> None:
    topic = cluster.unique_name("results")
    with run_mosquitto(tmp_path / "broker") as broker:
        settings = f"""
site: summit
announce:
  mqtt: {{host: 127.0.0.1, port: {broker.port}}}
  kafka: {{servers: "{cluster.address}", topic: {topic}}}
"""
        subscriber = await asyncio.create_subprocess_exec(
            require_program("mosquitto_sub"),
            "-p",
            str(broker.port),
            "-t",
            "catcher/#",
            "-v",
            "-C",
            "1",
            "-W",
            "30",
            stdout=asyncio.subprocess.PIPE,
        )

        def run_engine() -> None:
            site = write_site(tmp_path / "site", DOUBLING, settings=settings)
            with engine_in_thread(site, tmp_path / "data") as engine:
                engine.post_event("number", value=21, lane=1)
                engine.post_event("number", value=13, lane=2)
                assert engine.wait_for_run(rule="doubling")
                names = {"mqtt", "kafka"}

                def is_published() -> bool:
                    health = engine.get("/health")
                    publishers = [entry for entry in health if entry["kind"] == "results"]
                    assert {entry["name"] for entry in publishers} == names
                    return all(entry["counts"]["published"] == 1 for entry in publishers)

                engine.wait_until(is_published, "the telling of the result")

        await asyncio.to_thread(run_engine)
        output, _ = await subscriber.communicate()
    mqtt_topic, _, text = output.decode().partition(" ")
    assert mqtt_topic == "catcher/summit/results/doubling"
    body = json.loads(text)
    assert body["metrics"] == [{"name": "doubled", "value": 42.0, "unit": "m"}]
    assert body["artifacts"][0]["name"] == "words.txt"
    ((key, value),) = await asyncio.to_thread(cluster.read_messages, topic, 1)
    assert (key, json.loads(value or b"")) == (b"doubling", body)
