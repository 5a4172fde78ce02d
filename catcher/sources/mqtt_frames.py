"""MQTT control packets cut from a stream of bytes (OASIS MQTT 3.1.1 and 5.0, section 2).

Only PUBLISH and PUBREL are read here, since they come by the thousand; every other packet is
left whole for the client. A PUBLISH that is too large is skipped as it streams past.
"""

from __future__ import annotations

from dataclasses import dataclass, field

UserProperties = tuple[tuple[bytes, bytes], ...]
Publish = tuple[bytes, bytes | None, int, int, bool, int, UserProperties]
"""Topic, payload (None where it was too large to keep), QoS, packet id, retained, size, and
names and values that whoever published it put beside (MQTT 5)."""

_PUBLISH, _PUBREL = 3, 6
_ALIAS, _USER, _SUBSCRIPTION = 0x23, 0x26, 0x0B
_FIXED = {0x01: 1, 0x02: 4, _ALIAS: 2}
_TEXTS = {0x03: 1, 0x08: 1, 0x09: 1, _USER: 2}
"""The properties of a PUBLISH: their sizes, or of how many texts they consist (2.2.2.2)."""
_HEAD = 2 + 65_535 + 2 + 4
_CONTROL_LIMIT = 1_000_000


class ProtocolError(ValueError):
    """The bytes are no MQTT."""


@dataclass(slots=True)
class Cut:
    """What a stretch of bytes held: publications, ids of released ones, all else as bytes."""

    published: list[Publish] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    control: list[bytes] = field(default_factory=list)


class Frames:
    """Cuts what it is fed; keeps an unfinished packet for the next time.

    A payload of more than `limit` bytes is not kept. `version` 5 has properties: a topic's
    alias stands for it from its first use to the end of the connection.
    """

    def __init__(self, limit: int, version: int = 4) -> None:
        self._limit = limit
        self._properties = version >= 5
        self._rest = b""
        self._skip = 0
        self._aliases: dict[int, bytes] = {}

    def feed(self, data: bytes) -> Cut:
        """The packets that are complete now; ProtocolError where there are none to be found."""
        cut = Cut()
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        while position < end:
            head = self._size(data, position, end)
            if head is None:
                break
            size, start = head
            stop = start + size
            if stop > end:
                fits = size <= self._limit + _HEAD
                if fits or not self._oversized(cut, data, position, start, stop):
                    break
                position = end
            elif data[position] >> 4 == _PUBLISH:
                cut.published.append(self._publish(data, data[position], start, stop))
                position = stop
            else:
                self._other(cut, data[position:stop], start - position)
                position = stop
        self._rest = data[position:]
        return cut

    @staticmethod
    def _size(data: bytes, position: int, end: int) -> tuple[int, int] | None:
        """The remaining length and where what it measures begins; None if cut off before."""
        at = position + 1
        if at < end and data[at] < 128:
            return data[at], at + 1
        size = shift = 0
        while at < end:
            byte = data[at]
            at += 1
            size |= (byte & 127) << shift
            if byte < 128:
                return size, at
            shift += 7
            if shift > 21:
                raise ProtocolError("a packet's length takes more than four bytes")
        return None

    def _publish(self, data: bytes, first: int, start: int, stop: int) -> Publish:
        qos = first >> 1 & 3
        at = start + 2 + int.from_bytes(data[start : start + 2], "big")
        topic = data[start + 2 : at]
        packet = 0
        if qos:
            packet = int.from_bytes(data[at : at + 2], "big")
            at += 2
        if self._properties and at < stop:
            head = self._size(data, at - 1, stop)
            begun, at = (at, stop + 1) if head is None else (head[1], sum(head))
        else:
            begun = at
        if at > stop or qos == 3:
            raise ProtocolError("a PUBLISH packet contradicts its own length")
        user: UserProperties = ()
        if begun < at <= len(data):
            topic, user = self._told(data[begun:at], topic)
        size = stop - at
        payload = data[at:stop] if size <= self._limit else None
        return topic, payload, qos, packet, bool(first & 1), size, user

    def _told(self, told: bytes, topic: bytes) -> tuple[bytes, UserProperties]:
        """What the properties of a PUBLISH say of its topic and beside it."""
        user: list[tuple[bytes, bytes]] = []
        at, end = 0, len(told)
        while at < end:
            kind = told[at]
            at += 1
            if kind in _FIXED:
                value = int.from_bytes(told[at : at + _FIXED[kind]], "big")
                at += _FIXED[kind]
                if kind == _ALIAS:
                    topic = self._unaliased(value, topic)
            elif kind in _TEXTS:
                texts = []
                for _ in range(_TEXTS[kind]):
                    size = int.from_bytes(told[at : at + 2], "big")
                    texts.append(told[at + 2 : at + 2 + size])
                    at += 2 + size
                if kind == _USER:
                    user.append((texts[0], texts[1]))
            elif kind == _SUBSCRIPTION and (number := self._size(told, at - 1, end)) is not None:
                at = number[1]
            else:
                raise ProtocolError(f"a PUBLISH packet has no property {kind:#x}")
        if at > end:
            raise ProtocolError("the properties of a PUBLISH packet contradict their length")
        return topic, tuple(user)

    def _unaliased(self, alias: int, topic: bytes) -> bytes:
        """The topic that an alias stands for; a packet that names both sets it."""
        if topic:
            self._aliases[alias] = topic
            return topic
        if alias not in self._aliases:
            raise ProtocolError(f"nobody said what the topic alias {alias} stands for")
        return self._aliases[alias]

    def _oversized(self, cut: Cut, data: bytes, position: int, start: int, stop: int) -> bool:
        """Takes the head of a packet that will not fit, and skips what is still to come."""
        first = data[position]
        if first >> 4 != _PUBLISH:
            if stop - start > _CONTROL_LIMIT:
                raise ProtocolError(f"a control packet of {stop - start} bytes")
            return False
        if len(data) - start < min(_HEAD, stop - start):
            return False
        cut.published.append(self._publish(data, first, start, stop))
        self._skip = stop - len(data)
        return True

    def _other(self, cut: Cut, frame: bytes, head: int) -> None:
        if frame[0] >> 4 == _PUBREL and len(frame) >= head + 2:
            cut.released.append(int.from_bytes(frame[head : head + 2], "big"))
        else:
            cut.control.append(frame)
