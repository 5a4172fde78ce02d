"""Connections by which something is published, and who tells others of committed results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from catcher.model.large_files import LargeFiles
from catcher.model.run import Run
from catcher.model.time import Clock
from catcher.site import Site
from catcher.streams import Streams
from catcher.vitals import Part

FILES_TOPIC = "lsst.sal.{salname}.{event}"
"""Where files are told of in Kafka, as the other events of SAL are."""


async def open_kafka(name: str, said: Any, clock: Clock, lifetimes: AsyncExitStack) -> Any:
    """A way to Kafka as `sinks.kafka_settings.KafkaSettings` says, open until the end."""
    if said.rest:
        from catcher.sinks.rest_proxy import RestProxy

        user = said.username, said.password
        proxy = RestProxy(said.rest, said.format, said.timeout, user, said.token)
        return await lifetimes.enter_async_context(proxy)
    from catcher.sources import kafka_publisher as kafka

    sasl = None
    if said.username:
        sasl = kafka.Sasl(
            username=said.username, password=said.password, mechanism=said.mechanism
        )  # fmt: skip
    registry = None
    if said.format == "avro":
        registry = kafka.RegistrySettings(
            url=said.registry, username=said.registry_username, password=said.registry_password
        )
    cluster = kafka.Cluster(
        servers=said.servers, sasl=sasl, tls=kafka.Tls(ca=said.ca) if said.tls else None
    )
    publisher = kafka.KafkaPublisher(name, cluster, clock, registry, said.timeout)
    return await lifetimes.enter_async_context(publisher)


async def open_announcers(
    site: Site, engine: str, streams: Streams, clock: Clock, lifetimes: AsyncExitStack
) -> Announcers:
    """Whoever is to hear of results hears of them from now on, as `announce:` says."""
    from catcher.sinks.announcer import Announcer

    announcers = []
    files = site.settings.stores.large_files is not None
    for way in site.settings.announce:
        make = _to_mqtt if way.kind == "mqtt" else _to_kafka
        publish = await make(site, engine, way, clock, lifetimes)
        announcer = Announcer(way.kind, publish, clock, parts=files)
        await lifetimes.enter_async_context(announcer)
        subscription = streams.runs.subscribe(announcer.take)
        lifetimes.callback(subscription.dispose)
        announcers.append(announcer)
    return Announcers(announcers)


class Announcers:
    """All of them, as parts that have a health."""

    def __init__(self, announcers: Sequence[Any]) -> None:
        self._announcers = announcers

    def parts(self) -> list[Part]:
        """One for each way."""
        return [Part("results", one.health()) for one in self._announcers]


async def _to_mqtt(
    site: Site, engine: str, way: Any, clock: Clock, lifetimes: AsyncExitStack
) -> Any:
    from catcher.sinks.announcer import MqttAnnouncement
    from catcher.sinks.records import result_row
    from catcher.sources import mqtt_publisher as mqtt

    said, name = way.bind(MqttAnnouncement), site.settings.site
    files = site.settings.stores.large_files
    files_topic = files.topic(said.files) if files is not None else ""
    broker = mqtt.Broker(
        host=said.host, port=said.port, username=said.username, password=said.password,
        client_id=said.client_id, protocol=said.protocol,
        tls=mqtt.Tls(ca=said.ca) if said.tls else None,
    )  # fmt: skip
    publisher = mqtt.Publisher(f"{_level(name)}-results-{engine}", broker, clock)
    await lifetimes.enter_async_context(publisher)

    async def publish(run: Run) -> None:
        row = result_row(run, name)
        topic = said.topic.replace("{site}", _level(name)).replace("{rule}", _level(run.rule))
        if not run.parent:
            await publisher.publish(topic, _json(row), said.qos)
        for told in _files(files, run):
            await publisher.publish(files_topic, _json(told), said.qos)

    return publish


async def _to_kafka(
    site: Site, engine: str, way: Any, clock: Clock, lifetimes: AsyncExitStack
) -> Any:
    from catcher.sinks.kafka_settings import KafkaSettings
    from catcher.sinks.records import FILE_SCHEMA, RESULT_SCHEMA, result_row

    said, name = way.bind(KafkaSettings), site.settings.site
    files = site.settings.stores.large_files
    files_topic = files.topic(FILES_TOPIC) if files is not None else ""
    publisher = await open_kafka("results", said, clock, lifetimes)

    async def publish(run: Run) -> None:
        row = result_row(run, name)
        if not run.parent:
            await publisher.publish(said.topic or "catcher.results", run.rule, row, RESULT_SCHEMA)
        for told in _files(files, run):
            await publisher.publish(files_topic, files_topic, told, FILE_SCHEMA)

    return publish


def _files(files: LargeFiles | None, run: Run) -> list[dict[str, Any]]:
    """What is to be told of the files of a run."""
    return [] if files is None else [files.event(run, one) for one in run.artifacts]


def _json(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False, default=str).encode()


def _level(text: str) -> str:
    """A name as one level of an MQTT topic."""
    return "".join("_" if one in "+#/\0" else one for one in text) or "site"
