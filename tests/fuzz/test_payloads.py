"""Bytes from outside: words or events, and whatever the events hold, the rules go on."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import Admitted, Event, digest
from catcher.model.time import SECOND
from catcher.sources.decoding import Decoder, Scale
from catcher.watching import Admission, Network, SourceClock
from tests.fuzz.bounding import at_most
from tests.fuzz.mutating import soups, spoilt
from tests.fuzz.typical import RULES, TOPIC
from tests.oracle.effort import effort
from tests.oracle.streams import START

NAMES = ("x", "y", "k", "name", "time", "samples", "", "a.b", "x0", "x1", "force", "catcher", "é",
         "__class__", "\x00", "\ud800", "rule", "key", "run", "firing")  # fmt: skip
numbers = st.one_of(
    st.integers(), st.floats(), st.integers(-(10**320), 10**320),
    st.sampled_from([2**63, 2**63 - 1, -(2**63) - 1, 1e308, 5e-324, -0.0, 1745539087.25]),
)  # fmt: skip
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=6), st.just("x" * 5_000))
values = st.recursive(
    scalars,
    lambda below: st.one_of(
        st.lists(below, max_size=4), st.dictionaries(st.sampled_from(NAMES), below, max_size=4)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
shapes = st.one_of(
    objects,
    st.lists(objects, max_size=4),
    st.builds(lambda common, samples: {**common, "samples": samples}, objects, st.lists(values)),
    values,
)
GOOD = (
    '{"x": 5, "y": 1.5, "k": 1, "name": "a", "time": 1745539087.25, "force": [1, 2, null]}',
    '[{"x": 1, "time": "2025-04-24T23:58:07Z"}, {"x": 2, "time": 1745539088}]',
    '{"name": "b", "samples": [{"x": 3, "time": 1745539089.5}, {"x": 4, "time": 1745539090.5}]}',
)
SHARDS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "0x1", "01", "+1", ".5", "1.", "tru",
          "null", "9" * 400, '"\\ud800"', '"\\u0000"', "\\", "[" * 2_000, "{" * 50, '{"x":' * 60,
          "]", "}", ",", ":", '"', "'", "\x00", "\x7f", "//", "/* */", "1745539087")  # fmt: skip


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


spoilt_texts = st.one_of(spoilt(GOOD, SHARDS), soups(SHARDS, 8))
payloads = st.one_of(
    shapes.map(encoded),
    spoilt_texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)
topics = st.one_of(st.sampled_from([TOPIC, "catcher.x", "", "a\n"]), scalars)
lines = st.fixed_dictionaries({"topic": topics, "time": scalars, "fields": values}).map(encoded)
scales = st.sampled_from(["utc", "tai"])


def is_json(value: Any) -> bool:
    """Whether a field holds what every later part counts on."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_json(one) for name, one in value.items())
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, str):
        return value.encode("utf-8") is not None
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool) or -(2**63) <= value < 2**63


@effort(300)
@given(payloads, st.sampled_from(["", "time"]), scales)
def test_a_payload_is_events_or_words(payload: bytes, time: str, scale: Scale) -> None:
    decoder = Decoder("fuzz", time, scale, limit=100_000, samples=100)
    events: list[Event] = []
    rejected: list[str] = []

    with at_most(20_000 + 50 * len(payload)):
        decoder.decode(TOPIC, payload, START, events, rejected)

    assert events or rejected or payload.strip() in (b"[]",) or b"samples" in payload
    for words in rejected:
        assert words.isprintable() and len(words) < 400
    for event in events:
        assert event.topic == TOPIC and event.source == "fuzz"
        assert 0 < event.time < 2**63 and is_json(dict(event.fields))


@effort(150)
@given(st.one_of(payloads, lines))
def test_a_recorded_line_is_events_or_words(payload: bytes) -> None:
    decoder = Decoder("", limit=100_000, samples=100)
    events: list[Event] = []
    rejected: list[str] = []

    decoder.decode_recorded(payload, START, events, rejected)
    line = decoder.read_line(payload)

    assert isinstance(line, Event | str)
    assert all(words.isprintable() for words in rejected)
    assert all(is_json(dict(event.fields)) for event in events)


@effort(60)
@given(st.lists(payloads, min_size=1, max_size=8), st.integers(0, 40))
def test_the_rules_go_on_whatever_the_events_hold(bodies: list[bytes], steps: int) -> None:
    decoder = Decoder("fuzz", limit=100_000, samples=100)
    events: list[Event] = []
    rejected: list[str] = []
    for place, body in enumerate(bodies):
        decoder.decode(TOPIC, body, START + place * steps * SECOND // 10, events, rejected)
    admission, network = Admission({"fuzz": SourceClock("stream", reorder=SECOND)}), Network(RULES)
    watched(admission, network, events)


def watched(admission: Admission, network: Network, events: list[Event]) -> None:
    """The events through all rules, their state through JSON, and every question asked."""
    network.feed(admission.admit("fuzz", events, START))
    network.advance(admission.watermarks(START))
    for event in events:
        network.feed([Admitted(event._replace(topic="catcher.job"))])
        assert len(digest(event)) == 16
    network.feed(admission.flush())
    network.finish(START + 3600 * SECOND)
    states = network.take_states()
    for state in states:
        assert json.loads(json.dumps(state.state, allow_nan=False)) is not None
    again = Network(RULES)
    again.restore(states)
    again.feed(Admitted(event) for event in events)
    for rule in RULES:
        assert all(str(one) and one.as_json() for one in network.explain(rule.id))


@pytest.mark.parametrize("extreme", [1e308, -1e308, 5e-324, 2**63 - 1, -(2**63)])
def test_extremes_follow_each_other(extreme: float) -> None:
    admission, network = Admission({}), Network(RULES)
    values = [extreme, -extreme, 0, 1, extreme, extreme, -extreme, 0.1] * 4
    events = [
        Event(TOPIC, START + place * SECOND // 2, {"x": value, "force": [value, 1], "k": value})
        for place, value in enumerate(values)
    ]
    watched(admission, network, events)
