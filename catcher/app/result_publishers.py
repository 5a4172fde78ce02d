"""Connections for publishing, and the publishers of committed results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from catcher.engine.event_bus import EventBus
from catcher.model.large_files import LargeFiles
from catcher.model.run import Run
from catcher.model.time import Clock
from catcher.monitoring import Component
from catcher.site import Site

FILES_TOPIC = "lsst.sal.{salname}.{event}"
"""The Kafka topic that announces files, named like the other events of SAL."""


async def open_kafka_publisher(
    name: str, settings: Any, clock: Clock, exit_stack: AsyncExitStack
) -> Any:
    """Opens a Kafka publisher (settings: `KafkaPublisherSettings`) until `exit_stack` closes."""
    if settings.rest:
        from catcher.sinks.kafka_rest_proxy import RestProxy

        credentials = settings.username, settings.password
        proxy = RestProxy(
            settings.rest, settings.format, settings.timeout, credentials, settings.token
        )
        return await exit_stack.enter_async_context(proxy)
    from catcher.transport.kafka import producer as kafka

    sasl = None
    if settings.username:
        sasl = kafka.SaslCredentials(
            username=settings.username, password=settings.password, mechanism=settings.mechanism
        )  # fmt: skip
    registry = None
    if settings.format == "avro":
        registry = kafka.SchemaRegistrySettings(
            url=settings.registry,
            username=settings.registry_username,
            password=settings.registry_password,
        )
    cluster = kafka.KafkaClusterSettings(
        servers=settings.servers,
        sasl=sasl,
        tls=kafka.TlsSettings(ca=settings.ca) if settings.tls else None,
    )
    publisher = kafka.KafkaPublisher(name, cluster, clock, registry, settings.timeout)
    return await exit_stack.enter_async_context(publisher)


async def open_result_publishers(
    site: Site, engine_name: str, event_bus: EventBus, clock: Clock, exit_stack: AsyncExitStack
) -> ResultPublishers:
    """Starts publishing results, as the section `announce:` says."""
    from catcher.sinks.result_publisher import ResultPublisher

    publishers = []
    has_files = site.settings.stores.large_files is not None
    for section in site.settings.announce:
        create_publish = (
            _create_mqtt_publish_function
            if section.kind == "mqtt"
            else _create_kafka_publish_function
        )
        publish = await create_publish(site, engine_name, section, clock, exit_stack)
        publisher = ResultPublisher(section.kind, publish, clock, include_parts=has_files)
        await exit_stack.enter_async_context(publisher)
        subscription = event_bus.runs.subscribe(publisher.enqueue)
        exit_stack.callback(subscription.dispose)
        publishers.append(publisher)
    return ResultPublishers(publishers)


class ResultPublishers:
    """All result publishers, as components with health."""

    def __init__(self, publishers: Sequence[Any]) -> None:
        self._publishers = publishers

    def list_components(self) -> list[Component]:
        """Returns a component for each publisher."""
        return [Component("results", publisher.health()) for publisher in self._publishers]


async def _create_mqtt_publish_function(
    site: Site, engine_name: str, section: Any, clock: Clock, exit_stack: AsyncExitStack
) -> Any:
    from catcher.sinks.payload_schemas import build_result_row
    from catcher.sinks.result_publisher import MqttResultSettings
    from catcher.transport.mqtt import publisher as mqtt

    settings, site_name = section.bind_settings(MqttResultSettings), site.settings.site
    large_files = site.settings.stores.large_files
    files_topic = large_files.format_topic(settings.files) if large_files is not None else ""
    broker = mqtt.MqttBrokerSettings(
        host=settings.host,
        port=settings.port,
        username=settings.username,
        password=settings.password,
        client_id=settings.client_id,
        protocol=settings.protocol,
        tls=mqtt.TlsSettings(ca=settings.ca) if settings.tls else None,
    )
    publisher = mqtt.MqttPublisher(
        f"{_sanitize_topic_level(site_name)}-results-{engine_name}", broker, clock
    )
    await exit_stack.enter_async_context(publisher)

    async def publish_run(run: Run) -> None:
        row = build_result_row(run, site_name)
        topic = settings.topic.replace("{site}", _sanitize_topic_level(site_name)).replace(
            "{rule}", _sanitize_topic_level(run.rule)
        )
        if not run.parent:
            await publisher.publish(topic, _encode_json(row), settings.qos)
        for file_event in _build_file_events(large_files, run):
            await publisher.publish(files_topic, _encode_json(file_event), settings.qos)

    return publish_run


async def _create_kafka_publish_function(
    site: Site, engine_name: str, section: Any, clock: Clock, exit_stack: AsyncExitStack
) -> Any:
    from catcher.sinks.kafka_settings import KafkaPublisherSettings
    from catcher.sinks.payload_schemas import FILE_SCHEMA, RESULT_SCHEMA, build_result_row

    settings, site_name = section.bind_settings(KafkaPublisherSettings), site.settings.site
    large_files = site.settings.stores.large_files
    files_topic = large_files.format_topic(FILES_TOPIC) if large_files is not None else ""
    publisher = await open_kafka_publisher("results", settings, clock, exit_stack)

    async def publish_run(run: Run) -> None:
        row = build_result_row(run, site_name)
        if not run.parent:
            await publisher.publish(
                settings.topic or "catcher.results", run.rule, row, RESULT_SCHEMA
            )
        for file_event in _build_file_events(large_files, run):
            await publisher.publish(files_topic, files_topic, file_event, FILE_SCHEMA)

    return publish_run


def _build_file_events(large_files: LargeFiles | None, run: Run) -> list[dict[str, Any]]:
    """Builds the events that announce the files of a run."""
    return (
        []
        if large_files is None
        else [large_files.build_event_fields(run, artifact) for artifact in run.artifacts]
    )


def _encode_json(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False, default=str).encode()


def _sanitize_topic_level(text: str) -> str:
    """Converts a name to one level of an MQTT topic."""
    return "".join("_" if char in "+#/\0" else char for char in text) or "site"
