"""Stands in for the socket of an MQTT client: publications take a shorter way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Protocol

from catcher.sources.mqtt_frames import Frames, ProtocolError, Publish

_READ = 65_536
_PARTING = 1.0
_LOGGER = logging.getLogger("catcher.sources.mqtt")
_NOTHING_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_MALFORMED = (ValueError, LookupError, TypeError, struct.error)


class PacketReader(Protocol):
    """The client whose socket this is."""

    def loop_read(self) -> int:
        """Reads one packet from the socket; not 0 when the connection is over."""
        ...

    def ack(self, mid: int, qos: int) -> int:
        """Completes a publication; for QoS 2 with PUBCOMP."""
        ...


class Wire:
    """A socket to the client, which sees in it all packets but the publications.

    It is read as long as it is not paused: in chunks, once each time round the event loop.
    `pause`, `resume` and what they lead to belong to the thread of the loop.
    """

    def __init__(
        self,
        client: PacketReader,
        sock: socket.socket,
        frames: Frames,
        take: Callable[[list[Publish]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._client = client
        self._sock = sock
        self._frames = frames
        self._take = take
        self._loop = loop
        self._control = bytearray()
        self._ended = False
        self._reading = False

    def recv(self, size: int) -> bytes:
        """What paho may read: packets that are not publications."""
        if self._control:
            head = bytes(self._control[:size])
            del self._control[:size]
            return head
        if self._ended:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        return self._sock.send(data)

    def close(self) -> None:
        """Says no more. `release` closes the socket itself."""
        self._ended = True
        self._reading = False
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def release(self) -> None:
        """Closes the socket once the other side has: closed over unread data, TCP resets the
        connection, and receipts still on their way would be lost with it."""
        self.close()
        ended = asyncio.Event()
        self._loop.add_reader(self._sock.fileno(), self._discard, ended)
        try:
            async with asyncio.timeout(_PARTING):
                await ended.wait()
        except TimeoutError:
            _LOGGER.debug("the broker did not close the connection")
        finally:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _discard(self, ended: asyncio.Event) -> None:
        try:
            # Past TLS: what it says does not matter any more.
            if socket.socket.recv(self._sock, _READ):
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

    def pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def resume(self) -> None:
        if not self._reading and not self._ended:
            self._reading = True
            self._loop.add_reader(self._sock.fileno(), self._readable)
            # What TLS has already decrypted wakes nobody.
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        if not self._reading:
            return
        self._read()
        try:
            while self._control and not self._client.loop_read():
                pass
        except _MALFORMED as error:
            _LOGGER.debug("a packet could not be read: %s", error)
            self._ended = True
        self._control.clear()
        if self._ended:
            self.pause()
            self._client.loop_read()
        elif isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            self._loop.call_soon(self._readable)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_READ)
            self._ended = not data
            cut = self._frames.feed(data)
        except _NOTHING_YET:
            return
        except (OSError, ProtocolError) as error:
            _LOGGER.debug("reading ended: %s", error)
            self._ended = True
            return
        for packet in cut.released:
            self._client.ack(packet, 2)
        for frame in cut.control:
            self._control += frame
        if cut.published:
            self._take(cut.published)
