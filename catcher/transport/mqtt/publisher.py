"""A publisher to an MQTT broker."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Literal, Self

from catcher.model.health import Health, HealthState
from catcher.model.time import SECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.transport.mqtt.connection import (
    MQTT_ERRORS,
    MqttConnection,
    maintain_connection,
    open_connection,
)
from catcher.transport.mqtt.settings import LastWill, MqttBrokerSettings, TlsSettings

__all__ = ["LastWill", "MqttBrokerSettings", "MqttPublishError", "MqttPublisher", "TlsSettings"]


class MqttPublishError(ConnectionError):
    """The broker did not accept a message in time; try again later."""


class MqttPublisher:
    """Publishes to a broker over its own connection, which it reconnects by itself.

    Used as an async context manager. `publish` waits for a connection and the broker's
    acknowledgement for at most `timeout`, so a caller is never blocked longer; it then raises
    MqttPublishError.
    """

    def __init__(
        self, name: str, broker: MqttBrokerSettings, clock: Clock, timeout: Span = 10 * SECOND
    ) -> None:
        self._name = name
        self._broker = broker
        self._clock = clock
        self._timeout = nanoseconds_to_seconds(timeout)
        self._connection: MqttConnection | None = None
        self._connected = asyncio.Event()
        self._connection_task: asyncio.Task[Any] | None = None
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"published": 0, "failed": 0, "connections": 0}

    async def __aenter__(self) -> Self:
        client_id = self._broker.build_client_id(self._name) + "-publisher"
        self._connection_task = asyncio.create_task(
            maintain_connection(
                self._broker,
                lambda: open_connection(self._broker, client_id),
                self._on_connected,
                self._on_disconnected,
            ),
            name=f"mqtt publisher {self._name}",
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection_task is not None:
            self._connection_task.cancel()
            await asyncio.wait({self._connection_task})
        self._set_state("ended")

    async def publish(
        self, topic: str, payload: bytes, qos: Literal[0, 1, 2] = 1, retain: bool = False
    ) -> None:
        """Returns once the broker has accepted the message. Raises MqttPublishError otherwise."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._connected.wait()
                if self._connection is None:
                    raise ConnectionError("the connection was lost")
                await self._connection.publish(topic, payload, qos, retain)
        except MQTT_ERRORS as error:
            self._counts["failed"] += 1
            reason = self._problem or str(error) or "it did not answer in time"
            raise MqttPublishError(f"MQTT broker {self._broker.address}: {reason}") from error
        self._counts["published"] += 1
        self._last = self._clock()

    def health(self) -> Health:
        """Returns the health: unavailable while there is no connection, with the reason."""
        return Health(
            self._name, "mqtt", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    async def _on_connected(self, connection: MqttConnection) -> None:
        self._counts["connections"] += 1
        self._set_state("ok")
        self._connection = connection
        self._connected.set()

    def _on_disconnected(self, problem: str) -> None:
        self._connection = None
        self._connected.clear()
        self._set_state("away", problem)

    def _set_state(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state
        self._problem = problem
