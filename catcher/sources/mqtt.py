"""Events from an MQTT broker, and a publisher for whoever has something to say there.

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

A payload is one JSON object, a list of them, or `{"samples": [...]}`. How much a broker keeps
for a client that is away is up to the broker: mosquitto drops all beyond 1,000 messages unless
`max_queued_messages` says otherwise, and hands out 20 at a time unless `max_inflight_messages`
(or MQTT 5, where we ask for more) does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.event import Event
from catcher.model.health import Health, HealthState
from catcher.model.problem import CatcherError
from catcher.model.time import DAY, Clock, Instant, Span
from catcher.ports import Delivery
from catcher.sources.decoding import Decoder, Scale, shown, too_large
from catcher.sources.mqtt_broker import Broker, Tls
from catcher.sources.mqtt_frames import Frames, Publish
from catcher.sources.mqtt_link import Link, connect, keep_connected
from catcher.sources.mqtt_publisher import NotPublished, Publisher
from catcher.sources.mqtt_topics import RECORDED, TopicMap, subscription

__all__ = ["Broker", "MqttSettings", "MqttSource", "NotPublished", "Publisher", "Tls"]

_BATCH = 1_000
_QUEUE = 10_000
_QUEUE_BYTES = 64_000_000
_SHORTEST_RUN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings(Broker):
    """What to hear from a broker. The sample is in this module's docstring.

    `topics` maps a topic filter to a stream's name, or to `{name, qos, retained}`.
    """

    topics: Mapping[str, Any]
    qos: Literal[0, 1, 2] = 1
    time: str = ""
    scale: Scale = "utc"
    session: Span = 7 * DAY
    user_properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.topic_map()
        if self.user_properties and self.protocol != "5":
            raise CatcherError("user properties came with MQTT 5", 'add protocol: "5"')

    def topic_map(self) -> TopicMap:
        """CatcherError where a filter or a name cannot be used."""
        return TopicMap({text: subscription(text, one) for text, one in self.topics.items()})


_Chunk = tuple[Link, Instant, list[Publish]]
"""What one reading of the socket brought, by which link and when."""


@dataclass(slots=True)
class _Batch:
    """Messages on their way to become a delivery."""

    durable: bool = False
    count: int = 0
    events: list[Event] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    receipts: list[tuple[Link, int, int]] = field(default_factory=list)

    async def acknowledge(self) -> None:
        """A receipt for a link that is gone does nothing: its messages come again."""
        for link, packet, qos in self.receipts:
            link.acknowledge(packet, qos)


class MqttSource:
    """The events of one broker (`ports.Source`).

    Messages of QoS 1 and 2 are durable: acknowledged when the delivery that holds them is
    done, and come again if that never happens. At most `_QUEUE` messages wait here; beyond
    that the socket is not read, so that the rest waits at the broker.
    """

    def __init__(
        self, name: str, settings: MqttSettings, clock: Clock, payload_limit: int = 1_000_000
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._topics = settings.topic_map()
        self._wanted = {one.encode(): to for one, to in settings.user_properties.items()}
        self._decoder = Decoder(name, settings.time, settings.scale, payload_limit)
        self._waiting: deque[_Chunk] = deque()
        self._messages = self._bytes = 0
        self._arrived = asyncio.Event()
        self._link: Link | None = None
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
        """The name that the site gives it."""
        return self._name

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Connects in the background; leaving disconnects and keeps the session."""
        return self._opened()

    def health(self) -> Health:
        """`away` without a connection, with the reason; a refused subscription is a problem."""
        counts = {**self._counts, "waiting": self._messages, "unknown": self._decoder.non_finite}
        return Health(
            self._name, "mqtt", self._state, self._since, self._last, self._problem, counts
        )

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncIterator[Delivery]]:
        keeper = asyncio.create_task(
            keep_connected(self._settings, self._connection, self._use, self._away),
            name=f"mqtt source {self._name}",
        )
        keeper.add_done_callback(lambda _: self._arrived.set())
        deliveries = self._deliveries(keeper)
        try:
            yield deliveries
        finally:
            keeper.cancel()
            await asyncio.wait({keeper})
            await deliveries.aclose()
            self._become("ended")

    def _connection(self) -> AbstractAsyncContextManager[Link]:
        version = 5 if self._settings.protocol == "5" else 4
        frames = Frames(self._decoder.limit, version)
        identity = self._settings.identity(self._name)
        hear = (frames, self._take)
        return connect(self._settings, identity, self._settings.session or None, hear, _QUEUE)

    async def _use(self, link: Link) -> None:
        self._link = link
        self._paused = False
        self._counts["connections"] += 1
        if link.session_present:
            self._drop_unacknowledged(link)
        # Subscribing again would bring every retained message again.
        again = self._subscribed and link.session_present
        self._become("ok", "" if again else await self._subscribe(link))

    async def _subscribe(self, link: Link) -> str:
        entries = self._topics.subscriptions.items()
        asked = [
            (text, self._settings.qos if one.qos is None else one.qos) for text, one in entries
        ]
        grants = await link.subscribe(asked)
        problems = [grant.problem for grant in grants if grant.problem]
        self._subscribed = not problems
        return "; ".join(problems)

    def _away(self, problem: str) -> None:
        self._link = None
        self._become("away", f"{self._settings.address}: {problem}")

    def _become(self, state: HealthState, problem: str = "") -> None:
        if state != self._state:
            self._since = self._clock()
        self._state = state
        self._problem = problem

    def _take(self, link: Link, messages: list[Publish]) -> None:
        self._waiting.append((link, self._clock(), messages))
        self._messages += len(messages)
        self._bytes += _bytes(messages)
        self._arrived.set()
        if self._messages > _QUEUE or self._bytes > _QUEUE_BYTES:
            self._paused = True
            self._counts["pauses"] += 1
            link.pause()

    async def _deliveries(self, keeper: asyncio.Task[Any]) -> AsyncGenerator[Delivery, None]:
        while True:
            while self._waiting:
                for delivery in self._batches(self._given()):
                    yield delivery
            if keeper.done():
                keeper.result()
            self._arrived.clear()
            await self._arrived.wait()

    def _given(self) -> list[_Chunk]:
        """What waits, up to a batch; reading goes on once half of the queue is free."""
        given, count = [], 0
        while self._waiting and count < _BATCH:
            chunk = self._waiting.popleft()
            given.append(chunk)
            count += len(chunk[2])
            self._bytes -= _bytes(chunk[2])
        self._messages -= count
        if self._paused and self._messages <= _QUEUE // 2 and self._bytes <= _QUEUE_BYTES // 2:
            self._paused = False
            if self._link is not None:
                self._link.resume()
        return given

    def _drop_unacknowledged(self, link: Link) -> None:
        """Forgets what an earlier link brought and the broker, which kept it, brings again."""
        for chunk in list(self._waiting):
            if chunk[0] is not link:
                again = [message for message in chunk[2] if message[2]]
                self._messages -= len(again)
                self._bytes -= _bytes(again)
                chunk[2][:] = [message for message in chunk[2] if not message[2]]

    def _batches(self, given: list[_Chunk]) -> Iterator[Delivery]:
        """Deliveries in the order of the messages.

        Durable and other messages part company where that leaves neither with a mere handful,
        since each durable delivery costs a commit and each durable event a row.
        """
        batch = _Batch()
        for link, arrival, messages in given:
            self._last = arrival
            for message in messages:
                qos, packet = message[2], message[3]
                if batch.durable != (qos > 0):
                    if batch.count >= _SHORTEST_RUN:
                        yield self._delivery(batch)
                        batch = _Batch()
                    batch.durable = batch.durable or qos > 0
                batch.count += 1
                if qos:
                    batch.receipts.append((link, packet, qos))
                self._read(message, arrival, batch)
        if batch.count:
            yield self._delivery(batch)

    def _read(self, message: Publish, arrival: Instant, batch: _Batch) -> None:
        raw, payload, _, _, retained, size, user = message
        before = len(batch.events)
        try:
            found = self._topics.find(raw)
        except ValueError as error:
            batch.rejected.append(str(error))
            return
        topic = raw.decode() if found is None or payload is None else found[0]
        if found is None:
            batch.rejected.append(f"{shown(topic)}: no entry of `topics` fits this MQTT topic")
        elif payload is None:
            batch.rejected.append(f"{shown(topic)}: {too_large(size, self._decoder.limit)}")
        elif retained and not found[1].retained:
            self._counts["skipped"] += 1
        elif topic == RECORDED:
            self._decoder.decode_recorded(payload, arrival, batch.events, batch.rejected)
        else:
            self._decoder.decode(topic, payload, arrival, batch.events, batch.rejected)
        if user and self._wanted:
            said = {
                self._wanted[one]: value.decode("utf-8", "replace")
                for one, value in user
                if one in self._wanted
            }
            batch.events[before:] = [
                event._replace(fields={**event.fields, **said}) for event in batch.events[before:]
            ]

    def _delivery(self, batch: _Batch) -> Delivery:
        self._counts["messages"] += batch.count
        self._counts["events"] += len(batch.events)
        self._counts["rejected"] += len(batch.rejected)
        return Delivery(
            self._name,
            batch.events,
            batch.rejected,
            durable=batch.durable,
            done=batch.acknowledge,
        )


def _bytes(messages: list[Publish]) -> int:
    return sum(len(message[1] or b"") for message in messages)
