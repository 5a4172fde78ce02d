"""Connections to a Kafka cluster. The only module that knows aiokafka."""

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

from catcher.model.time import MILLISECOND, SECOND, Instant, Span, to_seconds
from catcher.sources.kafka_broker import Cluster
from catcher.sources.kafka_offsets import Offsets
from catcher.sources.topic_patterns import TopicPatterns

Start = Literal["latest", "earliest"]
LinkError = (KafkaError, OSError, TimeoutError, ValueError)
"""What a connection may end with: the network, a refusal, a setting that cannot be used."""
TOO_LARGE = MessageSizeTooLargeError
_PARTING = 3.0
_LOST = (CommitFailedError, IllegalStateError, UnknownMemberIdError)
_FETCHED_BYTES = 16 * 2**20
_METADATA = 10_000
_SLOWEST = 600_000
_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (SaslAuthenticationFailed, "the name or password is refused: see to `sasl`"),
    (UnsupportedSaslMechanismError, "it wants another `sasl: {mechanism: …}`"),
    (GroupAuthorizationFailedError, "this user may not read as this `group`"),
    (TopicAuthorizationFailedError, "this user may not use these topics"),
    (UnknownTopicOrPartitionError, "there is no such topic"),
    (MessageSizeTooLargeError, "the message is larger than the brokers take"),
    (KafkaConnectionError, "no server answers; see that it runs, and to `servers` and `tls`"),
)
# aiokafka reports each failed try as an error of its own; health tells of it once.
for _name in ("aiokafka", "aiokafka.conn", "aiokafka.consumer.group_coordinator"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Message(NamedTuple):
    """One message as it was fetched; `value` is None where a key was deleted."""

    topic: str
    partition: int
    offset: int
    time: Instant
    value: bytes | None


class Link:
    """One membership of a consumer group, from its joining to its leaving."""

    def __init__(self, consumer: Any, offsets: Offsets) -> None:
        self._consumer = consumer
        self._offsets = offsets

    async def fetch(self, most: int, patience: float) -> list[Message]:
        """What there is now, at most so many; empty after `patience` (seconds) without any.

        Each partition's messages stay in their order; between partitions the time decides.
        """
        found = await self._consumer.getmany(timeout_ms=int(patience * 1e3), max_records=most)
        lanes = [[_message(one) for one in some] for some in found.values()]
        return lanes[0] if len(lanes) == 1 else list(heapq.merge(*lanes, key=_when))

    async def commit(self) -> str:
        """Commits what is done with; returns words where the cluster did not take it."""
        due = self._offsets.due()
        if not due:
            return ""
        try:
            await self._consumer.commit({TopicPartition(*one): due[one] for one in due})
        except _LOST:
            return ""  # Another member has them now, and reads them again.
        except LinkError as error:
            self._offsets.put_back(due)
            return words(error)
        return ""

    async def topics(self) -> Collection[str]:
        """All topics of the cluster; one of `LinkError` where it does not answer."""
        async with asyncio.timeout(_PARTING):
            found: Collection[str] = await self._consumer.topics()
        return found

    def behind(self) -> int:
        """How many messages are known to wait at the cluster."""
        waiting = 0
        for one in self._consumer.assignment():
            end = self._consumer.highwater(one)
            state = self._consumer._subscription.subscription.assignment.state_value(one)
            place = state.position if state is not None and state.has_valid_position else None
            waiting += max(0, end - place) if end is not None and place is not None else 0
        return waiting


def _message(record: Any) -> Message:
    time = max(record.timestamp, 0) * MILLISECOND
    return Message(record.topic, record.partition, record.offset, time, record.value)


def _when(message: Message) -> Instant:
    return message.time


class _Turns(ConsumerRebalanceListener):  # type: ignore[misc]
    """What happens when partitions come and go."""

    def __init__(self, offsets: Offsets, start: Start, since: Instant, patience: Span) -> None:
        self._offsets, self._start, self._since = offsets, start, since
        self._patience = to_seconds(patience)
        self.consumer: Any = None
        self.link: Link | None = None
        self.count = 0

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """What is on its way has a moment to be kept, so that nobody reads it again."""
        if self._offsets.held and self.link is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._offsets.settled()
                    await self.link.commit()
        self._offsets.revoke()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """A partition that the group has never read begins where `start` says."""
        self.count += 1
        self._offsets.assign((one.topic, one.partition) for one in assigned)
        fresh = [one for one in assigned if await self.consumer.committed(one) is None]
        if not fresh:
            return
        if self._start == "earliest":
            places = await self.consumer.beginning_offsets(fresh)
        else:
            places = await self._since_we_began(fresh)
        for one, offset in places.items():
            self.consumer.seek(one, offset)
        self._offsets.begin_at({(one.topic, one.partition): at for one, at in places.items()})

    async def _since_we_began(self, fresh: Sequence[Any]) -> Mapping[Any, int]:
        """The end is asked first, so that nothing falls between the two answers."""
        ends: Mapping[Any, int] = await self.consumer.end_offsets(fresh)
        since = self._since // MILLISECOND
        found = await self.consumer.offsets_for_times(dict.fromkeys(fresh, since))
        return {one: found[one].offset if found.get(one) else ends[one] for one in fresh}


@asynccontextmanager
async def join(
    cluster: Cluster, group: str, topics: TopicPatterns, offsets: Offsets,
    start: Start, since: Instant, session: Span,
) -> AsyncIterator[Link]:  # fmt: skip
    """A member of a consumer group for as long as the context lasts; one of `LinkError`.

    `since` is when whoever reads began to: with `start: latest` nothing older is read.
    """
    heartbeat = max(session // 3, 100 * MILLISECOND)
    consumer = AIOKafkaConsumer(
        **await _entering(cluster), group_id=group, enable_auto_commit=False,
        auto_offset_reset=start, fetch_max_bytes=_FETCHED_BYTES,
        session_timeout_ms=session // MILLISECOND, heartbeat_interval_ms=heartbeat // MILLISECOND,
        max_poll_interval_ms=_SLOWEST, metadata_max_age_ms=_METADATA,
        retry_backoff_ms=250, rebalance_timeout_ms=max(session, 30 * SECOND) // MILLISECOND,
    )  # fmt: skip
    turns = _Turns(offsets, start, since, session // 3)
    link = Link(consumer, offsets)
    turns.consumer, turns.link = consumer, link
    try:
        if topics.exact:
            consumer.subscribe(topics=topics.patterns, listener=turns)
        else:
            consumer.subscribe(pattern=topics.expression, listener=turns)
        await consumer.start()
        yield link
    finally:
        with contextlib.suppress(*LinkError):
            async with asyncio.timeout(_PARTING):
                await link.commit()
        offsets.revoke()
        with contextlib.suppress(*LinkError):
            async with asyncio.timeout(_PARTING):
                await consumer.stop()


class Outlet:
    """A connection that publishes."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    async def send(self, topic: str, value: bytes, key: bytes | None) -> None:
        """Returns when the cluster has the message; one of `LinkError` where it has not."""
        await self._producer.send_and_wait(topic, value, key)


@asynccontextmanager
async def open_outlet(cluster: Cluster, patience: Span) -> AsyncIterator[Outlet]:
    """A connection to publish over; one of `LinkError` where there is none."""
    producer = AIOKafkaProducer(
        **await _entering(cluster), acks="all",
        request_timeout_ms=max(patience // MILLISECOND, 1_000), linger_ms=5,
    )  # fmt: skip
    try:
        await producer.start()
        yield Outlet(producer)
    finally:
        with contextlib.suppress(*LinkError):
            async with asyncio.timeout(_PARTING):
                await producer.stop()


async def _entering(cluster: Cluster) -> dict[str, Any]:
    sasl = cluster.sasl
    tls = await asyncio.to_thread(cluster.tls.context) if cluster.tls else None
    entering: dict[str, Any] = {
        "bootstrap_servers": cluster.addresses,
        "client_id": cluster.client_id,
        "security_protocol": cluster.protocol,
        "ssl_context": tls,
    }
    if sasl is not None:
        entering["sasl_mechanism"] = sasl.mechanism
        entering["sasl_plain_username"] = sasl.username
        entering["sasl_plain_password"] = sasl.password
    return entering


def words(error: BaseException) -> str:
    """Why a cluster does not serve us, and what to do."""
    for kind, hint in _HINTS:
        if isinstance(error, kind):
            return hint
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, KafkaError):
        return str(error) or type(error).__name__
    return str(error) or type(error).__name__


SESSION: Span = 10 * SECOND
