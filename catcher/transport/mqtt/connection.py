"""A connection to an MQTT broker. The only module that imports aiomqtt and, under it, paho.

aiomqtt connects, subscribes, publishes and keeps the connection alive. Reading happens here: paho
makes three system calls and a dozen dictionary look-ups per message, which is what limits a bare
aiomqtt loop. `SocketTap` replaces paho's socket, reads all available bytes at once, takes the
publications out and passes paho the rest.
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

from catcher.model.time import SECOND, Span, nanoseconds_to_seconds
from catcher.transport.backoff import Backoff
from catcher.transport.mqtt.fast_reader import SocketTap
from catcher.transport.mqtt.packets import PacketParser, PublishPacket
from catcher.transport.mqtt.settings import MqttBrokerSettings, TlsContext

_CONNECT_TIMEOUT = 5.0
_MAX_TOPIC_ALIASES = 1_000
_MIN_STABLE_SECONDS = 2.0
_UNSPECIFIED_ERROR = 0x80
"""paho's reason code for a connection that ended without a DISCONNECT (MQTT 5, 2.4)."""
_LOGGER = logging.getLogger("catcher.sources.mqtt")

Answer = TypeVar("Answer")
MQTT_ERRORS = (aiomqtt.MqttError, OSError, ValueError)
"""The exceptions of a connection: network failure, refusal, or an unusable setting."""


@dataclass(frozen=True, slots=True)
class SubscriptionResult:
    """The broker's answer to one subscription; `qos` None is a refusal."""

    topic: str
    requested_qos: int
    qos: int | None
    reason: str = ""

    @property
    def problem(self) -> str:
        """Empty if the broker granted the requested QoS."""
        if self.qos is None:
            return f"the broker refuses {self.topic!r}: {self.reason}"
        if self.qos < self.requested_qos:
            return f"the broker grants {self.topic!r} QoS {self.qos} only, not {self.requested_qos}"
        return ""


class MqttConnection:
    """One connection, from its CONNECT to its end. Its packet ids are invalid on another."""

    def __init__(self, client: aiomqtt.Client, broker: MqttBrokerSettings) -> None:
        self._client = client
        self._paho: Paho = client._client
        self._broker = broker
        self.session_present = False
        self.socket_tap: SocketTap | None = None

    async def subscribe(self, topics: Sequence[tuple[str, int]]) -> list[SubscriptionResult]:
        """Subscribes to all topics in one packet; the results are in the same order."""
        entries: list[Any] = list(topics)
        if self._broker.protocol == "5":
            entries = [(topic, SubscribeOptions(qos=qos)) for topic, qos in topics]
        codes = await self._await_unless_lost(self._client.subscribe(entries))
        return [
            _build_subscription_result(*topic, code)
            for topic, code in zip(topics, codes, strict=True)
        ]

    async def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Returns once the broker has the message (QoS 1, 2) or the socket does (QoS 0)."""
        await self._await_unless_lost(self._client.publish(topic, payload, qos, retain))

    def acknowledge(self, packet_id: int, qos: int) -> None:
        """Acknowledges a publication; does nothing on a connection that has ended.

        For QoS 2 this is PUBREC: PUBCOMP follows automatically when the broker releases it.
        """
        if qos == 1:
            self._paho.ack(packet_id, 1)
        elif qos == 2:
            self._paho._send_pubrec(packet_id)

    def pause_reading(self) -> None:
        """Pauses reading, so that the broker holds back further messages."""
        if self.socket_tap is not None:
            self.socket_tap.pause_reading()

    def resume_reading(self) -> None:
        """Resumes reading."""
        if self.socket_tap is not None:
            self.socket_tap.resume_reading()

    async def wait_until_lost(self) -> None:
        """Waits for the end of the connection and raises ConnectionError with the reason."""
        try:
            await anext(self._client.messages)
        except aiomqtt.MqttError as error:
            raise ConnectionError(_format_error(error.__cause__ or error)) from error

    async def _await_unless_lost(self, operation: Coroutine[Any, Any, Answer]) -> Answer:
        """Returns the broker's answer; raises the reason at once if the connection ends first."""
        task, lost_task = (
            asyncio.ensure_future(operation),
            asyncio.ensure_future(self.wait_until_lost()),
        )
        try:
            await asyncio.wait({task, lost_task}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await lost_task
            return task.result()
        finally:
            task.cancel()
            lost_task.cancel()
            await asyncio.wait({task, lost_task})

    def attach_message_handler(self, parser: PacketParser, handler: MessageHandler) -> None:
        """Passes all publications to `handler`, a list at a time. Called before connecting."""
        paho, loop = self._paho, asyncio.get_running_loop()
        paho.manual_ack_set(True)
        original_socket_open = paho.on_socket_open
        original_connect: Callable[..., None] | None = paho.on_connect

        # paho calls this in the thread that connects.
        def on_socket_open(client: Paho, userdata: Any, sock: Any) -> None:
            self.socket_tap = tap = SocketTap(client, sock, parser, partial(handler, self), loop)
            client._sock = tap
            if original_socket_open is not None:
                original_socket_open(client, userdata, tap)
            loop.call_soon_threadsafe(tap.resume_reading)

        def on_connect(
            client: Paho, userdata: Any, flags: Any, reason_code: Any, properties: Any
        ) -> None:
            self.session_present = bool(flags.session_present)
            if original_connect is not None:
                original_connect(client, userdata, flags, reason_code, properties)

        paho.on_socket_open = on_socket_open
        paho.on_connect = on_connect


MessageHandler = Callable[[MqttConnection, list[PublishPacket]], None]
"""Receives the publications of a connection."""


@asynccontextmanager
async def open_connection(
    broker: MqttBrokerSettings,
    client_id: str,
    session_expiry: Span | None = None,
    listener: tuple[PacketParser, MessageHandler] | None = None,
    receive_maximum: int = 65_535,
) -> AsyncIterator[MqttConnection]:
    """Yields a connection while the context lasts. Raises one of `MQTT_ERRORS` if there is none.

    With `session_expiry` the broker stores the session of `client_id` while the client is
    disconnected (3.1.1: for as long as the broker is configured to, 5: for that span).
    """
    client = await _build_client(
        broker, client_id, session_expiry, receive_maximum, listener is not None
    )
    _silence_disconnect_error(client)
    connection = MqttConnection(client, broker)
    if listener is not None:
        connection.attach_message_handler(*listener)
    connect_task = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(connect_task)
        # aiomqtt misses a disconnect that coincides with the connect.
        if client._client.socket() is None:
            raise ConnectionError("the broker closed the connection at once")
        yield connection
    finally:
        # A connecting thread cannot be stopped; its socket must not outlive this context.
        if not connect_task.done():
            await asyncio.wait({connect_task})
        is_connected = not connect_task.cancelled() and connect_task.exception() is None
        # An error while disconnecting must not hide the reason for it, least of all a cancellation.
        with contextlib.suppress(*MQTT_ERRORS):
            if is_connected and client._client.socket() is not None:
                await client.__aexit__(None, None, None)
        with contextlib.suppress(*MQTT_ERRORS):
            await _close_socket(client, connection)


async def _build_client(
    broker: MqttBrokerSettings,
    client_id: str,
    session_expiry: Span | None,
    receive_maximum: int,
    is_listening: bool,
) -> aiomqtt.Client:
    version5 = broker.protocol == "5"
    properties = None
    if version5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = min((session_expiry or 0) // SECOND, 2**32 - 1)
        properties.ReceiveMaximum = min(max(receive_maximum, 1), 65_535)
        properties.TopicAliasMaximum = _MAX_TOPIC_ALIASES if is_listening else 0
    tls = await asyncio.to_thread(broker.tls.build_context) if broker.tls else None
    client = aiomqtt.Client(
        broker.host,
        broker.port or (8883 if broker.tls else 1883),
        identifier=client_id,
        username=broker.username or None,
        password=broker.password or None,
        protocol=aiomqtt.ProtocolVersion.V5 if version5 else aiomqtt.ProtocolVersion.V311,
        clean_session=None if version5 else session_expiry is None,
        clean_start=session_expiry is None if version5 else MQTT_CLEAN_START_FIRST_ONLY,
        properties=properties,
        keepalive=max(1, broker.keepalive // SECOND),
        timeout=_CONNECT_TIMEOUT,
        tls_context=tls,
        tls_insecure=True if broker.tls and broker.tls.insecure else None,
        will=aiomqtt.Will(broker.will.topic, broker.will.payload, 1, True) if broker.will else None,
        logger=_LOGGER,
    )
    client.pending_calls_threshold = 10_000
    client._client.connect_timeout = _CONNECT_TIMEOUT
    return client


async def _close_socket(client: aiomqtt.Client, connection: MqttConnection) -> None:
    """Cleans up: aiomqtt leaves the socket and task of a failed connection open."""
    client._client._sock_close()
    if connection.socket_tap is not None:
        await connection.socket_tap.close_gracefully()
    context = client._client._ssl_context
    if isinstance(context, TlsContext) and context.last_socket is not None:
        context.last_socket.close()
    _retrieve_disconnect_error(client)
    task = client._misc_task
    if task is not None:
        task.cancel()
        await asyncio.wait({task})


def _silence_disconnect_error(client: aiomqtt.Client) -> None:
    """Retrieves the disconnect error, so that asyncio does not log it as never retrieved;
    `MqttConnection.wait_until_lost` raises it.
    """
    original_handler: Callable[..., None] | None = client._client.on_disconnect

    def on_disconnect(*arguments: Any) -> None:
        if original_handler is not None:
            original_handler(*arguments)
        _retrieve_disconnect_error(client)

    client._client.on_disconnect = on_disconnect


def _retrieve_disconnect_error(client: aiomqtt.Client) -> None:
    if client._disconnected.done() and not client._disconnected.cancelled():
        client._disconnected.exception()


def _format_error(error: BaseException) -> str:
    code = getattr(error, "rc", None)
    if getattr(code, "value", code) in (_UNSPECIFIED_ERROR, MQTT_ERR_CONN_LOST):
        return "the connection was lost"
    return str(error)


def _build_subscription_result(topic: str, requested_qos: int, code: Any) -> SubscriptionResult:
    if getattr(code, "is_failure", code == 0x80):
        return SubscriptionResult(topic, requested_qos, None, str(code))
    return SubscriptionResult(topic, requested_qos, int(getattr(code, "value", code)))


async def maintain_connection(
    broker: MqttBrokerSettings,
    factory: Callable[[], AbstractAsyncContextManager[MqttConnection]],
    on_connected: Callable[[MqttConnection], Awaitable[None]],
    on_disconnected: Callable[[str], None],
) -> NoReturn:
    """Connects, runs `on_connected`, waits until the connection is lost, calls `on_disconnected`
    with the reason, and starts over.

    The delay grows with each failure; a connection that lasted resets it, but one that breaks at
    once does not (two clients with one id would disconnect each other forever).
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff(broker.retry_first, broker.retry_longest)
    while True:
        started, is_connected = loop.time(), False
        try:
            async with factory() as connection:
                is_connected = True
                await on_connected(connection)
                await connection.wait_until_lost()
        except MQTT_ERRORS as error:
            was_brief = is_connected and loop.time() - started < _MIN_STABLE_SECONDS
            on_disconnected(
                (str(error) or type(error).__name__) + (_DUPLICATE_ID_HINT if was_brief else "")
            )
        if loop.time() - started > nanoseconds_to_seconds(broker.retry_longest):
            backoff.reset()
        await backoff.wait()


_DUPLICATE_ID_HINT = " at once; is another client connected with the same client_id?"
