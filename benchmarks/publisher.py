"""Publishes a file, a message a line, in a process of its own, as fast as the broker takes them.

    python -m benchmarks.publisher PORT TOPIC QOS FILE [PER_SECOND]

It says `ready` when all is prepared, and begins once it is sent a line.

`mosquitto_pub -l` will not do at QoS 1: once 65,535 messages wait for their acknowledgement its
packet ids begin anew, it takes an old acknowledgement for that of the last line, and leaves with
tens of thousands unsent. Here at most `MAX_IN_FLIGHT` messages are on their way. With PER_SECOND
the lines are paced, and `@sent@` in a line is replaced by the instant of sending (integer
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

MAX_IN_FLIGHT = 1_000
CHUNK_SIZE = 100
SEND_TIME_PLACEHOLDER = b"@sent@"
TIMEOUT = 60.0
CONNECT, CONNACK, DISCONNECT = 0x10, 0x20, b"\xe0\x00"


class BenchmarkPublisher:
    """MQTT 3.1.1 over a plain socket; all that is needed to publish."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = (
            _encode_string(b"MQTT")
            + b"\x04\x02\x00\x00"
            + _encode_string(b"catcher-bench-publisher")
        )
        self._socket.sendall(_encode_packet(CONNECT, body))
        response = self._socket.recv(4)
        if response[:1] != bytes([CONNACK]) or response[3:] != b"\x00":
            raise ConnectionError(f"the broker answered {response!r}")
        self._in_flight = 0
        self._partial_bytes = 0

    def publish_all(self, topic: str, qos: int, payloads: Sequence[bytes]) -> None:
        """All of them, no more than `MAX_IN_FLIGHT` ahead of the broker's acknowledgements."""
        packets = list(_encode_publishes(topic, qos, payloads))
        _wait_for_start()
        for start in range(0, len(packets), CHUNK_SIZE):
            chunk = packets[start : start + CHUNK_SIZE]
            self._socket.sendall(b"".join(chunk))
            self._in_flight += len(chunk) if qos else 0
            while self._in_flight > MAX_IN_FLIGHT - CHUNK_SIZE:
                self._read_acknowledgements()

    def publish_lines(self, topic: str, lines: Iterable[bytes]) -> None:
        """Each line as it comes, at QoS 1."""
        for number, line in enumerate(lines):
            self._socket.sendall(_encode_publish(topic.encode(), 1, number % 65_535, line))
            self._read_acknowledgements()

    def publish_paced(
        self, topic: str, qos: int, payloads: Sequence[bytes], per_second: float
    ) -> None:
        """One after the other at a steady rate, each stamped when it leaves."""
        _wait_for_start()
        start = time.perf_counter()
        for number, payload in enumerate(payloads):
            delay = start + number / per_second - time.perf_counter()
            if delay > 0:
                time.sleep(delay)
            message = payload.replace(SEND_TIME_PLACEHOLDER, str(time.time_ns()).encode())
            self._socket.sendall(_encode_publish(topic.encode(), qos, number, message))
            self._in_flight += 1 if qos else 0
            while self._in_flight and self._can_read():
                self._read_acknowledgements()

    def close(self) -> None:
        """Leaves once everything has been acknowledged."""
        while self._in_flight:
            self._read_acknowledgements()
        self._socket.sendall(DISCONNECT)
        self._socket.close()

    def _can_read(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def _read_acknowledgements(self) -> None:
        """All that comes back is PUBACK, of four bytes each."""
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("the broker has closed the connection")
        count, self._partial_bytes = divmod(self._partial_bytes + len(data), 4)
        self._in_flight -= count


def _wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _encode_publishes(topic: str, qos: int, payloads: Sequence[bytes]) -> Iterator[bytes]:
    name = topic.encode()
    for number, payload in enumerate(payloads):
        yield _encode_publish(name, qos, number, payload)


def _encode_publish(topic: bytes, qos: int, number: int, payload: bytes) -> bytes:
    packet_id = struct.pack(">H", number % 65_535 + 1) if qos else b""
    return _encode_packet(0x30 | qos << 1, _encode_string(topic) + packet_id + payload)


def _encode_string(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def _encode_packet(packet_type: int, body: bytes) -> bytes:
    remaining, header = len(body), bytearray([packet_type])
    while True:
        remaining, digit = divmod(remaining, 128)
        header.append(digit | (128 if remaining else 0))
        if not remaining:
            return bytes(header) + body


def main(arguments: Sequence[str]) -> None:
    """Publishes a file."""
    port, topic, qos, path, *rate = arguments
    payloads = Path(path).read_bytes().splitlines()
    publisher = BenchmarkPublisher(int(port))
    if rate:
        publisher.publish_paced(topic, int(qos), payloads, float(rate[0]))
    else:
        publisher.publish_all(topic, int(qos), payloads)
    publisher.close()


if __name__ == "__main__":
    main(sys.argv[1:])
