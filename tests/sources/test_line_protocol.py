"""Line protocol is read exactly, by number of line, and nothing of it makes the reader stumble."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from influxdb_client.client.write.point import Point

from catcher.model.event import Event
from catcher.model.time import MILLISECOND, SECOND, parse_instant
from catcher.sources.line_protocol import LineError, decode_lines, parse_precision

NOW = parse_instant("2025-04-24T00:00:00Z")
SAMPLE_TIME = parse_instant("2025-04-24T00:05:13.2Z")


def parse_lines(
    text: str | bytes, unit: int = 1, max_lines: int = 1000
) -> tuple[list[Event], list[LineError]]:
    payload = text if isinstance(text, bytes) else text.encode()
    events: list[Event] = []
    return events, decode_lines(payload, "posts", unit, NOW, max_lines, events)


def parse_fields(text: str) -> dict[str, Any]:
    events, errors = parse_lines(text)
    assert not errors
    (event,) = events
    return dict(event.fields)


def test_a_line_is_a_topic_tags_fields_and_a_time() -> None:
    line = f"lsst.sal.ESS.airFlow,site=summit,mast=a speed=7.2,salIndex=301i {SAMPLE_TIME}"
    fields = {"site": "summit", "mast": "a", "speed": 7.2, "salIndex": 301}
    assert parse_lines(line) == ([Event("lsst.sal.ESS.airFlow", SAMPLE_TIME, fields, "posts")], [])


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("1", 1.0), ("-1.5", -1.5), ("+2.", 2.0), (".5", 0.5), ("1e3", 1e3), ("-1.2E-3", -1.2e-3),
        ("7i", 7), ("-7i", -7), ("9223372036854775807i", 2**63 - 1), ("7u", 7),
        ("18446744073709551615u", float(2**64 - 1)),
        ("t", True), ("T", True), ("true", True), ("True", True), ("TRUE", True),
        ("f", False), ("F", False), ("false", False), ("False", False), ("FALSE", False),
        ('""', ""), ('"a b,c=d"', "a b,c=d"), (r'"a\"b\\c\d"', r'a"b\c\d'), ('"a\nb"', "a\nb"),
        ('"\\\\"', "\\"), ('"ü 30°"', "ü 30°"),
    ],
)  # fmt: skip
def test_values_keep_their_kind(token: str, value: object) -> None:
    parsed = parse_fields(f"m x={token}")["x"]
    assert (parsed, type(parsed)) == (value, type(value))


def test_what_is_escaped_belongs_to_the_name() -> None:
    events, errors = parse_lines(r"a\ b\,c=d,t\ 1\=\,=v\ \,\= f\ \=\,=1")
    assert not errors
    assert events[0].topic == "a b,c=d"
    assert events[0].fields == {"t 1=,": "v ,=", "f =,": 1.0}


def test_a_backslash_before_anything_else_is_literal() -> None:
    assert parse_fields(r"m,path=C:\new\\dir x=1") == {"path": r"C:\new\\dir", "x": 1.0}


def test_empty_lines_and_comments_are_ignored_and_count_as_lines() -> None:
    text = '\n# about\r\n  a x=1\r\n\n   \nb s="two\nlines"\nc\n'
    events, errors = parse_lines(text)
    assert [(event.topic, event.time) for event in events] == [("a", NOW), ("b", NOW)]
    assert errors == [(8, "it has no fields")]


@pytest.mark.parametrize(
    ("precision", "stamp"),
    [
        ("ns", SAMPLE_TIME),
        ("us", SAMPLE_TIME // 1000),
        ("u", SAMPLE_TIME // 1000),
        ("ms", SAMPLE_TIME // MILLISECOND),
        ("s", SAMPLE_TIME // SECOND),
    ],
)
def test_a_timestamp_counts_what_the_precision_says(precision: str, stamp: int) -> None:
    unit = parse_precision(precision)
    events, errors = parse_lines(f"m x=1 {stamp}", unit)
    assert not errors
    assert events[0].time == stamp * unit


def test_a_precision_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'days' is no precision; take one of ns, "):
        parse_precision("days")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("m", "it has no fields"),
        (",t=1 x=1", "the measurement is missing"),
        ("m, x=1", "a tag without a name"),
        ("m,t x=1", "the tag 't' has no value"),
        ("m,t= x=1", "the tag 't' has no value"),
        ("m x", "the field 'x' has no value"),
        ("m x= 12", "the field 'x' has no value"),
        ("m x=1,", "a field without a name"),
        ("m =1", "a field without a name"),
        ("m x=one", "'one' of 'x' is no number, truth value or text in double quotes"),
        ("m x=NaN", "'NaN' of 'x' is no number"),
        ("m x=1e999", "1e999 of 'x' is beyond what a number holds"),
        ("m x=9223372036854775808i", "9223372036854775808i of 'x' is beyond 64 bits"),
        ("m x=-1u", "-1u of 'x' is beyond 64 bits"),
        ("m x=１２", "'１２' of 'x' is no number"),
        ('m x="open', "the text of 'x' is not closed"),
        ("m x=1 soon", "'soon' is no time"),
        ("m x=1 12", "'12' is no time of 1971 to 2260 in the precision that was given"),
        (f"m x=1 {SAMPLE_TIME} more", "m: 'more' is one word too many"),
        ("m,x=1 x=1", "m: 'x' is given twice"),
        ("catcher.images x=1", "catcher.images: topics that begin with catcher. are results"),
        ("a\x1bb x=1", "is no topic"),
    ],
)
def test_an_error_is_reported_and_the_next_line_is_read(line: str, message: str) -> None:
    events, errors = parse_lines(f"a y=1\n{line}\nb y=2\n")
    assert [event.topic for event in events] == ["a", "b"]
    ((number, actual),) = errors
    assert number == 2
    assert message in actual


def test_text_that_is_not_utf8_is_named_by_its_line() -> None:
    assert parse_lines(b'a x=1\nb x="\xff"\n') == ([], [(2, "the text is not UTF-8")])


def test_the_lines_of_a_post_are_limited() -> None:
    assert parse_lines("m x=1\n" * 5, max_lines=5)[1] == []
    assert parse_lines("# a\nm x=1\n" * 6, max_lines=5)[1] == [
        (12, "more than the 5 lines that one post may hold")
    ]


# -- anything -----------------------------------------------------------------------------------

LIKE_LINES = st.lists(
    st.sampled_from(["m", ",", "=", " ", "\\", '"', "\n", "\r", "#", "1", "i", "u", "e", ".", "-",
                     "t", "\0", "é", "\ud7ff", "1745453113200000000"]), max_size=60,
).map("".join)  # fmt: skip


@given(st.one_of(LIKE_LINES, st.text(max_size=200)).map(str.encode) | st.binary(max_size=200))
@example(b'm x="' + b"\\" * 51)
@example(b'm x="\\"\n' * 50)
def test_any_line_is_an_event_or_an_error(payload: bytes) -> None:
    events, errors = parse_lines(payload)
    lines = payload.count(b"\n") + 1
    assert len(events) + len(errors) <= lines
    assert all(1 <= number <= lines and message for number, message in errors)
    assert [number for number, _ in errors] == sorted({number for number, _ in errors})


# -- what others write --------------------------------------------------------------------------

CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"])
# A backslash before a mark that the writer escapes is ambiguous in the protocol itself, and so
# is one at the end of a name; InfluxDB's client writes them all the same.
NAMES = st.text(CHARACTERS, min_size=1, max_size=20).filter(
    lambda name: not name.endswith("\\") and not name.startswith("#")
)
TOPICS = NAMES.filter(lambda name: name.isprintable() and not name.startswith(("catcher.", " ")))
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
)
TIMES = st.integers(parse_instant("1971-01-02"), parse_instant("2259-12-31"))


@given(
    TOPICS, st.dictionaries(NAMES, NAMES, max_size=4),
    st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), TIMES,
)  # fmt: skip
@example("m", {"a": "\\,"}, {"x": "\\"}, SAMPLE_TIME)
def test_what_influxdbs_own_client_writes_comes_back(
    topic: str, tags: dict[str, str], fields: dict[str, Any], time: int
) -> None:
    tags = {name: value for name, value in tags.items() if name not in fields}
    point = Point(topic).time(time)
    for name, value in tags.items():
        point.tag(name, value)
    for name, value in fields.items():
        point.field(name, value)
    events, errors = parse_lines(f"{point.to_line_protocol()}\nnext x=1")
    assert not errors
    assert [event.topic for event in events] == [topic, "next"]
    assert events[0].time == time
    assert events[0].fields == {**tags, **fields}
    kinds = {name: type(events[0].fields[name]) for name in fields}
    assert kinds == {name: type(value) for name, value in fields.items()}


def test_what_telegraf_writes_is_read() -> None:
    # As `telegraf --test` prints it, with a text of several lines from the exec input.
    text = (
        "cpu,cpu=cpu-total,host=summit-a usage_idle=91.2,usage_user=4.9 1745453110000000000\n"
        "system,host=summit-a load1=0.42,n_cpus=8i,uptime=12233u 1745453110000000000\n"
        'system,host=summit-a uptime_format="3 days,  7:12" 1745453110000000000\n'
        r"disk,device=mapper/vg\ root,path=/var,mode=rw free=12i 1745453110000000000"
        "\n"
    )
    events, errors = parse_lines(text)
    assert not errors
    assert [re.sub("[a-z]", "", event.topic) for event in events] == ["", "", "", ""]
    assert events[2].fields["uptime_format"] == "3 days,  7:12"
    assert events[3].fields["device"] == "mapper/vg root"
