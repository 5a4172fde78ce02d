"""A publisher to a Kafka cluster, for whoever has something to say there."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from catcher.model.health import Health, HealthState
from catcher.model.time import SECOND, Clock, Instant, Span, to_seconds
from catcher.sources.avro import Codec, compile_schema
from catcher.sources.backoff import Backoff
from catcher.sources.kafka_broker import Cluster, Sasl
from catcher.sources.kafka_link import TOO_LARGE, LinkError, Outlet, open_outlet, words
from catcher.sources.registry import Registry, RegistryAway, RegistrySettings
from catcher.sources.tls import Tls

__all__ = ["Cluster", "KafkaPublisher", "NotPublished", "RegistrySettings", "Sasl", "Tls"]


class NotPublished(ConnectionError):
    """The cluster did not take a message in time; `final` where it never will."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class KafkaPublisher:
    """Publishes over a connection of its own, which it keeps up by itself.

    Used as an async context manager. With a registry, rows that come with a schema go out in
    Confluent's wire format, their schema under the subject `TOPIC-value`; else as JSON.
    """

    def __init__(
        self, name: str, cluster: Cluster, clock: Clock,
        registry: RegistrySettings | None = None, patience: Span = 10 * SECOND,
    ) -> None:  # fmt: skip
        self._name = name
        self._cluster = cluster
        self._clock = clock
        self._registry = Registry(registry) if registry else None
        self._patience = patience
        self._schemas: dict[str, tuple[int, Codec]] = {}
        self._outlet: Outlet | None = None
        self._linked, self._broken = asyncio.Event(), asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"published": 0, "failed": 0, "connections": 0}

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep(), name=f"kafka publisher {self._name}")
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
        self, topic: str, key: str, row: Mapping[str, Any], schema: Mapping[str, Any]
    ) -> None:
        """Returns when the cluster has the message; NotPublished where it has not."""
        try:
            async with asyncio.timeout(to_seconds(self._patience)):
                value = await self._encoded(topic, row, schema)
                await self._linked.wait()
                if self._outlet is None:
                    raise ConnectionError("the connection was lost")
                await self._outlet.send(topic, value, key.encode() or None)
        except (*LinkError, RegistryAway) as error:
            self._counts["failed"] += 1
            why = words(error) if not self._problem else self._problem
            final = isinstance(error, TOO_LARGE)
            if not final and not isinstance(error, TimeoutError | RegistryAway):
                self._broken.set()
            raise NotPublished(f"Kafka {self._cluster.address}: {why}", final) from error
        self._counts["published"] += 1
        self._last = self._clock()

    def health(self) -> Health:
        """`away` while there is no connection, with the reason."""
        return Health(
            self._name, "kafka", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    async def _encoded(
        self, topic: str, row: Mapping[str, Any], schema: Mapping[str, Any]
    ) -> bytes:
        if self._registry is None:
            return json.dumps(row, allow_nan=False, default=str).encode()
        if topic not in self._schemas:
            text = json.dumps(schema)
            number = await self._registry.register(f"{topic}-value", text)
            self._schemas[topic] = number, compile_schema(text)
        number, codec = self._schemas[topic]
        return struct.pack(">bI", 0, number) + codec.write(row)

    async def _keep(self) -> None:
        backoff = Backoff(self._cluster.retry_first, self._cluster.retry_longest)
        while True:
            try:
                async with open_outlet(self._cluster, self._patience) as outlet:
                    backoff.reset()
                    self._counts["connections"] += 1
                    self._outlet = outlet
                    self._become("ok")
                    self._broken.clear()
                    self._linked.set()
                    await self._broken.wait()
            except LinkError as error:
                self._become("away", words(error))
            finally:
                self._outlet = None
                self._linked.clear()
            await backoff.wait()

    def _become(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state
        self._problem = problem
