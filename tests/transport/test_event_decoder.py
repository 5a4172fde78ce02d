"""Payloads become events or words, whatever they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import Event, compute_digest
from catcher.model.time import SECOND, parse_instant
from catcher.transport.event_decoder import EventDecoder

ARRIVAL = parse_instant("2025-04-24T00:00:00Z")
STAMP = 1745529160.5


def decode_payload(payload: bytes | str, **settings: Any) -> tuple[list[Event], list[str]]:
    events: list[Event] = []
    rejected: list[str] = []
    raw = payload.encode() if isinstance(payload, str) else payload
    EventDecoder("efd", **settings).decode("wind", raw, ARRIVAL, events, rejected)
    return events, rejected


def decode_line(
    payload: bytes | str, arrival: int | None = ARRIVAL
) -> tuple[list[Event], list[str]]:
    events: list[Event] = []
    rejected: list[str] = []
    raw = payload.encode() if isinstance(payload, str) else payload
    EventDecoder("efd").decode_recorded_lines(raw, arrival, events, rejected)
    return events, rejected


def test_one_object_is_one_event_at_its_arrival() -> None:
    events, rejected = decode_payload(
        '{"speed": 7.2, "salIndex": 301, "ok": true, "name": "é", "no": null}'
    )
    fields = {"speed": 7.2, "salIndex": 301, "ok": True, "name": "é", "no": None}
    assert (events, rejected) == ([Event("wind", ARRIVAL, fields, "efd")], [])


def test_a_list_is_one_event_each() -> None:
    events, _ = decode_payload('[{"speed": 1}, {"speed": 2}]')
    assert [event.fields for event in events] == [{"speed": 1}, {"speed": 2}]


def test_fields_beside_samples_are_common_to_them() -> None:
    events, _ = decode_payload(
        '{"salIndex": 301, "samples": [{"speed": 1}, {"speed": 2, "salIndex": 7}]}'
    )
    assert [event.fields for event in events] == [
        {"salIndex": 301, "speed": 1},
        {"salIndex": 7, "speed": 2},
    ]


def test_samples_may_also_be_a_field_like_any_other() -> None:
    events, _ = decode_payload('{"samples": [1, 2, 3]}')
    assert events[0].fields == {"samples": [1, 2, 3]}


def test_the_time_is_read_from_its_field_in_utc() -> None:
    events, _ = decode_payload(f'{{"stamp": {STAMP}}}', time_field="stamp")
    assert events[0].time == round(STAMP * SECOND)


def test_the_time_is_read_from_its_field_in_tai() -> None:
    events, _ = decode_payload(f'{{"stamp": {STAMP}}}', time_field="stamp", scale="tai")
    assert events[0].time == round((STAMP - 37) * SECOND)


def test_tai_before_the_last_leap_second_has_the_offset_of_its_day() -> None:
    events, _ = decode_payload('{"stamp": "2010-06-01T00:00:34"}', time_field="stamp", scale="tai")
    assert events[0].time == parse_instant("2010-06-01T00:00:00Z")


def test_the_time_may_be_iso_text_with_a_zone_or_whole_seconds() -> None:
    texts = ['"2025-04-24T02:00:00+02:00"', '"2025-04-24 00:00:00"', "1745452800"]
    for text in texts:
        events, rejected = decode_payload(f'{{"t": {text}}}', time_field="t")
        assert not rejected
        assert events[0].time == ARRIVAL


@pytest.mark.parametrize(
    "value",
    ["0", "-1", "1e300", '"yesterday"', "true", "null", "[1]", "{}", '"1970-06-01"',
     "1745452800000", "9999999999", '"2262-05-01"', '"2025-02-30"', '""', '"2025-04-24T25:00"'],
)  # fmt: skip
def test_what_is_no_time_of_a_plausible_year_is_rejected(value: str) -> None:
    events, rejected = decode_payload(f'{{"t": {value}, "speed": 1}}', time_field="t")
    assert not events
    assert len(rejected) == 1
    assert "is no time; seconds since the epoch or ISO 8601, of 1971 to 2260" in rejected[0]


def test_a_sample_without_its_time_is_rejected_and_the_others_are_not() -> None:
    events, rejected = decode_payload(
        f'[{{"t": {STAMP}}}, {{"speed": 1}}, {{"t": {STAMP}}}]', time_field="t"
    )
    assert len(events) == 2
    assert rejected == ["wind: sample 2 of 3: it has no field 't', which is to hold the time"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_unknown_and_counted(number: str) -> None:
    decoder = EventDecoder("efd")
    events: list[Event] = []
    rejected: list[str] = []
    payload = f'{{"a": {number}, "b": [1, {number}], "c": 2}}'.encode()
    decoder.decode("wind", payload, ARRIVAL, events, rejected)
    assert events[0].fields == {"a": None, "b": [1, None], "c": 2}
    assert decoder.non_finite_count == 2


def test_integers_beyond_64_bits_are_floats() -> None:
    events, _ = decode_payload('{"a": 123456789012345678901234567890, "b": 9007199254740993}')
    assert events[0].fields == {"a": 123456789012345678901234567890.0, "b": 9007199254740993}


def test_an_integer_of_five_thousand_digits_is_unknown() -> None:
    events, _ = decode_payload('{"a": ' + "9" * 5000 + "}")
    assert events[0].fields == {"a": None}


NO_EVENTS = {
    b"": "it is not JSON: it is empty",
    b"   ": "it is not JSON: it is empty",
    b"speed=7.2": "it is not JSON",
    b"{'speed': 7}": "it is not JSON",
    b'{"speed": 7': "it is not JSON",
    b'{"speed": 7} {"speed": 8}': "it is not JSON",
    b'{"a": "\xff\xfe"}': "the text is not UTF-8",
    b'{"a": NaN, "b": "\xff"}': "the text is not UTF-8",
    b"\x00\x01\x02": "it is not JSON",
    b"7.2": "a number is no sample",
    b'"text"': "a text is no sample",
    b"true": "a truth value is no sample",
    b"null": "null is no sample",
    b"NaN": "null is no sample",
    b"[1, 2]": "a number is no sample",
    b"[[]]": "a list is no sample",
    b"[" * 100_000: "it is nested more than 32 levels deep",
    b"[" * 100_000 + b"]" * 100_000: "it is nested more than 32 levels deep",
    b'{"a":' * 40 + b"1" + b"}" * 40: "it is nested more than 32 levels deep",
    b'{"a": NaN, "b":' + b"[" * 50_000 + b"]" * 50_000 + b"}": "nested more than 32 levels deep",
    b'{"a": "' + b"x" * 1_000_000 + b'"}': "a payload of 1000009 bytes is larger than the 1000000",
    b"[" + b"{}," * 10_000 + b"{}]": "it holds 10001 samples, more than the 10000",
}


@pytest.mark.parametrize("payload", NO_EVENTS, ids=lambda payload: repr(payload[:20]))
def test_what_is_no_event_is_rejected_with_a_message(payload: bytes) -> None:
    events, rejected = decode_payload(payload)
    assert not events
    assert NO_EVENTS[payload] in rejected[0]
    assert rejected[0].startswith("wind: ")
    assert all(len(message) < 250 for message in rejected)


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_no_bytes_break_it(payload: bytes) -> None:
    for time in ("", "t"):
        events, rejected = decode_payload(payload, time_field=time)
        assert events or rejected or payload.strip() == b"[]"
    decode_line(payload)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=30,
    )
)
def test_every_json_value_gives_events_that_can_be_stored(value: Any) -> None:
    events, rejected = decode_payload(json.dumps(value))
    field_events, _ = decode_payload(json.dumps({"field": value}))
    for event in events + field_events:
        assert len(compute_digest(event)) == 16
        json.dumps(event.fields, allow_nan=False).encode("utf-8")
    assert all(message.isprintable() for message in rejected)


def test_a_recorded_line_names_its_topic_and_time() -> None:
    line = '{"topic": "a.b", "time": "2025-04-24T00:05:13.2Z", "fields": {"x": 1}, "source": "s"}'
    events, rejected = decode_line(line)
    assert not rejected
    assert events == [Event("a.b", parse_instant("2025-04-24T00:05:13.2Z"), {"x": 1}, "efd")]


def test_several_recorded_events_may_come_at_once_and_each_is_checked_alone() -> None:
    events, rejected = decode_line('{"events": [{"topic": "a", "fields": {}}, {"fields": {}}, 3]}')
    assert [event.topic for event in events] == ["a"]
    assert rejected[0] == "event 2 of 3: the event has no topic"
    assert rejected[1].startswith("event 3 of 3: a number is no event")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"topic": 7}', "the topic is no text"),
        ('{"topic": ""}', "is no topic"),
        ('{"topic": "a\\u0000b"}', "is no topic"),
        ('{"topic": "' + "x" * 600 + '"}', "is no topic"),
        ('{"topic": "catcher.mount-jitter"}', "topics that begin with catcher. are results"),
        ('{"topic": "a", "fields": []}', "its fields are a list, not an object"),
        ('{"topic": "a", "time": 12}', "time 12 is no time"),
        ('{"topic": "a", "time": "2025-04-24T00:00:61Z"}', "is no time"),
    ],
)
def test_a_line_that_is_no_event_says_why(line: str, message: str) -> None:
    events, rejected = decode_line(line)
    assert not events
    assert message in rejected[0]


def test_without_an_arrival_a_line_has_to_bring_its_time() -> None:
    _, rejected = decode_line('{"topic": "a", "fields": {}}', arrival=None)
    assert rejected == ["a: the event has no time"]


def test_messages_have_only_printable_characters() -> None:
    events: list[Event] = []
    rejected: list[str] = []
    EventDecoder("efd").decode("a\x1b[31m\u202eb\n" + "x" * 500, b"?", ARRIVAL, events, rejected)
    assert rejected[0].isprintable()
    assert len(rejected[0]) < 200
