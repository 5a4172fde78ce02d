"""Events from a Kafka cluster, as Rubin's Sasquatch runs it: Avro with a schema registry, or JSON.

In `catcher.yaml`:

    sources:
      efd:
        kafka:
          servers: sasquatch-base.example:9094     # several with commas between
          group: catcher-summit                    # of this site alone
          topics: [lsst.sal.ESS.*, lsst.sal.MTMount.*]
          # topics: {"lsst.sal.*": "efd.{1}"}      # other names for the streams
          registry: {url: "https://sasquatch.example/schema-registry"}
          sasl: {username: catcher, password: "${KAFKA_PASSWORD}", mechanism: SCRAM-SHA-512}
          tls: {ca: /etc/ssl/observatory.pem}
          time: private_sndStamp                   # none: Kafka's own stamp of the message
          scale: tai
          start: latest                            # where a group begins that has never read
          telemetry: [lsst.sal.ESS.*]              # goes by without the inbox
        lateness: 2s

Offsets are committed once the events are in the inbox; those of `telemetry` as soon as they are
accepted, so a crash may lose the last ones. An unreadable message is rejected and counted, and
blocks nothing; an unavailable registry or cluster is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.telemetry import FieldInfo
from catcher.model.time import SECOND, Clock, Instant, Span
from catcher.ports import EventBatch
from catcher.sources.kafka_decoder import KafkaDecoder
from catcher.transport.backoff import Backoff
from catcher.transport.event_decoder import TimeScale
from catcher.transport.kafka.connection import (
    KAFKA_ERRORS,
    KafkaConsumer,
    KafkaMessage,
    StartOffset,
    format_kafka_error,
    join_group,
)
from catcher.transport.kafka.offsets import OffsetTracker, PartitionKey, PolledOffsets
from catcher.transport.kafka.settings import KafkaClusterSettings
from catcher.transport.kafka.topic_patterns import TopicPatterns, compile_pattern
from catcher.transport.schema_registry import (
    SchemaRegistry,
    SchemaRegistrySettings,
    SchemaRegistryUnavailable,
)

# Splits fetched messages into batches: durable ones for the inbox, and others.


MIN_BATCH = 64
"""Minimum length of a batch before it is split where durability changes: each durable batch costs a
commit, each durable event a row.
"""


def split_by_durability(
    messages: Sequence[KafkaMessage], is_durable: Callable[[str], bool]
) -> Iterator[tuple[bool, list[KafkaMessage]]]:
    """Yields chunks of messages in order; a durable message is always in a durable chunk."""
    chunk: list[KafkaMessage] = []
    chunk_durable = False
    for message in messages:
        message_durable = is_durable(message.topic)
        if message_durable != chunk_durable:
            if len(chunk) >= MIN_BATCH:
                yield chunk_durable, chunk
                chunk, chunk_durable = [], False
            chunk_durable = chunk_durable or message_durable
        chunk.append(message)
    if chunk:
        yield chunk_durable, chunk


_BATCH_SIZE = 1_000
_POLL_TIMEOUT = 1.0
_IDLE_POLLS_PER_CHECK = 5
"""After this many polls without a message, checks whether the cluster is available."""
_COMMIT_INTERVAL, _COMMIT_RETRY_INTERVAL = 0.05, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSourceSettings(KafkaClusterSettings):
    """What to hear from a cluster. The sample is in this module's docstring.

    `topics` is a list of topics, or maps each to a stream's name; `*` stands for any characters.
    `session` is how long the group waits for a member that has fallen silent. What fits
    `telemetry` is not put into the inbox.
    """

    group: str
    topics: Mapping[str, Any] | tuple[str, ...]
    registry: SchemaRegistrySettings | None = None
    time: str = ""
    scale: TimeScale = "utc"
    start: StartOffset = "latest"
    session: Span = 10 * SECOND
    telemetry: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        KafkaClusterSettings.__post_init__(self)
        self.build_topic_patterns()
        if self.telemetry:
            TopicPatterns(self.telemetry)
        if not self.group.strip():
            raise CatcherError(
                "the consumer group has no name",
                "give each site a `group` of its own: members of one share the messages",
            )
        if not SECOND <= self.session <= 300 * SECOND:
            raise CatcherError("session is too short or too long", "write 1s to 5m, such as 10s")

    def build_topic_patterns(self) -> TopicPatterns:
        """Builds the patterns. Raises CatcherError if a pattern or a name cannot be used."""
        return TopicPatterns(self.topics)


class KafkaSource:
    """The events of one cluster (`ports.Source`), durable except for telemetry.

    It is pull-based: what is not requested stays at the cluster, except what aiokafka has
    prefetched, which is limited.
    """

    def __init__(
        self, name: str, settings: KafkaSourceSettings, clock: Clock, payload_limit: int = 1_000_000
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._topics = settings.build_topic_patterns()
        self._registry = SchemaRegistry(settings.registry) if settings.registry else None
        self._decoder = KafkaDecoder(
            name, self._registry, settings.time, settings.scale, payload_limit
        )
        self._offsets = OffsetTracker()
        self._telemetry_patterns = [compile_pattern(pattern) for pattern in settings.telemetry]
        self._durable_topics: dict[str, bool] = {}
        self._consumer: KafkaConsumer | None = None
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = dict.fromkeys(
            ("messages", "events", "rejected", "skipped", "connections"), 0
        )

    @property
    def name(self) -> str:
        """The name in the site's configuration."""
        return self._name

    @property
    def field_schemas(self) -> Mapping[str, Sequence[FieldInfo]]:
        """The fields of the streams that came with a schema."""
        return self._decoder.field_schemas

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[EventBatch]]:
        """Joins the group when the first batch is requested; leaving the context leaves it."""
        return self._open_batches()

    def health(self) -> Health:
        """Returns the health: unavailable without the cluster or the registry, with the reason."""
        lag = self._consumer.compute_lag() if self._consumer is not None else 0
        counts = {
            **self._counts, "waiting": lag, "partitions": len(self._offsets.assigned_partitions),
            "unknown": self._decoder.non_finite_count,
        }  # fmt: skip
        return Health(
            self._name, "kafka", self._state, self._since, self._last, self._problem, counts
        )

    @asynccontextmanager
    async def _open_batches(self) -> AsyncIterator[AsyncIterator[EventBatch]]:
        try:
            async with aclosing(self._iter_batches()) as batches:
                yield batches
        finally:
            self._set_state("ended")

    async def _iter_batches(self) -> AsyncGenerator[EventBatch, None]:
        settings, started = self._settings, self._clock()
        backoff = Backoff(settings.retry_first, settings.retry_longest)
        while True:
            try:
                async with join_group(
                    settings, settings.group, self._topics, self._offsets, settings.start, started,
                    settings.session,
                ) as consumer:  # fmt: skip
                    backoff.reset()
                    async with aclosing(self._consume_batches(consumer)) as batches:
                        async for batch in batches:
                            yield batch
            except KAFKA_ERRORS as error:
                self._set_state("away", f"{settings.address}: {format_kafka_error(error)}")
            finally:
                self._consumer = None
            await backoff.wait()

    async def _consume_batches(self, consumer: KafkaConsumer) -> AsyncGenerator[EventBatch, None]:
        """Yields the batches of one group membership, until one of `KAFKA_ERRORS` ends it."""
        self._consumer = consumer
        self._counts["connections"] += 1
        self._set_state("ok", await self._describe_unmatched_patterns(consumer))
        commit_task = asyncio.create_task(
            self._commit_periodically(consumer), name=f"kafka source {self._name}"
        )
        idle_polls = 0
        try:
            while True:
                messages = await consumer.fetch_messages(_BATCH_SIZE, _POLL_TIMEOUT)
                if messages:
                    idle_polls = 0
                    for durable, chunk in split_by_durability(messages, self._is_durable):
                        yield await self._decode_batch(chunk, durable)
                    continue
                idle_polls += 1
                if idle_polls % _IDLE_POLLS_PER_CHECK == 0:
                    await self._check_availability(consumer)
        finally:
            commit_task.cancel()
            await asyncio.wait({commit_task})

    async def _check_availability(self, consumer: KafkaConsumer) -> None:
        """Checks a silent cluster, which may be unavailable; aiokafka would not report it."""
        try:
            problem = await self._describe_unmatched_patterns(consumer)
        except KAFKA_ERRORS as error:
            self._set_state("away", f"{self._settings.address}: {format_kafka_error(error)}")
        else:
            self._set_state("ok", problem)

    async def _describe_unmatched_patterns(self, consumer: KafkaConsumer) -> str:
        """Returns a text about patterns that match no topic of the cluster; empty if there are
        none.
        """
        topics = await consumer.list_topics()
        unmatched = [
            pattern
            for pattern in self._topics.patterns
            if not any(map(compile_pattern(pattern).fullmatch, topics))
        ]
        if not unmatched:
            return ""
        return f"{self._settings.address} has no topic that fits {', '.join(unmatched[:5])}"

    async def _commit_periodically(self, consumer: KafkaConsumer) -> None:
        while True:
            await self._offsets.changed.wait()
            problem = await consumer.commit_offsets()
            if problem:
                self._set_state(self._state, f"offsets are not committed: {problem}")
            await asyncio.sleep(_COMMIT_RETRY_INTERVAL if problem else _COMMIT_INTERVAL)

    def _is_durable(self, topic: str) -> bool:
        """True if the messages of a Kafka topic go into the inbox."""
        if topic not in self._durable_topics:
            self._durable_topics[topic] = not any(
                pattern.fullmatch(topic) for pattern in self._telemetry_patterns
            )
        return self._durable_topics[topic]

    async def _decode_batch(self, messages: Sequence[KafkaMessage], durable: bool) -> EventBatch:
        events: list[Event] = []
        rejected: list[str] = []
        next_offsets: dict[PartitionKey, int] = {}
        self._last = self._clock()
        for message in messages:
            next_offsets[message.topic, message.partition] = message.offset + 1
        polled = self._offsets.mark_in_flight(next_offsets)
        for message in messages:
            if message.value is None:
                self._counts["skipped"] += 1
                continue
            if self._decoder.needs_schema(message.topic, message.value):
                await self._wait_for_schema(message.topic, message.value)
            self._decode_message(message, message.value, events, rejected)
        self._set_state("ok", "" if self._state != "ok" else self._problem)
        self._counts["messages"] += len(messages)
        self._counts["events"] += len(events)
        self._counts["rejected"] += len(rejected)
        return EventBatch(
            self._name,
            events,
            rejected,
            durable=durable,
            acknowledge=partial(self._mark_processed, polled),
        )

    def _decode_message(
        self, message: KafkaMessage, value: bytes, events: list[Event], rejected: list[str]
    ) -> None:
        try:
            name = self._topics.resolve_stream_name(message.topic)
        except ValueError as error:
            rejected.append(str(error))
            return
        rejected_count = len(rejected)
        self._decoder.decode((name, message.topic), value, message.time, events, rejected)
        if len(rejected) > rejected_count:
            location = f" (partition {message.partition}, offset {message.offset})"
            rejected[rejected_count:] = [reason + location for reason in rejected[rejected_count:]]

    async def _wait_for_schema(self, topic: str, value: bytes) -> None:
        """Waits for the registry for as long as it takes: the message is not at fault."""
        backoff = Backoff(self._settings.retry_first, self._settings.retry_longest)
        while True:
            try:
                await self._decoder.fetch_schema(topic, value)
            except SchemaRegistryUnavailable as error:
                self._set_state("away", str(error))
                await backoff.wait()
            else:
                return

    async def _mark_processed(self, polled: PolledOffsets) -> None:
        self._offsets.mark_processed(polled)

    def _set_state(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state
        self._problem = problem
