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
taken, so that a crash may lose the last ones. A message that cannot be read is rejected and
counted, and holds up nothing; a registry or cluster that is away is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.telemetry import FieldInfo
from catcher.model.time import SECOND, Clock, Instant, Span
from catcher.ports import Delivery
from catcher.sources.backoff import Backoff
from catcher.sources.decoding import Scale
from catcher.sources.kafka_batches import parted
from catcher.sources.kafka_broker import Cluster
from catcher.sources.kafka_link import Link, LinkError, Message, Start, join, words
from catcher.sources.kafka_offsets import Offsets, Partition, Reached
from catcher.sources.registry import Registry, RegistryAway, RegistrySettings
from catcher.sources.topic_patterns import TopicPatterns, shape
from catcher.sources.wire import WireDecoder

_BATCH = 1_000
_PATIENCE = 1.0
_LOOKED_AT = 5
"""After so many patiences without a message the cluster is asked whether it is there."""
_COMMIT_EVERY, _COMMIT_AGAIN = 0.05, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings(Cluster):
    """What to hear from a cluster. The sample is in this module's docstring.

    `topics` is a list of topics, or maps each to a stream's name; `*` stands for any characters.
    `session` is how long the group waits for a member that has fallen silent. What fits
    `telemetry` is not put into the inbox.
    """

    group: str
    topics: Mapping[str, Any] | tuple[str, ...]
    registry: RegistrySettings | None = None
    time: str = ""
    scale: Scale = "utc"
    start: Start = "latest"
    session: Span = 10 * SECOND
    telemetry: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        Cluster.__post_init__(self)
        self.topic_map()
        if self.telemetry:
            TopicPatterns(self.telemetry)
        if not self.group.strip():
            raise CatcherError(
                "the consumer group has no name",
                "give each site a `group` of its own: members of one share the messages",
            )
        if not SECOND <= self.session <= 300 * SECOND:
            raise CatcherError("session is too short or too long", "write 1s to 5m, such as 10s")

    def topic_map(self) -> TopicPatterns:
        """CatcherError where a pattern or a name cannot be used."""
        return TopicPatterns(self.topics)


class KafkaSource:
    """The events of one cluster (`ports.Source`), durable but for telemetry.

    It is pulled: what nobody asks for stays at the cluster, but for what aiokafka has fetched
    ahead, which is bounded.
    """

    def __init__(
        self, name: str, settings: KafkaSettings, clock: Clock, payload_limit: int = 1_000_000
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._topics = settings.topic_map()
        self._registry = Registry(settings.registry) if settings.registry else None
        self._decoder = WireDecoder(
            name, self._registry, settings.time, settings.scale, payload_limit
        )
        self._offsets = Offsets()
        self._samples = [shape(one) for one in settings.telemetry]
        self._durable: dict[str, bool] = {}
        self._link: Link | None = None
        self._state: HealthState = "starting"
        self._since = clock()
        self._last: Instant | None = None
        self._problem = ""
        self._counts = dict.fromkeys(
            ("messages", "events", "rejected", "skipped", "connections"), 0
        )

    @property
    def name(self) -> str:
        """The name that the site gives it."""
        return self._name

    @property
    def described(self) -> Mapping[str, Sequence[FieldInfo]]:
        """The fields of the streams that came with a schema."""
        return self._decoder.described

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Joins the group when the first delivery is asked for; leaving leaves it."""
        return self._opened()

    def health(self) -> Health:
        """`away` without the cluster or the registry, with the reason."""
        waiting = self._link.behind() if self._link is not None else 0
        counts = {
            **self._counts, "waiting": waiting, "partitions": len(self._offsets.held),
            "unknown": self._decoder.non_finite,
        }  # fmt: skip
        return Health(
            self._name, "kafka", self._state, self._since, self._last, self._problem, counts
        )

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        try:
            async with aclosing(self._deliveries()) as deliveries:
                yield deliveries
        finally:
            self._become("ended")

    async def _deliveries(self) -> AsyncGenerator[Delivery, None]:
        settings, begun = self._settings, self._clock()
        backoff = Backoff(settings.retry_first, settings.retry_longest)
        while True:
            try:
                async with join(
                    settings, settings.group, self._topics, self._offsets, settings.start, begun,
                    settings.session,
                ) as link:  # fmt: skip
                    backoff.reset()
                    async with aclosing(self._heard(link)) as heard:
                        async for delivery in heard:
                            yield delivery
            except LinkError as error:
                self._become("away", f"{settings.address}: {words(error)}")
            finally:
                self._link = None
            await backoff.wait()

    async def _heard(self, link: Link) -> AsyncGenerator[Delivery, None]:
        """What one membership of the group brings; one of `LinkError` ends it."""
        self._link = link
        self._counts["connections"] += 1
        self._become("ok", await self._unfit(link))
        committing = asyncio.create_task(self._commit(link), name=f"kafka source {self._name}")
        quiet = 0
        try:
            while True:
                messages = await link.fetch(_BATCH, _PATIENCE)
                if messages:
                    quiet = 0
                    for durable, some in parted(messages, self._is_durable):
                        yield await self._delivery(some, durable)
                    continue
                quiet += 1
                if quiet % _LOOKED_AT == 0:
                    await self._look(link)
        finally:
            committing.cancel()
            await asyncio.wait({committing})

    async def _look(self, link: Link) -> None:
        """A cluster that brings nothing may be away; aiokafka would not say so."""
        try:
            problem = await self._unfit(link)
        except LinkError as error:
            self._become("away", f"{self._settings.address}: {words(error)}")
        else:
            self._become("ok", problem)

    async def _unfit(self, link: Link) -> str:
        """Patterns that no topic of the cluster fits, in words."""
        known = await link.topics()
        unfit = [
            one for one in self._topics.patterns if not any(map(shape(one).fullmatch, known))
        ]  # fmt: skip
        if not unfit:
            return ""
        return f"{self._settings.address} has no topic that fits {', '.join(unfit[:5])}"

    async def _commit(self, link: Link) -> None:
        while True:
            await self._offsets.changed.wait()
            problem = await link.commit()
            if problem:
                self._become(self._state, f"offsets are not committed: {problem}")
            await asyncio.sleep(_COMMIT_AGAIN if problem else _COMMIT_EVERY)

    def _is_durable(self, topic: str) -> bool:
        """Whether the messages of a Kafka topic go into the inbox."""
        if topic not in self._durable:
            self._durable[topic] = not any(one.fullmatch(topic) for one in self._samples)
        return self._durable[topic]

    async def _delivery(self, messages: Sequence[Message], durable: bool) -> Delivery:
        events: list[Event] = []
        rejected: list[str] = []
        ends: dict[Partition, int] = {}
        self._last = self._clock()
        for message in messages:
            ends[message.topic, message.partition] = message.offset + 1
        reached = self._offsets.fetched(ends)
        for message in messages:
            if message.value is None:
                self._counts["skipped"] += 1
                continue
            if self._decoder.lacks(message.topic, message.value):
                await self._at_hand(message.topic, message.value)
            self._read(message, message.value, events, rejected)
        self._become("ok", "" if self._state != "ok" else self._problem)
        self._counts["messages"] += len(messages)
        self._counts["events"] += len(events)
        self._counts["rejected"] += len(rejected)
        return Delivery(
            self._name, events, rejected, durable=durable, done=partial(self._done, reached)
        )

    def _read(
        self, message: Message, value: bytes, events: list[Event], rejected: list[str]
    ) -> None:
        try:
            name = self._topics.find(message.topic)
        except ValueError as error:
            rejected.append(str(error))
            return
        before = len(rejected)
        self._decoder.decode((name, message.topic), value, message.time, events, rejected)
        if len(rejected) > before:
            where = f" (partition {message.partition}, offset {message.offset})"
            rejected[before:] = [one + where for one in rejected[before:]]

    async def _at_hand(self, topic: str, value: bytes) -> None:
        """Waits for the registry for as long as it takes: the message is not to blame."""
        backoff = Backoff(self._settings.retry_first, self._settings.retry_longest)
        while True:
            try:
                await self._decoder.prepare(topic, value)
            except RegistryAway as error:
                self._become("away", str(error))
                await backoff.wait()
            else:
                return

    async def _done(self, reached: Reached) -> None:
        self._offsets.done(reached)

    def _become(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state
        self._problem = problem
