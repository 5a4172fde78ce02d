"""Alerts as messages in Kafka, to the cluster itself or through a REST proxy.

    # alerts/routes.yaml
    sinks:
      sasquatch: {kafka: {servers: "kafka.example:9094", topic: catcher.alerts, tls: true,
                          username: catcher, password: "${KAFKA_PASSWORD}",
                          format: avro, registry: "https://registry.example"}}
      proxy: {kafka: {rest: "https://kafka-rest.example", topic: catcher.alerts}}

Each notification is one message: the alert's current state, with the alert's id as its key, so that
a compacted topic keeps the latest state of each. A subscriber drops repeats by `notice`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from catcher.model.alert import Notification
from catcher.model.health import Health, HealthState
from catcher.model.message import MessageComposer, SinkPreview
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.kafka_settings import KafkaPublisherSettings as KafkaSinkSettings
from catcher.sinks.message_formats import build_state_payload
from catcher.sinks.payload_schemas import ALERT_SCHEMA, build_alert_row

__all__ = ["KafkaSink", "KafkaSinkSettings", "build_preview"]

DEFAULT_TOPIC = "catcher.alerts"


class RecordPublisher(Protocol):
    """A connection to Kafka that reconnects by itself."""

    async def publish(
        self, topic: str, key: str, row: Mapping[str, Any], schema: Mapping[str, Any]
    ) -> None:
        """Returns once the message is accepted; raises OSError or ValueError if it is not."""
        ...


class KafkaSink:
    """Publishes each alert's state through a publisher with its own lifetime."""

    def __init__(
        self,
        name: str,
        settings: KafkaSinkSettings,
        publisher: RecordPublisher,
        compose: MessageComposer,
    ) -> None:
        self.name = name
        self._settings = settings
        self._publisher = publisher
        self._compose = compose
        self._last: Instant | None = None
        self._problem = ""

    async def deliver(self, notification: Notification) -> Row:
        """Publishes the state; SinkError if it is not accepted in time."""
        topic, row = (
            self._settings.topic or DEFAULT_TOPIC,
            _build_payload(self._settings, notification, self._compose),
        )
        try:
            await self._publisher.publish(topic, notification.alert.id, row, ALERT_SCHEMA)
        except (OSError, ValueError) as error:
            self._problem = str(error)
            raise SinkError(str(error), final=getattr(error, "final", False)) from error
        self._last, self._problem = notification.time, ""
        return {"topic": topic}

    def health(self) -> Health:
        """Returns the health, `away` after a message that was not accepted."""
        health_state: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "kafka", health_state, last=self._last, problem=self._problem)


def _build_payload(
    settings: KafkaSinkSettings, notification: Notification, compose: MessageComposer
) -> dict[str, Any]:
    payload = build_state_payload(notification, compose(notification))
    return build_alert_row(payload) if settings.format == "avro" else payload


def build_preview(
    settings: KafkaSinkSettings, compose: MessageComposer, notification: Notification
) -> SinkPreview:
    """Returns a preview of topic, key and value."""
    payload = _build_payload(settings, notification, compose)
    text = json.dumps(payload, indent=2, ensure_ascii=False)
    return SinkPreview(
        f"{settings.topic or DEFAULT_TOPIC} {notification.alert.id}\n{text}", payload
    )
