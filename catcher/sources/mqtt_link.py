"""One connection to an MQTT broker. The only module that knows aiomqtt and, under it, paho.

aiomqtt connects, subscribes, publishes and keeps the connection alive. Reading is done here:
paho takes three system calls and a dozen dictionary look-ups a message, which is what limits a
bare aiomqtt loop. `Wire` stands in for paho's socket, reads what there is in one go, keeps the
publications for us and hands paho the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, MQTT_ERR_CONN_LOST
from paho.mqtt.client import Client as Paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from catcher.model.time import SECOND, Span, to_seconds
from catcher.sources.backoff import Backoff
from catcher.sources.mqtt_broker import Broker, TlsContext
from catcher.sources.mqtt_frames import Frames, Publish
from catcher.sources.mqtt_wire import Wire

_PATIENCE = 5.0
_ALIASES = 1_000
_BRIEF = 2.0
_UNSPECIFIED = 0x80
"""What paho makes of a connection that ended without a word (MQTT 5, 2.4)."""
_LOGGER = logging.getLogger("catcher.sources.mqtt")

Answer = TypeVar("Answer")
LinkError = (aiomqtt.MqttError, OSError, ValueError)
"""What a connection may end with: the network, a refusal, a setting that cannot be used."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What the broker answered to one subscription; `qos` None is a refusal."""

    topic: str
    asked: int
    qos: int | None
    words: str = ""

    @property
    def problem(self) -> str:
        """Empty if the broker granted what was asked for."""
        if self.qos is None:
            return f"the broker refuses {self.topic!r}: {self.words}"
        if self.qos < self.asked:
            return f"the broker grants {self.topic!r} QoS {self.qos} only, not {self.asked}"
        return ""


class Link:
    """One connection, from its CONNECT to its end. Its packet ids mean nothing on another."""

    def __init__(self, client: aiomqtt.Client, broker: Broker) -> None:
        self._client = client
        self._paho: Paho = client._client
        self._broker = broker
        self.session_present = False
        self.wire: Wire | None = None

    async def subscribe(self, topics: Sequence[tuple[str, int]]) -> list[Grant]:
        """Subscribes to all of them in one packet; the answers are in the same order."""
        entries: list[Any] = list(topics)
        if self._broker.protocol == "5":
            entries = [(topic, SubscribeOptions(qos=qos)) for topic, qos in topics]
        codes = await self._unless_lost(self._client.subscribe(entries))
        return [_grant(*topic, code) for topic, code in zip(topics, codes, strict=True)]

    async def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Returns when the broker has it (QoS 1, 2) or the socket does (QoS 0)."""
        await self._unless_lost(self._client.publish(topic, payload, qos, retain))

    def acknowledge(self, packet: int, qos: int) -> None:
        """Tells the broker that a publication is ours now; nothing on a connection that is over.

        For QoS 2 this is PUBREC: PUBCOMP follows by itself when the broker releases it.
        """
        if qos == 1:
            self._paho.ack(packet, 1)
        elif qos == 2:
            self._paho._send_pubrec(packet)

    def pause(self) -> None:
        """Reads no more, so that the broker keeps what is still to come."""
        if self.wire is not None:
            self.wire.pause()

    def resume(self) -> None:
        """Reads on."""
        if self.wire is not None:
            self.wire.resume()

    async def lost(self) -> None:
        """Waits for the end of the connection and raises why it ended."""
        try:
            await anext(self._client.messages)
        except aiomqtt.MqttError as error:
            raise ConnectionError(_words(error.__cause__ or error)) from error

    async def _unless_lost(self, asked: Coroutine[Any, Any, Answer]) -> Answer:
        """The broker's answer; at once the reason if the connection ends before it comes."""
        answer, lost = asyncio.ensure_future(asked), asyncio.ensure_future(self.lost())
        try:
            await asyncio.wait({answer, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                await lost
            return answer.result()
        finally:
            answer.cancel()
            lost.cancel()
            await asyncio.wait({answer, lost})

    def listen(self, frames: Frames, take: Take) -> None:
        """Gives every publication to `take`, a list at a time. Called before connecting."""
        paho, loop = self._paho, asyncio.get_running_loop()
        paho.manual_ack_set(True)
        opened = paho.on_socket_open
        connected: Callable[..., None] | None = paho.on_connect

        # paho calls this in the thread that connects.
        def on_socket_open(client: Paho, userdata: Any, sock: Any) -> None:
            self.wire = wire = Wire(client, sock, frames, partial(take, self), loop)
            client._sock = wire
            if opened is not None:
                opened(client, userdata, wire)
            loop.call_soon_threadsafe(wire.resume)

        def on_connect(client: Paho, userdata: Any, flags: Any, code: Any, more: Any) -> None:
            self.session_present = bool(flags.session_present)
            if connected is not None:
                connected(client, userdata, flags, code, more)

        paho.on_socket_open = on_socket_open
        paho.on_connect = on_connect


Take = Callable[[Link, list[Publish]], None]
"""Who is given the publications of a link."""


@asynccontextmanager
async def connect(
    broker: Broker,
    identity: str,
    expiry: Span | None = None,
    hear: tuple[Frames, Take] | None = None,
    receive_maximum: int = 65_535,
) -> AsyncIterator[Link]:
    """A connection for as long as the context lasts; one of `LinkError` where there is none.

    With `expiry` the broker keeps the session of `identity` while we are away (3.1.1: for as
    long as the broker is set to, 5: for that span).
    """
    client = await _client(broker, identity, expiry, receive_maximum, hear is not None)
    _quiet(client)
    link = Link(client, broker)
    if hear is not None:
        link.listen(*hear)
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(entering)
        # aiomqtt forgets an end that comes together with the beginning.
        if client._client.socket() is None:
            raise ConnectionError("the broker closed the connection at once")
        yield link
    finally:
        # A thread that is connecting cannot be stopped; its socket must not outlive us.
        if not entering.done():
            await asyncio.wait({entering})
        entered = not entering.cancelled() and entering.exception() is None
        # What goes wrong in parting must not hide why we part, least of all a cancellation.
        with contextlib.suppress(*LinkError):
            if entered and client._client.socket() is not None:
                await client.__aexit__(None, None, None)
        with contextlib.suppress(*LinkError):
            await _hang_up(client, link)


async def _client(
    broker: Broker, identity: str, expiry: Span | None, receive_maximum: int, hears: bool
) -> aiomqtt.Client:
    version5 = broker.protocol == "5"
    properties = None
    if version5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = min((expiry or 0) // SECOND, 2**32 - 1)
        properties.ReceiveMaximum = min(max(receive_maximum, 1), 65_535)
        properties.TopicAliasMaximum = _ALIASES if hears else 0
    tls = await asyncio.to_thread(broker.tls.context) if broker.tls else None
    client = aiomqtt.Client(
        broker.host,
        broker.port or (8883 if broker.tls else 1883),
        identifier=identity,
        username=broker.username or None,
        password=broker.password or None,
        protocol=aiomqtt.ProtocolVersion.V5 if version5 else aiomqtt.ProtocolVersion.V311,
        clean_session=None if version5 else expiry is None,
        clean_start=expiry is None if version5 else MQTT_CLEAN_START_FIRST_ONLY,
        properties=properties,
        keepalive=max(1, broker.keepalive // SECOND),
        timeout=_PATIENCE,
        tls_context=tls,
        tls_insecure=True if broker.tls and broker.tls.insecure else None,
        will=aiomqtt.Will(broker.will.topic, broker.will.payload, 1, True) if broker.will else None,
        logger=_LOGGER,
    )
    client.pending_calls_threshold = 10_000
    client._client.connect_timeout = _PATIENCE
    return client


async def _hang_up(client: aiomqtt.Client, link: Link) -> None:
    """Leaves nothing behind: aiomqtt keeps socket and task of a connection that failed."""
    client._client._sock_close()
    if link.wire is not None:
        await link.wire.release()
    context = client._client._ssl_context
    if isinstance(context, TlsContext) and context.last is not None:
        context.last.close()
    _look_at_end(client)
    task = client._misc_task
    if task is not None:
        task.cancel()
        await asyncio.wait({task})


def _quiet(client: aiomqtt.Client) -> None:
    """asyncio complains of an error that nobody looked at; this one is told by `Link.lost`."""
    told: Callable[..., None] | None = client._client.on_disconnect

    def on_disconnect(*arguments: Any) -> None:
        if told is not None:
            told(*arguments)
        _look_at_end(client)

    client._client.on_disconnect = on_disconnect


def _look_at_end(client: aiomqtt.Client) -> None:
    if client._disconnected.done() and not client._disconnected.cancelled():
        client._disconnected.exception()


def _words(error: BaseException) -> str:
    code = getattr(error, "rc", None)
    if getattr(code, "value", code) in (_UNSPECIFIED, MQTT_ERR_CONN_LOST):
        return "the connection was lost"
    return str(error)


def _grant(topic: str, asked: int, code: Any) -> Grant:
    if getattr(code, "is_failure", code == 0x80):
        return Grant(topic, asked, None, str(code))
    return Grant(topic, asked, int(getattr(code, "value", code)))


async def keep_connected(
    broker: Broker,
    opening: Callable[[], AbstractAsyncContextManager[Link]],
    use: Callable[[Link], Awaitable[None]],
    away: Callable[[str], None],
) -> NoReturn:
    """Connects, lets `use` have the link until it is lost, tells `away` why, and begins again.

    Waits longer after each failure; a connection that held for a while starts that over, but
    one that breaks at once does not (two clients with one id throw each other out for ever).
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff(broker.retry_first, broker.retry_longest)
    while True:
        begun, linked = loop.time(), False
        try:
            async with opening() as link:
                linked = True
                await use(link)
                await link.lost()
        except LinkError as error:
            brief = linked and loop.time() - begun < _BRIEF
            away((str(error) or type(error).__name__) + (_TWINS if brief else ""))
        if loop.time() - begun > to_seconds(broker.retry_longest):
            backoff.reset()
        await backoff.wait()


_TWINS = " at once; is another client connected with the same client_id?"
