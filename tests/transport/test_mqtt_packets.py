"""Packets are the same however the network cuts the stream."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.transport.mqtt.packets import PacketParser, ParsedPackets, ProtocolError

LIMIT = 1000


def encode_packet(first_byte: int, body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (128 if size else 0))
        if not size:
            return bytes([first_byte, *length]) + body


def encode_publish(
    topic: bytes, payload: bytes, qos: int = 0, packet_id: int = 7, extra: bytes = b""
) -> bytes:
    header = len(topic).to_bytes(2, "big") + topic
    header += packet_id.to_bytes(2, "big") if qos else b""
    return encode_packet(0x30 | qos << 1, header + extra + payload)


PINGRESP = encode_packet(0xD0, b"")
SUBACK = encode_packet(0x90, b"\x00\x01\x01")
PUBREL = encode_packet(0x62, b"\x00\x09")
STREAM = b"".join(
    [
        encode_publish(b"a/b", b"{}"),
        PINGRESP,
        encode_publish(b"a", b"x" * 500, 1, 300),
        PUBREL,
        SUBACK,
        encode_publish(b"big", b"y" * 80_000, 2, 8),
        encode_publish(b"", b""),
        encode_publish(b"last", b"z" * 120, 1, 9),
    ]
)
PUBLISHED = [
    (b"a/b", b"{}", 0, 0, False, 2, ()),
    (b"a", b"x" * 500, 1, 300, False, 500, ()),
    (b"big", None, 2, 8, False, 80_000, ()),
    (b"", b"", 0, 0, False, 0, ()),
    (b"last", b"z" * 120, 1, 9, False, 120, ()),
]


def feed_parts(frames: PacketParser, parts: list[bytes]) -> ParsedPackets:
    total = ParsedPackets()
    for part in parts:
        result = frames.parse_bytes(part)
        total.publications += result.publications
        total.released_ids += result.released_ids
        total.control_packets += result.control_packets
    return total


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_every_way_to_cut_the_stream_gives_the_same_packets(cut_points: list[int]) -> None:
    cuts = [0, *sorted(cut_points), len(STREAM)]
    parts = [STREAM[start:end] for start, end in pairwise(cuts)]
    result = feed_parts(PacketParser(LIMIT), parts)
    assert result.publications == PUBLISHED
    assert result.released_ids == [9]
    assert result.control_packets == [PINGRESP, SUBACK]


def encode_properties(*properties: bytes) -> bytes:
    data = b"".join(properties)
    return bytes([len(data)]) + data


def encode_string(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


USER_PROPERTY = b"\x26" + encode_string(b"origin") + encode_string(b"TMA")
OTHER_PROPERTIES = (
    b"\x01\x01",
    b"\x02\0\0\0\x09",
    b"\x03" + encode_string(b"json"),
    b"\x0b\x81\x01",
)


def test_user_properties_are_read_among_others() -> None:
    packet = encode_publish(
        b"t", b"{}", 1, 5, encode_properties(*OTHER_PROPERTIES, USER_PROPERTY, USER_PROPERTY)
    )
    (message,) = PacketParser(LIMIT, version=5).parse_bytes(packet).publications
    assert message == (b"t", b"{}", 1, 5, False, 2, ((b"origin", b"TMA"), (b"origin", b"TMA")))


def test_an_alias_means_its_topic_until_it_is_reassigned() -> None:
    frames, alias = PacketParser(LIMIT, version=5), encode_properties(b"\x23\x00\x07")
    stream = [encode_publish(topic, b"", 0, 0, alias) for topic in (b"a/b", b"", b"c", b"")]
    assert [message[0] for message in frames.parse_bytes(b"".join(stream)).publications] == [
        b"a/b", b"a/b", b"c", b"c"
    ]  # fmt: skip
    with pytest.raises(ProtocolError, match="topic alias 7"):
        PacketParser(LIMIT, version=5).parse_bytes(stream[1])


@pytest.mark.parametrize("bad", [b"\x26\x00\x09k", b"\x7f\x00", b"\x23\x00", b"\x0b\xff"])
def test_malformed_properties_end_the_connection(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        PacketParser(LIMIT, version=5).parse_bytes(
            encode_publish(b"t", b"{}", 0, 0, encode_properties(bad))
        )


def test_the_properties_of_mqtt_5_are_skipped() -> None:
    properties = b"\x06\x26\x00\x01k\x00\x00"
    result = PacketParser(LIMIT, version=5).parse_bytes(
        encode_publish(b"t", b"{}", 1, 5, b"\x00") + encode_publish(b"t", b"[]", 0, 0, properties)
    )
    assert [message[1] for message in result.publications] == [b"{}", b"[]"]


def test_retained_messages_are_marked() -> None:
    result = PacketParser(LIMIT).parse_bytes(encode_packet(0x31, b"\x00\x01a{}"))
    assert result.publications == [(b"a", b"{}", 0, 0, True, 2, ())]


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\xff\xff\xff\xff\x01",
        encode_packet(0x30, b"\x00\x50short"),
        encode_packet(0x36, b"\x00\x01a\x00\x01{}"),
        b"\x90\xff\xff\xff\x7f" + b"\x00" * 70_000,
    ],
)
def test_what_is_no_mqtt_is_reported(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        PacketParser(LIMIT).parse_bytes(data)


@given(st.binary(max_size=400), st.sampled_from([4, 5]))
def test_no_bytes_break_it(data: bytes, version: int) -> None:
    try:
        PacketParser(50, version).parse_bytes(data)
    except ProtocolError as error:
        assert str(error)
