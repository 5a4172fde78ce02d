"""A publisher to a Kafka cluster."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from catcher.model.health import Health, HealthState
from catcher.model.time import SECOND, Clock, Instant, Span, nanoseconds_to_seconds
from catcher.transport.avro import AvroCodec, compile_schema
from catcher.transport.backoff import Backoff
from catcher.transport.kafka.connection import (
    KAFKA_ERRORS,
    TOO_LARGE_ERROR,
    ProducerConnection,
    connect_producer,
    format_kafka_error,
)
from catcher.transport.kafka.settings import KafkaClusterSettings, SaslCredentials
from catcher.transport.schema_registry import (
    SchemaRegistry,
    SchemaRegistrySettings,
    SchemaRegistryUnavailable,
)
from catcher.transport.tls import TlsSettings

__all__ = [
    "KafkaClusterSettings",
    "KafkaPublishError",
    "KafkaPublisher",
    "SaslCredentials",
    "SchemaRegistrySettings",
    "TlsSettings",
]


class KafkaPublishError(ConnectionError):
    """The cluster did not accept a message in time; `final` if it never will."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class KafkaPublisher:
    """Publishes over its own connection, which it reconnects by itself.

    Used as an async context manager. With a registry, rows that come with a schema are sent in
    Confluent's wire format, their schema under the subject `TOPIC-value`; else as JSON.
    """

    def __init__(
        self, name: str, cluster: KafkaClusterSettings, clock: Clock,
        registry: SchemaRegistrySettings | None = None, timeout: Span = 10 * SECOND,
    ) -> None:  # fmt: skip
        self._name = name
        self._cluster = cluster
        self._clock = clock
        self._registry = SchemaRegistry(registry) if registry else None
        self._timeout = timeout
        self._schemas: dict[str, tuple[int, AvroCodec]] = {}
        self._producer: ProducerConnection | None = None
        self._connected, self._reconnect = asyncio.Event(), asyncio.Event()
        self._connection_task: asyncio.Task[None] | None = None
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = {"published": 0, "failed": 0, "connections": 0}

    async def __aenter__(self) -> Self:
        self._connection_task = asyncio.create_task(
            self._run_connection(), name=f"kafka publisher {self._name}"
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
        self, topic: str, key: str, row: Mapping[str, Any], schema: Mapping[str, Any]
    ) -> None:
        """Returns once the cluster has the message. Raises KafkaPublishError otherwise."""
        try:
            async with asyncio.timeout(nanoseconds_to_seconds(self._timeout)):
                value = await self._encode_row(topic, row, schema)
                await self._connected.wait()
                if self._producer is None:
                    raise ConnectionError("the connection was lost")
                await self._producer.send(topic, value, key.encode() or None)
        except (*KAFKA_ERRORS, SchemaRegistryUnavailable) as error:
            self._counts["failed"] += 1
            reason = format_kafka_error(error) if not self._problem else self._problem
            final = isinstance(error, TOO_LARGE_ERROR)
            if not final and not isinstance(error, TimeoutError | SchemaRegistryUnavailable):
                self._reconnect.set()
            raise KafkaPublishError(f"Kafka {self._cluster.address}: {reason}", final) from error
        self._counts["published"] += 1
        self._last = self._clock()

    def health(self) -> Health:
        """Returns the health: unavailable while there is no connection, with the reason."""
        return Health(
            self._name, "kafka", self._state, self._since, self._last, self._problem,
            dict(self._counts),
        )  # fmt: skip

    async def _encode_row(
        self, topic: str, row: Mapping[str, Any], schema: Mapping[str, Any]
    ) -> bytes:
        if self._registry is None:
            return json.dumps(row, allow_nan=False, default=str).encode()
        if topic not in self._schemas:
            text = json.dumps(schema)
            schema_id = await self._registry.register_schema(f"{topic}-value", text)
            self._schemas[topic] = schema_id, compile_schema(text)
        schema_id, codec = self._schemas[topic]
        return struct.pack(">bI", 0, schema_id) + codec.encode(row)

    async def _run_connection(self) -> None:
        backoff = Backoff(self._cluster.retry_first, self._cluster.retry_longest)
        while True:
            try:
                async with connect_producer(self._cluster, self._timeout) as producer:
                    backoff.reset()
                    self._counts["connections"] += 1
                    self._producer = producer
                    self._set_state("ok")
                    self._reconnect.clear()
                    self._connected.set()
                    await self._reconnect.wait()
            except KAFKA_ERRORS as error:
                self._set_state("away", format_kafka_error(error))
            finally:
                self._producer = None
                self._connected.clear()
            await backoff.wait()

    def _set_state(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state
        self._problem = problem
