"""A publisher to an MQTT broker, for whoever has something to say there."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Literal, Self

from catcher.model.health import Health, HealthState
from catcher.model.time import SECOND, Clock, Instant, Span, to_seconds
from catcher.sources.mqtt_broker import Broker, Tls, Will
from catcher.sources.mqtt_link import Link, LinkError, connect, keep_connected

__all__ = ["Broker", "NotPublished", "Publisher", "Tls", "Will"]


class NotPublished(ConnectionError):
    """The broker did not take a message in time; try again later."""


class Publisher:
    """Publishes to a broker over a connection of its own, which it keeps up by itself.

    Used as an async context manager. `publish` waits for a connection and the broker's receipt
    up to `patience`, so that a caller is never held longer; it then raises NotPublished.
    """

    def __init__(
        self, name: str, broker: Broker, clock: Clock, patience: Span = 10 * SECOND
    ) -> None:
        self._name = name
        self._broker = broker
        self._clock = clock
        self._patience = to_seconds(patience)
        self._link: Link | None = None
        self._linked = asyncio.Event()
        self._keeper: asyncio.Task[Any] | None = None
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"published": 0, "failed": 0, "connections": 0}

    async def __aenter__(self) -> Self:
        identity = self._broker.identity(self._name) + "-publisher"
        self._keeper = asyncio.create_task(
            keep_connected(
                self._broker, lambda: connect(self._broker, identity), self._use, self._away
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
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        self._become("ended")

    async def publish(
        self, topic: str, payload: bytes, qos: Literal[0, 1, 2] = 1, retain: bool = False
    ) -> None:
        """Returns when the broker has taken the message; NotPublished where it did not."""
        try:
            async with asyncio.timeout(self._patience):
                await self._linked.wait()
                if self._link is None:
                    raise ConnectionError("the connection was lost")
                await self._link.publish(topic, payload, qos, retain)
        except LinkError as error:
            self._counts["failed"] += 1
            why = self._problem or str(error) or "it did not answer in time"
            raise NotPublished(f"MQTT broker {self._broker.address}: {why}") from error
        self._counts["published"] += 1
        self._last = self._clock()

    def health(self) -> Health:
        """`away` while there is no connection, with the reason."""
        return Health(
            self._name, "mqtt", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    async def _use(self, link: Link) -> None:
        self._counts["connections"] += 1
        self._become("ok")
        self._link = link
        self._linked.set()

    def _away(self, problem: str) -> None:
        self._link = None
        self._linked.clear()
        self._become("away", problem)

    def _become(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state
        self._problem = problem
