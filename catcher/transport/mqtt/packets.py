"""Splits a stream of bytes into MQTT control packets (OASIS MQTT 3.1.1 and 5.0, section 2).

Only PUBLISH and PUBREL are parsed here, because they come by the thousand; every other packet is
left complete for the client. A PUBLISH that is too large is skipped as it streams past.
"""

from __future__ import annotations

from dataclasses import dataclass, field

UserProperties = tuple[tuple[bytes, bytes], ...]
PublishPacket = tuple[bytes, bytes | None, int, int, bool, int, UserProperties]
"""Topic, payload (None if it was too large), QoS, packet id, retained, size, and the user
properties of the publisher (MQTT 5).
"""

_PUBLISH, _PUBREL = 3, 6
_TOPIC_ALIAS, _USER_PROPERTY, _SUBSCRIPTION_ID = 0x23, 0x26, 0x0B
_FIXED_SIZES = {0x01: 1, 0x02: 4, _TOPIC_ALIAS: 2}
_TEXT_COUNTS = {0x03: 1, 0x08: 1, 0x09: 1, _USER_PROPERTY: 2}
"""The properties of a PUBLISH: their sizes, or the number of texts in each (2.2.2.2)."""
_MAX_HEADER_BYTES = 2 + 65_535 + 2 + 4
_MAX_CONTROL_BYTES = 1_000_000


class ProtocolError(ValueError):
    """The bytes are not MQTT."""


@dataclass(slots=True)
class ParsedPackets:
    """The packets in a chunk: publications, ids of released ones, all others as bytes."""

    publications: list[PublishPacket] = field(default_factory=list)
    released_ids: list[int] = field(default_factory=list)
    control_packets: list[bytes] = field(default_factory=list)


class PacketParser:
    """Splits the bytes it is fed; keeps an unfinished packet for the next call.

    A payload of more than `max_payload` bytes is dropped. `version` 5 has properties: a topic alias
    is valid from its first use to the end of the connection.
    """

    def __init__(self, max_payload: int, version: int = 4) -> None:
        self._max_payload = max_payload
        self._has_properties = version >= 5
        self._remainder = b""
        self._bytes_to_skip = 0
        self._aliases: dict[int, bytes] = {}

    def parse_bytes(self, data: bytes) -> ParsedPackets:
        """Returns the packets that are now complete. Raises ProtocolError for invalid bytes."""
        packets = ParsedPackets()
        if self._bytes_to_skip:
            skipped = min(self._bytes_to_skip, len(data))
            self._bytes_to_skip -= skipped
            data = data[skipped:]
        if self._remainder:
            data = self._remainder + data
        position, end = 0, len(data)
        while position < end:
            header = self._parse_remaining_length(data, position, end)
            if header is None:
                break
            size, start = header
            stop = start + size
            if stop > end:
                fits = size <= self._max_payload + _MAX_HEADER_BYTES
                if fits or not self._skip_oversized(packets, data, position, start, stop):
                    break
                position = end
            elif data[position] >> 4 == _PUBLISH:
                packets.publications.append(self._parse_publish(data, data[position], start, stop))
                position = stop
            else:
                self._add_control_packet(packets, data[position:stop], start - position)
                position = stop
        self._remainder = data[position:]
        return packets

    @staticmethod
    def _parse_remaining_length(data: bytes, position: int, end: int) -> tuple[int, int] | None:
        """Returns the remaining length and the offset after it; None if it is incomplete."""
        index = position + 1
        if index < end and data[index] < 128:
            return data[index], index + 1
        size = shift = 0
        while index < end:
            byte = data[index]
            index += 1
            size |= (byte & 127) << shift
            if byte < 128:
                return size, index
            shift += 7
            if shift > 21:
                raise ProtocolError("a packet's length takes more than four bytes")
        return None

    def _parse_publish(self, data: bytes, first_byte: int, start: int, stop: int) -> PublishPacket:
        qos = first_byte >> 1 & 3
        index = start + 2 + int.from_bytes(data[start : start + 2], "big")
        topic = data[start + 2 : index]
        packet_id = 0
        if qos:
            packet_id = int.from_bytes(data[index : index + 2], "big")
            index += 2
        if self._has_properties and index < stop:
            header = self._parse_remaining_length(data, index - 1, stop)
            properties_start, index = (
                (index, stop + 1) if header is None else (header[1], sum(header))
            )
        else:
            properties_start = index
        if index > stop or qos == 3:
            raise ProtocolError("a PUBLISH packet contradicts its own length")
        user_properties: UserProperties = ()
        if properties_start < index <= len(data):
            topic, user_properties = self._parse_properties(data[properties_start:index], topic)
        size = stop - index
        payload = data[index:stop] if size <= self._max_payload else None
        return topic, payload, qos, packet_id, bool(first_byte & 1), size, user_properties

    def _parse_properties(self, properties: bytes, topic: bytes) -> tuple[bytes, UserProperties]:
        """Returns the topic and the user properties from the properties of a PUBLISH."""
        user_properties: list[tuple[bytes, bytes]] = []
        index, end = 0, len(properties)
        while index < end:
            identifier = properties[index]
            index += 1
            if identifier in _FIXED_SIZES:
                value = int.from_bytes(properties[index : index + _FIXED_SIZES[identifier]], "big")
                index += _FIXED_SIZES[identifier]
                if identifier == _TOPIC_ALIAS:
                    topic = self._resolve_alias(value, topic)
            elif identifier in _TEXT_COUNTS:
                texts = []
                for _ in range(_TEXT_COUNTS[identifier]):
                    size = int.from_bytes(properties[index : index + 2], "big")
                    texts.append(properties[index + 2 : index + 2 + size])
                    index += 2 + size
                if identifier == _USER_PROPERTY:
                    user_properties.append((texts[0], texts[1]))
            elif (
                identifier == _SUBSCRIPTION_ID
                and (length := self._parse_remaining_length(properties, index - 1, end)) is not None
            ):
                index = length[1]
            else:
                raise ProtocolError(f"a PUBLISH packet has no property {identifier:#x}")
        if index > end:
            raise ProtocolError("the properties of a PUBLISH packet contradict their length")
        return topic, tuple(user_properties)

    def _resolve_alias(self, alias: int, topic: bytes) -> bytes:
        """Returns the topic of an alias; a packet that names both sets it."""
        if topic:
            self._aliases[alias] = topic
            return topic
        if alias not in self._aliases:
            raise ProtocolError(f"nobody said what the topic alias {alias} stands for")
        return self._aliases[alias]

    def _skip_oversized(
        self, packets: ParsedPackets, data: bytes, position: int, start: int, stop: int
    ) -> bool:
        """Parses the header of an oversized packet, and skips its remaining bytes."""
        first_byte = data[position]
        if first_byte >> 4 != _PUBLISH:
            if stop - start > _MAX_CONTROL_BYTES:
                raise ProtocolError(f"a control packet of {stop - start} bytes")
            return False
        if len(data) - start < min(_MAX_HEADER_BYTES, stop - start):
            return False
        packets.publications.append(self._parse_publish(data, first_byte, start, stop))
        self._bytes_to_skip = stop - len(data)
        return True

    def _add_control_packet(self, packets: ParsedPackets, packet: bytes, header_size: int) -> None:
        if packet[0] >> 4 == _PUBREL and len(packet) >= header_size + 2:
            packets.released_ids.append(
                int.from_bytes(packet[header_size : header_size + 2], "big")
            )
        else:
            packets.control_packets.append(packet)
