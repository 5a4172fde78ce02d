"""Alerts as messages in Kafka, to the cluster itself or through a REST proxy.

    # alerts/routes.yaml
    sinks:
      sasquatch: {kafka: {servers: "kafka.example:9094", topic: catcher.alerts, tls: true,
                          username: catcher, password: "${KAFKA_PASSWORD}",
                          format: avro, registry: "https://registry.example"}}
      proxy: {kafka: {rest: "https://kafka-rest.example", topic: catcher.alerts}}

Each notice is one message: the alert's present state, under the alert's id as its key, so that
a compacted topic keeps the latest state of each. A subscriber drops repeats by `notice`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from catcher.model.alert import Notice
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Shown
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.kafka_settings import KafkaSettings as Settings
from catcher.sinks.layouts import state
from catcher.sinks.records import ALERT_SCHEMA, alert_record

__all__ = ["KafkaSink", "Settings", "show"]

TOPIC = "catcher.alerts"


class Publisher(Protocol):
    """A way to Kafka, kept up by itself."""

    async def publish(
        self, topic: str, key: str, row: Mapping[str, Any], schema: Mapping[str, Any]
    ) -> None:
        """Returns when the message is taken; OSError or ValueError where it is not."""
        ...


class KafkaSink:
    """Publishes each alert's state through a publisher, which has a lifetime of its own."""

    def __init__(
        self, name: str, settings: Settings, publisher: Publisher, compose: Compose
    ) -> None:
        self.name = name
        self._settings = settings
        self._publisher = publisher
        self._compose = compose
        self._last: Instant | None = None
        self._problem = ""

    async def deliver(self, notice: Notice) -> Row:
        """SinkError where it was not taken in time."""
        topic, row = self._settings.topic or TOPIC, _row(self._settings, notice, self._compose)
        try:
            await self._publisher.publish(topic, notice.alert.id, row, ALERT_SCHEMA)
        except (OSError, ValueError) as error:
            self._problem = str(error)
            raise SinkError(str(error), final=getattr(error, "final", False)) from error
        self._last, self._problem = notice.time, ""
        return {"topic": topic}

    def health(self) -> Health:
        """`away` after a message that was not taken."""
        how: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "kafka", how, last=self._last, problem=self._problem)


def _row(settings: Settings, notice: Notice, compose: Compose) -> dict[str, Any]:
    whole = state(notice, compose(notice))
    return alert_record(whole) if settings.format == "avro" else whole


def show(settings: Settings, compose: Compose, notice: Notice) -> Shown:
    """Topic, key and value as they would be published, for a preview."""
    body = _row(settings, notice, compose)
    text = json.dumps(body, indent=2, ensure_ascii=False)
    return Shown(f"{settings.topic or TOPIC} {notice.alert.id}\n{text}", body)
