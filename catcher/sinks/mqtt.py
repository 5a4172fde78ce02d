"""Alerts as retained MQTT messages: a new subscriber sees at once what is wrong now.

    # alerts/routes.yaml
    sinks:
      broker: {mqtt: {host: mqtt.example, prefix: catcher/alerts, username: catcher,
                      password: "${MQTT_PASSWORD}"}}

One topic per alert, `PREFIX/RULE/ID`, with its current state as JSON, retained. A resolved alert is
published once more, not retained, and its retained message is then deleted with an empty one (as
MQTT prescribes), so that a new subscriber sees open alerts only and the topics of single exposures
do not pile up on the broker. A subscriber drops repeats by `notice`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Literal, Protocol

from catcher.model.alert import Alert, Notification
from catcher.model.errors import CatcherError
from catcher.model.health import Health, HealthState
from catcher.model.message import MessageComposer, SinkPreview
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.message_formats import build_state_payload

_INVALID_TOPIC_CHARS = re.compile(r"[+#/\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSinkSettings:
    """The broker and how to enter it, and the beginning of each alert's topic.

    `port` 0 means 1883, or 8883 with `tls`; `ca` is a PEM file, empty for the machine's own
    authorities. `qos` 1 waits for the broker to have a message.
    """

    host: str = "localhost"
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    client_id: str = ""
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    tls: bool = False
    ca: str = ""
    prefix: str = "catcher/alerts"
    qos: Literal[0, 1, 2] = 1

    def __post_init__(self) -> None:
        if not self.prefix.strip("/") or "+" in self.prefix or "#" in self.prefix:
            raise CatcherError(
                f"{self.prefix!r} is no topic to publish under", "write it like catcher/alerts"
            )


class TopicPublisher(Protocol):
    """A connection to a broker that reconnects by itself."""

    async def publish(
        self, topic: str, payload: bytes, qos: Literal[0, 1, 2] = 1, retain: bool = False
    ) -> None:
        """Returns once the broker has the message; raises OSError if it does not take it."""
        ...


class MqttSink:
    """Publishes each alert's state through a publisher with its own lifetime."""

    def __init__(
        self,
        name: str,
        settings: MqttSinkSettings,
        publisher: TopicPublisher,
        compose: MessageComposer,
    ) -> None:
        self.name = name
        self._settings = settings
        self._publisher = publisher
        self._compose = compose
        self._last: Instant | None = None
        self._problem = ""

    async def deliver(self, notification: Notification) -> Row:
        """Publishes the state; SinkError if the broker does not take it in time."""
        alert, topic_name = (
            notification.alert,
            build_alert_topic(self._settings.prefix, notification.alert),
        )
        payload = json.dumps(
            build_state_payload(notification, self._compose(notification)), allow_nan=False
        ).encode()
        is_resolved = alert.state == "resolved"
        try:
            await self._publisher.publish(topic_name, payload, self._settings.qos, not is_resolved)
            if is_resolved:
                await self._publisher.publish(topic_name, b"", self._settings.qos, True)
        except (OSError, ValueError) as error:
            self._problem = str(error)
            raise SinkError(str(error)) from error
        self._last, self._problem = notification.time, ""
        return {"topic": topic_name}

    def health(self) -> Health:
        """Returns the health, `away` after a message that was not taken."""
        health_state: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "mqtt", health_state, last=self._last, problem=self._problem)


def build_alert_topic(prefix: str, alert: Alert) -> str:
    """Returns the topic of an alert, such as `catcher/alerts/wind-high/0123456789ab`."""
    return f"{prefix.strip('/')}/{_INVALID_TOPIC_CHARS.sub('_', alert.rule)[:200]}/{alert.id}"


def build_preview(
    settings: MqttSinkSettings, compose: MessageComposer, notification: Notification
) -> SinkPreview:
    """Returns a preview of topic and payload."""
    payload = build_state_payload(notification, compose(notification))
    topic_name = build_alert_topic(settings.prefix, notification.alert)
    return SinkPreview(
        f"{topic_name}\n{json.dumps(payload, indent=2, ensure_ascii=False)}", payload
    )
