"""Publishes a file, a message a line, in a process of its own, as fast as the broker takes them.

    python -m benchmarks.publisher PORT TOPIC QOS FILE [PER_SECOND]

It says `ready` when all is prepared, and begins once it is sent a line.

`mosquitto_pub -l` will not do at QoS 1: once 65,535 messages wait for their acknowledgement its
packet ids begin anew, it takes an old acknowledgement for that of the last line, and leaves with
tens of thousands unsent. Here at most `WINDOW` messages are on their way. With PER_SECOND the
lines are paced, and `@sent@` in a line is replaced by the instant of sending (integer
nanoseconds since the epoch), for those who measure latency.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

WINDOW = 1_000
CHUNK = 100
MARK = b"@sent@"
PATIENCE = 60.0
CONNECT, CONNACK, DISCONNECT = 0x10, 0x20, b"\xe0\x00"


class Publisher:
    """MQTT 3.1.1 over a plain socket; all that is needed to publish."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = _text(b"MQTT") + b"\x04\x02\x00\x00" + _text(b"catcher-bench-publisher")
        self._socket.sendall(_packet(CONNECT, body))
        answer = self._socket.recv(4)
        if answer[:1] != bytes([CONNACK]) or answer[3:] != b"\x00":
            raise ConnectionError(f"the broker answered {answer!r}")
        self._on_the_way = 0
        self._half = 0

    def flood(self, topic: str, qos: int, payloads: Sequence[bytes]) -> None:
        """All of them, no more than `WINDOW` ahead of the broker's acknowledgements."""
        packets = list(_publications(topic, qos, payloads))
        _await_word()
        for start in range(0, len(packets), CHUNK):
            chunk = packets[start : start + CHUNK]
            self._socket.sendall(b"".join(chunk))
            self._on_the_way += len(chunk) if qos else 0
            while self._on_the_way > WINDOW - CHUNK:
                self._acknowledged()

    def lines(self, topic: str, lines: Iterable[bytes]) -> None:
        """Each line as it comes, at QoS 1."""
        for number, line in enumerate(lines):
            self._socket.sendall(_publication(topic.encode(), 1, number % 65_535, line))
            self._acknowledged()

    def pace(self, topic: str, qos: int, payloads: Sequence[bytes], per_second: float) -> None:
        """One after the other at a steady rate, each stamped when it leaves."""
        _await_word()
        begun = time.perf_counter()
        for number, payload in enumerate(payloads):
            wait = begun + number / per_second - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            stamped = payload.replace(MARK, str(time.time_ns()).encode())
            self._socket.sendall(_publication(topic.encode(), qos, number, stamped))
            self._on_the_way += 1 if qos else 0
            while self._on_the_way and self._ready():
                self._acknowledged()

    def close(self) -> None:
        """Leaves once everything has been acknowledged."""
        while self._on_the_way:
            self._acknowledged()
        self._socket.sendall(DISCONNECT)
        self._socket.close()

    def _ready(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def _acknowledged(self) -> None:
        """All that comes back is PUBACK, of four bytes each."""
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("the broker has closed the connection")
        count, self._half = divmod(self._half + len(data), 4)
        self._on_the_way -= count


def _await_word() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _publications(topic: str, qos: int, payloads: Sequence[bytes]) -> Iterator[bytes]:
    name = topic.encode()
    for number, payload in enumerate(payloads):
        yield _publication(name, qos, number, payload)


def _publication(topic: bytes, qos: int, number: int, payload: bytes) -> bytes:
    packet = struct.pack(">H", number % 65_535 + 1) if qos else b""
    return _packet(0x30 | qos << 1, _text(topic) + packet + payload)


def _text(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def _packet(first: int, body: bytes) -> bytes:
    size, head = len(body), bytearray([first])
    while True:
        size, digit = divmod(size, 128)
        head.append(digit | (128 if size else 0))
        if not size:
            return bytes(head) + body


def main(arguments: Sequence[str]) -> None:
    """Publishes a file."""
    port, topic, qos, path, *pace = arguments
    payloads = Path(path).read_bytes().splitlines()
    publisher = Publisher(int(port))
    if pace:
        publisher.pace(topic, int(qos), payloads, float(pace[0]))
    else:
        publisher.flood(topic, int(qos), payloads)
    publisher.close()


if __name__ == "__main__":
    main(sys.argv[1:])
