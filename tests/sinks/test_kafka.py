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

from catcher.alerting import Renderer, composer
from catcher.model.alert import Notice
from catcher.model.problem import CatcherError
from catcher.model.result import Metric
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import MILLISECOND, SECOND, wall_clock
from catcher.ports import SinkError
from catcher.sinks.announcer import Announcer
from catcher.sinks.kafka import KafkaSink, Settings
from catcher.sinks.records import ALERT_SCHEMA, RESULT_SCHEMA, result_row
from catcher.sinks.rest_proxy import RestProxy
from catcher.sources.kafka_publisher import (
    Cluster,
    KafkaPublisher,
    NotPublished,
    RegistrySettings,
)
from tests.alerting.making import NIGHT, NONE, SERIOUS, alert
from tests.kafka_servers import Kafka, Registry, kafka, registry
from tests.servers import mosquitto, require
from tests.sinks.web_server import Service, service
from tests.small_site import DOUBLING, engine_in_thread, write_site


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kafka]:
    with kafka() as one:
        yield one


@pytest.fixture
def schemas() -> Iterator[Registry]:
    with registry() as server:
        yield server


@pytest.fixture
async def proxy() -> AsyncIterator[Service]:
    async with service() as server:
        yield server


def publisher(cluster: Kafka, **more: Any) -> KafkaPublisher:
    quick = {"retry_first": 10 * MILLISECOND, "retry_longest": 50 * MILLISECOND}
    return KafkaPublisher("out", Cluster(servers=cluster.address, **quick), wall_clock, **more)


def notice() -> Notice:
    one = alert(SERIOUS, message="Wind is 16 m/s", labels={"band": "r"})
    return Notice(f"{one.id}-opened", "kafka", "opened", one, one.sequence, NIGHT, previous=NONE)


def run(number: int = 1, **changes: Any) -> Run:
    firing = Firing("jitter", "", NIGHT, f"cause-{number}", "it shook")
    made = ArtifactRecord("jitter/1.png", "1.png", "r", "jitter", NIGHT, 10, "image/png", "ab")
    metrics = {"rms": Metric(0.25, unit="arcsec"), "lost": Metric(None)}
    plain = Run(
        f"run-{number}", firing, "mount_jitter", "done", observation="MC_O_1", finished=NIGHT,
        columns={"band": "r", "n": 3}, metrics=metrics, artifacts=(made,),
    )  # fmt: skip
    return replace(plain, **changes)


async def until(condition: Callable[[], Any]) -> None:
    async def ticks() -> AsyncIterator[None]:
        while True:
            yield
            await asyncio.sleep(0.01)

    async with asyncio.timeout(20):
        async for _ in ticks():
            if condition():
                return


def decoded(schemas: Registry, topic: str, value: bytes) -> Any:
    """A message as somebody else's consumer reads it."""
    number = int.from_bytes(value[1:5], "big")
    assert value[0] == 0
    assert schemas.subjects[f"{topic}-value"] == [number]
    schema = fastavro.parse_schema(json.loads(schemas.texts[number]["schema"]))
    return fastavro.schemaless_reader(BytesIO(value[5:]), schema, None)


async def test_an_alert_is_a_message_under_its_id_as_json_and_as_avro(
    cluster: Kafka, schemas: Registry
) -> None:
    compose, told = composer(Renderer()), notice()
    plain, avro = cluster.name("plain"), cluster.name("avro")
    async with publisher(cluster) as way:
        sink = KafkaSink("k", Settings(servers=cluster.address, topic=plain), way, compose)
        assert await sink.deliver(told) == {"topic": plain}
    said = RegistrySettings(url=schemas.url)
    async with publisher(cluster, registry=said) as way:
        settings = Settings(
            servers=cluster.address, topic=avro, format="avro", registry=schemas.url
        )  # fmt: skip
        await KafkaSink("k", settings, way, compose).deliver(told)
    ((key, value),) = await asyncio.to_thread(cluster.read, plain, 1)
    assert key == told.alert.id.encode()
    body = json.loads(value or b"")
    assert (body["severity"], body["message"]) == (3, "Wind is 16 m/s")
    ((key, value),) = await asyncio.to_thread(cluster.read, avro, 1)
    record = decoded(schemas, avro, value or b"")
    assert key == told.alert.id.encode()
    assert record["labels"] == {"band": "r"}
    assert {name: record[name] for name in ("severity", "resolved", "change")} == {
        "severity": 3, "resolved": "", "change": "opened",
    }  # fmt: skip


async def test_a_cluster_that_is_away_is_an_error_in_time() -> None:
    async with publisher(Kafka("127.0.0.1:1"), patience=SECOND // 2) as way:
        await until(lambda: way.health().state == "away")
        sink = KafkaSink("k", Settings(servers="127.0.0.1:1"), way, composer(Renderer()))
        with pytest.raises(SinkError, match="no server answers"):
            await sink.deliver(notice())
        assert sink.health().state == "away"


async def test_a_registry_that_is_away_is_an_error_in_time(cluster: Kafka) -> None:
    said = RegistrySettings(url="http://127.0.0.1:1", patience=SECOND)
    async with publisher(cluster, registry=said) as way:
        with pytest.raises(NotPublished, match=r"the registry 127.0.0.1 does not answer"):
            await way.publish("t", "", {}, ALERT_SCHEMA)


@pytest.mark.parametrize("form", ["json", "avro"])
async def test_a_rest_proxy_takes_version_2(proxy: Service, form: Any) -> None:
    proxy.answers = [web.json_response({"offsets": [{"partition": 0, "offset": 3}]})]
    row = result_row(run(), "summit")
    async with RestProxy(proxy.url + "/", form, 5 * SECOND, ("catcher", "pw")) as way:
        await way.publish("catcher.results", "jitter", row, RESULT_SCHEMA)
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
    ("answer", "words", "final"),
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
    proxy: Service, answer: dict[str, Any], words: str, final: bool
) -> None:
    proxy.answers = [web.Response(**answer)]
    async with RestProxy(proxy.url, "json", 5 * SECOND) as way:
        sink = KafkaSink("k", Settings(rest=proxy.url), way, composer(Renderer()))
        with pytest.raises(SinkError, match=words) as refusal:
            await sink.deliver(notice())
    assert refusal.value.final is final


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "one of `servers` and `rest`"),
        ({"servers": "a", "rest": "http://b"}, "one of `servers` and `rest`"),
        ({"rest": "file:///etc/passwd"}, "no web address"),
        ({"servers": "a", "format": "avro"}, "schema registry"),
        ({"servers": "a", "topic": "a/b"}, "no Kafka topic"),
    ],
)
def test_settings_that_cannot_be_used_say_so(said: dict[str, Any], words: str) -> None:
    with pytest.raises(CatcherError, match=words):
        Settings(**said)


async def test_results_wait_for_a_way_that_is_away_and_the_oldest_are_dropped() -> None:
    told: list[str] = []
    open_again = asyncio.Event()

    async def publish(one: Run) -> None:
        if not open_again.is_set():
            raise ConnectionError("away")
        if one.id == "run-4":
            raise ValueError("nobody can read this")
        told.append(one.id)

    async with Announcer("way", publish, wall_clock, most=3) as announcer:
        announcer.take(run(9, state="failed"))
        announcer.take(run(8, parent="run-7"))
        for number in range(6):
            announcer.take(run(number))
        await until(lambda: announcer.health().state == "away")
        open_again.set()
        await until(lambda: announcer.health().counts["waiting"] == 0)
        counts = announcer.health().counts
    assert told == ["run-3", "run-5"]
    assert (counts["published"], counts["dropped"], counts["refused"]) == (2, 3, 1)


@pytest.mark.server
async def test_each_committed_result_is_told_over_kafka_and_mqtt(
    cluster: Kafka, tmp_path: Path
) -> None:
    topic = cluster.name("results")
    with mosquitto(tmp_path / "broker") as broker:
        settings = f"""
site: summit
announce:
  mqtt: {{host: 127.0.0.1, port: {broker.port}}}
  kafka: {{servers: "{cluster.address}", topic: {topic}}}
"""
        heard = await asyncio.create_subprocess_exec(
            require("mosquitto_sub"), "-p", str(broker.port), "-t", "catcher/#", "-v", "-C", "1",
            "-W", "30", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip

        def work() -> None:
            site = write_site(tmp_path / "site", DOUBLING, settings=settings)
            with engine_in_thread(site, tmp_path / "data") as engine:
                engine.post("number", value=21, lane=1)
                engine.post("number", value=13, lane=2)
                assert engine.the_run(rule="doubling")
                ways = {"mqtt", "kafka"}

                def published() -> bool:
                    found = engine.get("/health")
                    told = [one for one in found if one["kind"] == "results"]
                    assert {one["name"] for one in told} == ways
                    return all(one["counts"]["published"] == 1 for one in told)

                engine.until(published, "the telling of the result")

        await asyncio.to_thread(work)
        output, _ = await heard.communicate()
    place, _, text = output.decode().partition(" ")
    assert place == "catcher/summit/results/doubling"
    body = json.loads(text)
    assert body["metrics"] == [{"name": "doubled", "value": 42.0, "unit": "m"}]
    assert body["artifacts"][0]["name"] == "words.txt"
    ((key, value),) = await asyncio.to_thread(cluster.read, topic, 1)
    assert (key, json.loads(value or b"")) == (b"doubling", body)
