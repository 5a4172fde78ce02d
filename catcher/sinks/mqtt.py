"""Alerts as retained MQTT messages: whoever subscribes sees at once what is wrong now.

    # alerts/routes.yaml
    sinks:
      broker: {mqtt: {host: mqtt.example, prefix: catcher/alerts, username: catcher,
                      password: "${MQTT_PASSWORD}"}}

One topic an alert, `PREFIX/RULE/ID`, with its present state as JSON, retained. A resolved alert
is published once more, not retained, and its retained message is then taken away with an empty
one (as MQTT says "nothing here"), so that a newcomer sees open alerts only and the topics of
single exposures do not pile up on the broker. A subscriber drops repeats by `notice`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Literal, Protocol

from catcher.model.alert import Alert, Notice
from catcher.model.health import Health, HealthState
from catcher.model.message import Compose, Shown
from catcher.model.problem import CatcherError
from catcher.model.time import Instant
from catcher.ports import Row, SinkError
from catcher.sinks.layouts import state

_UNFIT = re.compile(r"[+#/\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
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


class Publisher(Protocol):
    """A connection to a broker, kept up by itself."""

    async def publish(
        self, topic: str, payload: bytes, qos: Literal[0, 1, 2] = 1, retain: bool = False
    ) -> None:
        """Returns when the broker has the message; OSError where it has not."""
        ...


class MqttSink:
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
        """SinkError where the broker did not take it in time."""
        alert, place = notice.alert, topic(self._settings.prefix, notice.alert)
        text = json.dumps(state(notice, self._compose(notice)), allow_nan=False).encode()
        gone = alert.state == "resolved"
        try:
            await self._publisher.publish(place, text, self._settings.qos, not gone)
            if gone:
                await self._publisher.publish(place, b"", self._settings.qos, True)
        except (OSError, ValueError) as error:
            self._problem = str(error)
            raise SinkError(str(error)) from error
        self._last, self._problem = notice.time, ""
        return {"topic": place}

    def health(self) -> Health:
        """`away` after a message that was not taken."""
        how: HealthState = "away" if self._problem else "ok"
        return Health(self.name, "mqtt", how, last=self._last, problem=self._problem)


def topic(prefix: str, alert: Alert) -> str:
    """`catcher/alerts/wind-high/0123456789ab`."""
    return f"{prefix.strip('/')}/{_UNFIT.sub('_', alert.rule)[:200]}/{alert.id}"


def show(settings: Settings, compose: Compose, notice: Notice) -> Shown:
    """Topic and payload as they would be published, for a preview."""
    body = state(notice, compose(notice))
    place = topic(settings.prefix, notice.alert)
    return Shown(f"{place}\n{json.dumps(body, indent=2, ensure_ascii=False)}", body)
