"""Packets are the same however the network cuts the stream."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.sources.mqtt_frames import Cut, Frames, ProtocolError

LIMIT = 1000


def packet(first: int, body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (128 if size else 0))
        if not size:
            return bytes([first, *length]) + body


def publish(
    topic: bytes, payload: bytes, qos: int = 0, number: int = 7, extra: bytes = b""
) -> bytes:
    head = len(topic).to_bytes(2, "big") + topic
    head += number.to_bytes(2, "big") if qos else b""
    return packet(0x30 | qos << 1, head + extra + payload)


PINGRESP = packet(0xD0, b"")
SUBACK = packet(0x90, b"\x00\x01\x01")
PUBREL = packet(0x62, b"\x00\x09")
STREAM = b"".join(
    [
        publish(b"a/b", b"{}"), PINGRESP, publish(b"a", b"x" * 500, 1, 300), PUBREL, SUBACK,
        publish(b"big", b"y" * 80_000, 2, 8), publish(b"", b""), publish(b"last", b"z" * 120, 1, 9),
    ]
)  # fmt: skip
PUBLISHED = [
    (b"a/b", b"{}", 0, 0, False, 2, ()),
    (b"a", b"x" * 500, 1, 300, False, 500, ()),
    (b"big", None, 2, 8, False, 80_000, ()),
    (b"", b"", 0, 0, False, 0, ()),
    (b"last", b"z" * 120, 1, 9, False, 120, ()),
]


def feed(frames: Frames, parts: list[bytes]) -> Cut:
    whole = Cut()
    for part in parts:
        cut = frames.feed(part)
        whole.published += cut.published
        whole.released += cut.released
        whole.control += cut.control
    return whole


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_every_way_to_cut_the_stream_gives_the_same_packets(places: list[int]) -> None:
    cuts = [0, *sorted(places), len(STREAM)]
    parts = [STREAM[start:end] for start, end in pairwise(cuts)]
    cut = feed(Frames(LIMIT), parts)
    assert cut.published == PUBLISHED
    assert cut.released == [9]
    assert cut.control == [PINGRESP, SUBACK]


def told(*properties: bytes) -> bytes:
    whole = b"".join(properties)
    return bytes([len(whole)]) + whole


def text(words: bytes) -> bytes:
    return len(words).to_bytes(2, "big") + words


USER = b"\x26" + text(b"origin") + text(b"TMA")
OTHERS = (b"\x01\x01", b"\x02\0\0\0\x09", b"\x03" + text(b"json"), b"\x0b\x81\x01")


def test_user_properties_are_read_among_others() -> None:
    packet = publish(b"t", b"{}", 1, 5, told(*OTHERS, USER, USER))
    (one,) = Frames(LIMIT, version=5).feed(packet).published
    assert one == (b"t", b"{}", 1, 5, False, 2, ((b"origin", b"TMA"), (b"origin", b"TMA")))


def test_an_alias_stands_for_its_topic_until_it_is_given_another() -> None:
    frames, alias = Frames(LIMIT, version=5), told(b"\x23\x00\x07")
    stream = [publish(topic, b"", 0, 0, alias) for topic in (b"a/b", b"", b"c", b"")]
    assert [one[0] for one in frames.feed(b"".join(stream)).published] == [
        b"a/b", b"a/b", b"c", b"c"
    ]  # fmt: skip
    with pytest.raises(ProtocolError, match="topic alias 7"):
        Frames(LIMIT, version=5).feed(stream[1])


@pytest.mark.parametrize("bad", [b"\x26\x00\x09k", b"\x7f\x00", b"\x23\x00", b"\x0b\xff"])
def test_properties_that_lie_end_the_connection(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frames(LIMIT, version=5).feed(publish(b"t", b"{}", 0, 0, told(bad)))


def test_the_properties_of_mqtt_5_are_skipped() -> None:
    properties = b"\x06\x26\x00\x01k\x00\x00"
    cut = Frames(LIMIT, version=5).feed(
        publish(b"t", b"{}", 1, 5, b"\x00") + publish(b"t", b"[]", 0, 0, properties)
    )
    assert [one[1] for one in cut.published] == [b"{}", b"[]"]


def test_retained_messages_are_marked() -> None:
    cut = Frames(LIMIT).feed(packet(0x31, b"\x00\x01a{}"))
    assert cut.published == [(b"a", b"{}", 0, 0, True, 2, ())]


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\xff\xff\xff\xff\x01",
        packet(0x30, b"\x00\x50short"),
        packet(0x36, b"\x00\x01a\x00\x01{}"),
        b"\x90\xff\xff\xff\x7f" + b"\x00" * 70_000,
    ],
)
def test_what_is_no_mqtt_is_told_so(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frames(LIMIT).feed(data)


@given(st.binary(max_size=400), st.sampled_from([4, 5]))
def test_no_bytes_break_it(data: bytes, version: int) -> None:
    try:
        Frames(50, version).feed(data)
    except ProtocolError as error:
        assert str(error)
