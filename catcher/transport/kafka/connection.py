"""Connections to a Kafka cluster. The only module that imports aiokafka."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
)
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from catcher.model.time import MILLISECOND, SECOND, Instant, Span, nanoseconds_to_seconds
from catcher.transport.kafka.offsets import OffsetTracker
from catcher.transport.kafka.settings import KafkaClusterSettings
from catcher.transport.kafka.topic_patterns import TopicPatterns

StartOffset = Literal["latest", "earliest"]
KAFKA_ERRORS = (KafkaError, OSError, TimeoutError, ValueError)
"""The exceptions of a connection: network failure, refusal, or an unusable setting."""
TOO_LARGE_ERROR = MessageSizeTooLargeError
_SHUTDOWN_TIMEOUT = 3.0
_MEMBERSHIP_LOST = (CommitFailedError, IllegalStateError, UnknownMemberIdError)
_MAX_FETCH_BYTES = 16 * 2**20
_METADATA_MAX_AGE_MS = 10_000
_MAX_POLL_INTERVAL_MS = 600_000
_ERROR_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (SaslAuthenticationFailed, "the name or password is refused: see to `sasl`"),
    (UnsupportedSaslMechanismError, "it wants another `sasl: {mechanism: …}`"),
    (GroupAuthorizationFailedError, "this user may not read as this `group`"),
    (TopicAuthorizationFailedError, "this user may not use these topics"),
    (UnknownTopicOrPartitionError, "there is no such topic"),
    (MessageSizeTooLargeError, "the message is larger than the brokers take"),
    (KafkaConnectionError, "no server answers; see that it runs, and to `servers` and `tls`"),
)
# aiokafka logs each failed try as an error; health reports it once.
for _name in ("aiokafka", "aiokafka.conn", "aiokafka.consumer.group_coordinator"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class KafkaMessage(NamedTuple):
    """One message as it was fetched; `value` is None if a key was deleted."""

    topic: str
    partition: int
    offset: int
    time: Instant
    value: bytes | None


class KafkaConsumer:
    """A member of a consumer group, from joining to leaving."""

    def __init__(self, consumer: Any, offsets: OffsetTracker) -> None:
        self._consumer = consumer
        self._offsets = offsets

    async def fetch_messages(self, max_messages: int, timeout: float) -> list[KafkaMessage]:
        """Returns the available messages, at most `max_messages`; empty after `timeout` (seconds).

        Each partition's messages stay in order; across partitions they are merged by time.
        """
        records = await self._consumer.getmany(
            timeout_ms=int(timeout * 1e3), max_records=max_messages
        )
        partitions = [
            [_record_to_message(record) for record in partition_records]
            for partition_records in records.values()
        ]
        return (
            partitions[0]
            if len(partitions) == 1
            else list(heapq.merge(*partitions, key=_get_message_time))
        )

    async def commit_offsets(self) -> str:
        """Commits the processed offsets; returns the problem if the cluster did not accept it."""
        committable = self._offsets.pop_committable()
        if not committable:
            return ""
        try:
            await self._consumer.commit(
                {TopicPartition(*partition): committable[partition] for partition in committable}
            )
        except _MEMBERSHIP_LOST:
            return ""  # Another member has them now, and reads them again.
        except KAFKA_ERRORS as error:
            self._offsets.restore_committable(committable)
            return format_kafka_error(error)
        return ""

    async def list_topics(self) -> Collection[str]:
        """Returns all topics of the cluster. Raises one of `KAFKA_ERRORS` if it does not answer."""
        async with asyncio.timeout(_SHUTDOWN_TIMEOUT):
            topics: Collection[str] = await self._consumer.topics()
        return topics

    def compute_lag(self) -> int:
        """Returns how many messages are known to wait at the cluster."""
        lag = 0
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            state = self._consumer._subscription.subscription.assignment.state_value(partition)
            position = state.position if state is not None and state.has_valid_position else None
            lag += max(0, end - position) if end is not None and position is not None else 0
        return lag


def _record_to_message(record: Any) -> KafkaMessage:
    time = max(record.timestamp, 0) * MILLISECOND
    return KafkaMessage(record.topic, record.partition, record.offset, time, record.value)


def _get_message_time(message: KafkaMessage) -> Instant:
    return message.time


class _RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reacts to partitions being assigned and revoked."""

    def __init__(
        self, offsets: OffsetTracker, start: StartOffset, started: Instant, drain_timeout: Span
    ) -> None:
        self._offsets, self._start, self._started = offsets, start, started
        self._drain_timeout = nanoseconds_to_seconds(drain_timeout)
        self.consumer: Any = None
        self.group_consumer: KafkaConsumer | None = None
        self.assignment_count = 0

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Lets messages in flight be stored and committed first, so that no member reads them
        again.
        """
        if self._offsets.assigned_partitions and self.group_consumer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain_timeout):
                    await self._offsets.wait_until_idle()
                    await self.group_consumer.commit_offsets()
        self._offsets.revoke_all()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Starts a partition that the group has never read at the configured `start`."""
        self.assignment_count += 1
        self._offsets.assign_partitions(
            (partition.topic, partition.partition) for partition in assigned
        )
        uncommitted = [
            partition for partition in assigned if await self.consumer.committed(partition) is None
        ]
        if not uncommitted:
            return
        if self._start == "earliest":
            start_offsets = await self.consumer.beginning_offsets(uncommitted)
        else:
            start_offsets = await self._find_offsets_since_start(uncommitted)
        for partition, offset in start_offsets.items():
            self.consumer.seek(partition, offset)
        self._offsets.add_start_offsets(
            {
                (partition.topic, partition.partition): position
                for partition, position in start_offsets.items()
            }
        )

    async def _find_offsets_since_start(self, partitions: Sequence[Any]) -> Mapping[Any, int]:
        """Returns offsets by time. The end is queried first, so no message falls between both
        queries.
        """
        ends: Mapping[Any, int] = await self.consumer.end_offsets(partitions)
        start_ms = self._started // MILLISECOND
        offsets = await self.consumer.offsets_for_times(dict.fromkeys(partitions, start_ms))
        return {
            partition: offsets[partition].offset if offsets.get(partition) else ends[partition]
            for partition in partitions
        }


@asynccontextmanager
async def join_group(
    cluster: KafkaClusterSettings, group: str, topics: TopicPatterns, offsets: OffsetTracker,
    start: StartOffset, started: Instant, session: Span,
) -> AsyncIterator[KafkaConsumer]:  # fmt: skip
    """Yields a member of a consumer group while the context lasts. Raises one of `KAFKA_ERRORS`.

    `started` is when the reader began: with `start: latest` nothing older is read.
    """
    heartbeat = max(session // 3, 100 * MILLISECOND)
    consumer = AIOKafkaConsumer(
        **await _build_client_options(cluster), group_id=group, enable_auto_commit=False,
        auto_offset_reset=start, fetch_max_bytes=_MAX_FETCH_BYTES,
        session_timeout_ms=session // MILLISECOND, heartbeat_interval_ms=heartbeat // MILLISECOND,
        max_poll_interval_ms=_MAX_POLL_INTERVAL_MS, metadata_max_age_ms=_METADATA_MAX_AGE_MS,
        retry_backoff_ms=250, rebalance_timeout_ms=max(session, 30 * SECOND) // MILLISECOND,
    )  # fmt: skip
    listener = _RebalanceListener(offsets, start, started, session // 3)
    group_consumer = KafkaConsumer(consumer, offsets)
    listener.consumer, listener.group_consumer = consumer, group_consumer
    try:
        if topics.has_no_wildcards:
            consumer.subscribe(topics=topics.patterns, listener=listener)
        else:
            consumer.subscribe(pattern=topics.combined_regex, listener=listener)
        await consumer.start()
        yield group_consumer
    finally:
        with contextlib.suppress(*KAFKA_ERRORS):
            async with asyncio.timeout(_SHUTDOWN_TIMEOUT):
                await group_consumer.commit_offsets()
        offsets.revoke_all()
        with contextlib.suppress(*KAFKA_ERRORS):
            async with asyncio.timeout(_SHUTDOWN_TIMEOUT):
                await consumer.stop()


class ProducerConnection:
    """A connection that publishes."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    async def send(self, topic: str, value: bytes, key: bytes | None) -> None:
        """Returns once the cluster has the message. Raises one of `KAFKA_ERRORS` otherwise."""
        await self._producer.send_and_wait(topic, value, key)


@asynccontextmanager
async def connect_producer(
    cluster: KafkaClusterSettings, timeout: Span
) -> AsyncIterator[ProducerConnection]:
    """Yields a connection for publishing. Raises one of `KAFKA_ERRORS` if there is none."""
    producer = AIOKafkaProducer(
        **await _build_client_options(cluster), acks="all",
        request_timeout_ms=max(timeout // MILLISECOND, 1_000), linger_ms=5,
    )  # fmt: skip
    try:
        await producer.start()
        yield ProducerConnection(producer)
    finally:
        with contextlib.suppress(*KAFKA_ERRORS):
            async with asyncio.timeout(_SHUTDOWN_TIMEOUT):
                await producer.stop()


async def _build_client_options(cluster: KafkaClusterSettings) -> dict[str, Any]:
    sasl = cluster.sasl
    tls = await asyncio.to_thread(cluster.tls.build_context) if cluster.tls else None
    options: dict[str, Any] = {
        "bootstrap_servers": cluster.addresses,
        "client_id": cluster.client_id,
        "security_protocol": cluster.security_protocol,
        "ssl_context": tls,
    }
    if sasl is not None:
        options["sasl_mechanism"] = sasl.mechanism
        options["sasl_plain_username"] = sasl.username
        options["sasl_plain_password"] = sasl.password
    return options


def format_kafka_error(error: BaseException) -> str:
    """Returns why a cluster refuses or fails, and what to do."""
    for error_type, hint in _ERROR_HINTS:
        if isinstance(error, error_type):
            return hint
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, KafkaError):
        return str(error) or type(error).__name__
    return str(error) or type(error).__name__


DEFAULT_SESSION: Span = 10 * SECOND
