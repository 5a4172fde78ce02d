"""Replaces the socket of an MQTT client: publications bypass the client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Protocol

from catcher.transport.mqtt.packets import PacketParser, ProtocolError, PublishPacket

_READ_BYTES = 65_536
_SHUTDOWN_TIMEOUT = 1.0
_LOGGER = logging.getLogger("catcher.sources.mqtt")
_WOULD_BLOCK_ERRORS = (
    BlockingIOError,
    InterruptedError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)
_MALFORMED_ERRORS = (ValueError, LookupError, TypeError, struct.error)


class PacketReader(Protocol):
    """The client whose socket this is."""

    def loop_read(self) -> int:
        """Reads one packet from the socket; not 0 when the connection has ended."""
        ...

    def ack(self, mid: int, qos: int) -> int:
        """Completes a publication; for QoS 2 with PUBCOMP."""
        ...


class SocketTap:
    """Acts as the client's socket, with all packets except the publications.

    It is read unless paused: in chunks, once per iteration of the event loop. `pause_reading`,
    `resume_reading` and what they trigger belong to the thread of the loop.
    """

    def __init__(
        self,
        client: PacketReader,
        sock: socket.socket,
        parser: PacketParser,
        handler: Callable[[list[PublishPacket]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._client = client
        self._sock = sock
        self._parser = parser
        self._handler = handler
        self._loop = loop
        self._control_buffer = bytearray()
        self._ended = False
        self._reading = False

    def recv(self, size: int) -> bytes:
        """Returns bytes that paho may read: packets that are not publications."""
        if self._control_buffer:
            chunk = bytes(self._control_buffer[:size])
            del self._control_buffer[:size]
            return chunk
        if self._ended:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        return self._sock.send(data)

    def close(self) -> None:
        """Stops sending. `close_gracefully` closes the socket itself."""
        self._ended = True
        self._reading = False
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def close_gracefully(self) -> None:
        """Closes the socket once the other side has: if closed with unread data, TCP resets the
        connection, and acknowledgements in transit would be lost.
        """
        self.close()
        ended = asyncio.Event()
        self._loop.add_reader(self._sock.fileno(), self._discard_unread, ended)
        try:
            async with asyncio.timeout(_SHUTDOWN_TIMEOUT):
                await ended.wait()
        except TimeoutError:
            _LOGGER.debug("the broker did not close the connection")
        finally:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _discard_unread(self, ended: asyncio.Event) -> None:
        try:
            # Bypasses TLS: the content no longer matters.
            if socket.socket.recv(self._sock, _READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError as error:
            _LOGGER.debug("parting: %s", error)
        self._loop.remove_reader(self._sock.fileno())
        ended.set()

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def resume_reading(self) -> None:
        if not self._reading and not self._ended:
            self._reading = True
            self._loop.add_reader(self._sock.fileno(), self._on_readable)
            # Data that TLS has already decrypted does not make the socket readable.
            self._loop.call_soon(self._on_readable)

    def _on_readable(self) -> None:
        if not self._reading:
            return
        self._read_packets()
        try:
            while self._control_buffer and not self._client.loop_read():
                pass
        except _MALFORMED_ERRORS as error:
            _LOGGER.debug("a packet could not be read: %s", error)
            self._ended = True
        self._control_buffer.clear()
        if self._ended:
            self.pause_reading()
            self._client.loop_read()
        elif isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            self._loop.call_soon(self._on_readable)

    def _read_packets(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
            self._ended = not data
            packets = self._parser.parse_bytes(data)
        except _WOULD_BLOCK_ERRORS:
            return
        except (OSError, ProtocolError) as error:
            _LOGGER.debug("reading ended: %s", error)
            self._ended = True
            return
        for packet_id in packets.released_ids:
            self._client.ack(packet_id, 2)
        for control_packet in packets.control_packets:
            self._control_buffer += control_packet
        if packets.publications:
            self._handler(packets.publications)
