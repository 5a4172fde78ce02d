"""Events from an MQTT broker; also exports the publisher.

In `catcher.yaml`:

    sources:
      efd:
        mqtt:
          host: broker.example
          port: 8883                       # 1883, or 8883 with tls
          topics:                          # the first filter that fits gives the name
            "sal/+/+": "lsst.sal.{1}.{2}"
            "ess/#": {name: "lsst.sal.ESS.{1}", qos: 0}
            "night/recorded": "{topic}"    # payloads are recorded lines with their own topic
          qos: 1                           # 1 and 2 are acknowledged once they are kept
          time: private_sndStamp           # none: the time of arrival
          scale: tai
          username: catcher
          password: "${MQTT_PASSWORD}"
          tls: {ca: /etc/ssl/observatory.pem}
          protocol: "5"
          user_properties: {origin: sentBy}    # of a message (MQTT 5), as fields of its events
          client_id: catcher-summit        # of this engine alone, and the same after a restart
          session: 7d                      # how long the broker keeps our messages (0s: not)
        clock: wall
        lateness: 2s

A payload is one JSON object, a list of them, or `{"samples": [...]}`. How much a broker queues for
a disconnected client is up to the broker: by default mosquitto drops all beyond 1,000 messages
(`max_queued_messages`), and delivers 20 at a time (`max_inflight_messages`, or MQTT 5, where this
client requests more).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.time import DAY, Clock, Instant, Span
from catcher.ports import EventBatch
from catcher.sources.topic_mapping import TOPIC_FROM_PAYLOAD, TopicMap, parse_subscription
from catcher.transport.event_decoder import EventDecoder, TimeScale, format_size_error, to_printable
from catcher.transport.mqtt.connection import MqttConnection, maintain_connection, open_connection
from catcher.transport.mqtt.packets import PacketParser, PublishPacket
from catcher.transport.mqtt.publisher import MqttPublisher, MqttPublishError
from catcher.transport.mqtt.settings import MqttBrokerSettings, TlsSettings

__all__ = [
    "MqttBrokerSettings",
    "MqttPublishError",
    "MqttPublisher",
    "MqttSource",
    "MqttSourceSettings",
    "TlsSettings",
]

_BATCH_SIZE = 1_000
_MAX_QUEUED_MESSAGES = 10_000
_MAX_QUEUED_BYTES = 64_000_000
_MIN_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSourceSettings(MqttBrokerSettings):
    """What to hear from a broker. The sample is in this module's docstring.

    `topics` maps a topic filter to a stream's name, or to `{name, qos, retained}`.
    """

    topics: Mapping[str, Any]
    qos: Literal[0, 1, 2] = 1
    time: str = ""
    scale: TimeScale = "utc"
    session: Span = 7 * DAY
    user_properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.build_topic_map()
        if self.user_properties and self.protocol != "5":
            raise CatcherError("user properties came with MQTT 5", 'add protocol: "5"')

    def build_topic_map(self) -> TopicMap:
        """Builds the topic map. Raises CatcherError if a filter or a name cannot be used."""
        return TopicMap(
            {
                topic_filter: parse_subscription(topic_filter, entry)
                for topic_filter, entry in self.topics.items()
            }
        )


_MessageChunk = tuple[MqttConnection, Instant, list[PublishPacket]]
"""The messages of one read of the socket, with their connection and time."""


@dataclass(slots=True)
class _BatchBuilder:
    """Messages that are collected to a batch."""

    durable: bool = False
    count: int = 0
    events: list[Event] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    pending_acks: list[tuple[MqttConnection, int, int]] = field(default_factory=list)

    async def acknowledge(self) -> None:
        """Acknowledges the messages; does nothing on a lost connection, as the broker redelivers
        them.
        """
        for connection, packet_id, qos in self.pending_acks:
            connection.acknowledge(packet_id, qos)


class MqttSource:
    """The events of one broker (`ports.Source`).

    Messages of QoS 1 and 2 are durable: they are acknowledged when their batch is processed, and
    redelivered if that never happens. At most `_MAX_QUEUED_MESSAGES` messages wait here; beyond
    that the socket is not read, so that the rest waits at the broker.
    """

    def __init__(
        self, name: str, settings: MqttSourceSettings, clock: Clock, payload_limit: int = 1_000_000
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._topics = settings.build_topic_map()
        self._user_fields = {
            property_name.encode(): field_name
            for property_name, field_name in settings.user_properties.items()
        }
        self._decoder = EventDecoder(name, settings.time, settings.scale, payload_limit)
        self._queue: deque[_MessageChunk] = deque()
        self._queued_messages = self._queued_bytes = 0
        self._has_messages = asyncio.Event()
        self._active_connection: MqttConnection | None = None
        self._paused = self._subscribed = False
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = dict.fromkeys(
            ("messages", "events", "rejected", "skipped", "connections", "pauses"), 0
        )

    @property
    def name(self) -> str:
        """The name in the site's configuration."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[EventBatch]]:
        """Connects in the background; leaving disconnects but keeps the session."""
        return self._open_batches()

    def health(self) -> Health:
        """Returns the health: unavailable if disconnected; a refused subscription is a problem."""
        counts = {
            **self._counts,
            "waiting": self._queued_messages,
            "unknown": self._decoder.non_finite_count,
        }
        return Health(
            self._name, "mqtt", self._state, self._since, self._last, self._problem, counts
        )

    @asynccontextmanager
    async def _open_batches(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        connection_task = asyncio.create_task(
            maintain_connection(
                self._settings, self._open_connection, self._on_connected, self._on_disconnected
            ),
            name=f"mqtt source {self._name}",
        )
        connection_task.add_done_callback(lambda _: self._has_messages.set())
        batches = self._iter_batches(connection_task)
        try:
            yield batches
        finally:
            connection_task.cancel()
            await asyncio.wait({connection_task})
            await batches.aclose()
            self._set_state("ended")

    def _open_connection(self) -> AbstractAsyncContextManager[MqttConnection]:
        version = 5 if self._settings.protocol == "5" else 4
        parser = PacketParser(self._decoder.max_bytes, version)
        client_id = self._settings.build_client_id(self._name)
        listener = (parser, self._enqueue_messages)
        return open_connection(
            self._settings,
            client_id,
            self._settings.session or None,
            listener,
            _MAX_QUEUED_MESSAGES,
        )

    async def _on_connected(self, connection: MqttConnection) -> None:
        self._active_connection = connection
        self._paused = False
        self._counts["connections"] += 1
        if connection.session_present:
            self._drop_unacknowledged(connection)
        # Subscribing again would redeliver every retained message.
        is_resumed = self._subscribed and connection.session_present
        self._set_state("ok", "" if is_resumed else await self._subscribe_topics(connection))

    async def _subscribe_topics(self, connection: MqttConnection) -> str:
        entries = self._topics.subscriptions.items()
        requests = [
            (topic_filter, self._settings.qos if entry.qos is None else entry.qos)
            for topic_filter, entry in entries
        ]
        results = await connection.subscribe(requests)
        problems = [result.problem for result in results if result.problem]
        self._subscribed = not problems
        return "; ".join(problems)

    def _on_disconnected(self, problem: str) -> None:
        self._active_connection = None
        self._set_state("away", f"{self._settings.address}: {problem}")

    def _set_state(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state
        self._problem = problem

    def _enqueue_messages(self, connection: MqttConnection, messages: list[PublishPacket]) -> None:
        self._queue.append((connection, self._clock(), messages))
        self._queued_messages += len(messages)
        self._queued_bytes += _sum_payload_bytes(messages)
        self._has_messages.set()
        if self._queued_messages > _MAX_QUEUED_MESSAGES or self._queued_bytes > _MAX_QUEUED_BYTES:
            self._paused = True
            self._counts["pauses"] += 1
            connection.pause_reading()

    async def _iter_batches(
        self, connection_task: asyncio.Task[Any]
    ) -> AsyncGenerator[EventBatch, None]:
        while True:
            while self._queue:
                for batch in self._chunks_to_batches(self._dequeue_chunks()):
                    yield batch
            if connection_task.done():
                connection_task.result()
            self._has_messages.clear()
            await self._has_messages.wait()

    def _dequeue_chunks(self) -> list[_MessageChunk]:
        """Dequeues up to a batch; resumes reading once half of the queue is free."""
        chunks, count = [], 0
        while self._queue and count < _BATCH_SIZE:
            chunk = self._queue.popleft()
            chunks.append(chunk)
            count += len(chunk[2])
            self._queued_bytes -= _sum_payload_bytes(chunk[2])
        self._queued_messages -= count
        if (
            self._paused
            and self._queued_messages <= _MAX_QUEUED_MESSAGES // 2
            and self._queued_bytes <= _MAX_QUEUED_BYTES // 2
        ):
            self._paused = False
            if self._active_connection is not None:
                self._active_connection.resume_reading()
        return chunks

    def _drop_unacknowledged(self, connection: MqttConnection) -> None:
        """Drops queued messages of an earlier connection that the broker will redeliver."""
        for chunk in list(self._queue):
            if chunk[0] is not connection:
                redelivered = [message for message in chunk[2] if message[2]]
                self._queued_messages -= len(redelivered)
                self._queued_bytes -= _sum_payload_bytes(redelivered)
                chunk[2][:] = [message for message in chunk[2] if not message[2]]

    def _chunks_to_batches(self, chunks: list[_MessageChunk]) -> Iterator[EventBatch]:
        """Yields batches in the order of the messages.

        Durable and other messages are split only if neither batch becomes too small, because each
        durable batch costs a commit and each durable event a row.
        """
        builder = _BatchBuilder()
        for connection, arrival, messages in chunks:
            self._last = arrival
            for message in messages:
                qos, packet_id = message[2], message[3]
                if builder.durable != (qos > 0):
                    if builder.count >= _MIN_BATCH:
                        yield self._build_batch(builder)
                        builder = _BatchBuilder()
                    builder.durable = builder.durable or qos > 0
                builder.count += 1
                if qos:
                    builder.pending_acks.append((connection, packet_id, qos))
                self._decode_message(message, arrival, builder)
        if builder.count:
            yield self._build_batch(builder)

    def _decode_message(
        self, message: PublishPacket, arrival: Instant, builder: _BatchBuilder
    ) -> None:
        topic_bytes, payload, _, _, retained, size, user_properties = message
        event_count = len(builder.events)
        try:
            match = self._topics.find_stream(topic_bytes)
        except ValueError as error:
            builder.rejected.append(str(error))
            return
        topic = topic_bytes.decode() if match is None or payload is None else match[0]
        if match is None:
            builder.rejected.append(
                f"{to_printable(topic)}: no entry of `topics` fits this MQTT topic"
            )
        elif payload is None:
            builder.rejected.append(
                f"{to_printable(topic)}: {format_size_error(size, self._decoder.max_bytes)}"
            )
        elif retained and not match[1].retained:
            self._counts["skipped"] += 1
        elif topic == TOPIC_FROM_PAYLOAD:
            self._decoder.decode_recorded_lines(payload, arrival, builder.events, builder.rejected)
        else:
            self._decoder.decode(topic, payload, arrival, builder.events, builder.rejected)
        if user_properties and self._user_fields:
            user_fields = {
                self._user_fields[property_name]: value.decode("utf-8", "replace")
                for property_name, value in user_properties
                if property_name in self._user_fields
            }
            builder.events[event_count:] = [
                event._replace(fields={**event.fields, **user_fields})
                for event in builder.events[event_count:]
            ]

    def _build_batch(self, builder: _BatchBuilder) -> EventBatch:
        self._counts["messages"] += builder.count
        self._counts["events"] += len(builder.events)
        self._counts["rejected"] += len(builder.rejected)
        return EventBatch(
            self._name,
            builder.events,
            builder.rejected,
            durable=builder.durable,
            acknowledge=builder.acknowledge,
        )


def _sum_payload_bytes(messages: list[PublishPacket]) -> int:
    return sum(len(message[1] or b"") for message in messages)
