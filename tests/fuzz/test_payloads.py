"""Bytes from outside: words or events, and whatever the events hold, the rules go on."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.evaluation import Admission, RuleEvaluator, SourceClock
from catcher.model.event import AdmittedEvent, Event, compute_digest
from catcher.model.time import SECOND
from catcher.transport.event_decoder import EventDecoder, TimeScale
from tests.fuzz.call_limit import limit_calls
from tests.fuzz.mutations import fragment_mixes, mutated_texts
from tests.fuzz.sample_rules import RULES, TOPIC
from tests.oracle.hypothesis_settings import property_settings
from tests.oracle.streams import START

FIELD_NAMES = (
    "x",
    "y",
    "k",
    "name",
    "time",
    "samples",
    "",
    "a.b",
    "x0",
    "x1",
    "force",
    "catcher",
    "é",
    "__class__",
    "\x00",
    "\ud800",
    "rule",
    "key",
    "run",
    "firing",
)
numbers = st.one_of(
    st.integers(), st.floats(), st.integers(-(10**320), 10**320),
    st.sampled_from([2**63, 2**63 - 1, -(2**63) - 1, 1e308, 5e-324, -0.0, 1745539087.25]),
)  # fmt: skip
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=6), st.just("x" * 5_000))
values = st.recursive(
    scalars,
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.dictionaries(st.sampled_from(FIELD_NAMES), children, max_size=4),
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(FIELD_NAMES), values, max_size=6)
payload_shapes = st.one_of(
    objects,
    st.lists(objects, max_size=4),
    st.builds(lambda common, samples: {**common, "samples": samples}, objects, st.lists(values)),
    values,
)
VALID_PAYLOADS = (
    '{"x": 5, "y": 1.5, "k": 1, "name": "a", "time": 1745539087.25, "force": [1, 2, null]}',
    '[{"x": 1, "time": "2025-04-24T23:58:07Z"}, {"x": 2, "time": 1745539088}]',
    '{"name": "b", "samples": [{"x": 3, "time": 1745539089.5}, {"x": 4, "time": 1745539090.5}]}',
)
FRAGMENTS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "0x1",
    "01",
    "+1",
    ".5",
    "1.",
    "tru",
    "null",
    "9" * 400,
    '"\\ud800"',
    '"\\u0000"',
    "\\",
    "[" * 2_000,
    "{" * 50,
    '{"x":' * 60,
    "]",
    "}",
    ",",
    ":",
    '"',
    "'",
    "\x00",
    "\x7f",
    "//",
    "/* */",
    "1745539087",
)


def encode_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


mutated_payloads = st.one_of(mutated_texts(VALID_PAYLOADS, FRAGMENTS), fragment_mixes(FRAGMENTS, 8))
payloads = st.one_of(
    payload_shapes.map(encode_json),
    mutated_payloads.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)
topics = st.one_of(st.sampled_from([TOPIC, "catcher.x", "", "a\n"]), scalars)
lines = st.fixed_dictionaries({"topic": topics, "time": scalars, "fields": values}).map(encode_json)
scales = st.sampled_from(["utc", "tai"])


def is_json(value: Any) -> bool:
    """Whether a field holds what every later part counts on."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_json(element) for name, element in value.items())
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, str):
        return value.encode("utf-8") is not None
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool) or -(2**63) <= value < 2**63


@property_settings(300)
@given(payloads, st.sampled_from(["", "time"]), scales)
def test_a_payload_is_events_or_errors(payload: bytes, time_field: str, scale: TimeScale) -> None:
    decoder = EventDecoder("fuzz", time_field, scale, max_bytes=100_000, max_samples=100)
    events: list[Event] = []
    errors: list[str] = []

    with limit_calls(20_000 + 50 * len(payload)):
        decoder.decode(TOPIC, payload, START, events, errors)

    assert events or errors or payload.strip() in (b"[]",) or b"samples" in payload
    for message in errors:
        assert message.isprintable() and len(message) < 400
    for event in events:
        assert event.topic == TOPIC and event.source == "fuzz"
        assert 0 < event.time < 2**63 and is_json(dict(event.fields))


@property_settings(150)
@given(st.one_of(payloads, lines))
def test_a_recorded_line_is_events_or_errors(payload: bytes) -> None:
    decoder = EventDecoder("", max_bytes=100_000, max_samples=100)
    events: list[Event] = []
    errors: list[str] = []

    decoder.decode_recorded_lines(payload, START, events, errors)
    decoded = decoder.decode_recorded_line(payload)

    assert isinstance(decoded, Event | str)
    assert all(message.isprintable() for message in errors)
    assert all(is_json(dict(event.fields)) for event in events)


@property_settings(60)
@given(st.lists(payloads, min_size=1, max_size=8), st.integers(0, 40))
def test_the_rules_continue_whatever_the_events_contain(
    payload_bodies: list[bytes], step: int
) -> None:
    decoder = EventDecoder("fuzz", max_bytes=100_000, max_samples=100)
    events: list[Event] = []
    errors: list[str] = []
    for index, body in enumerate(payload_bodies):
        decoder.decode(TOPIC, body, START + index * step * SECOND // 10, events, errors)
    admission, evaluator = (
        Admission({"fuzz": SourceClock("stream", reorder=SECOND)}),
        RuleEvaluator(RULES),
    )
    process_and_restore(admission, evaluator, events)


def process_and_restore(
    admission: Admission, evaluator: RuleEvaluator, events: list[Event]
) -> None:
    """The events through all rules, their state through JSON, and every question asked."""
    evaluator.process_events(admission.admit_events("fuzz", events, START))
    evaluator.advance_watermarks(admission.get_watermarks(START))
    for event in events:
        evaluator.process_events([AdmittedEvent(event._replace(topic="catcher.job"))])
        assert len(compute_digest(event)) == 16
    evaluator.process_events(admission.flush_buffered_events())
    evaluator.run_remaining_timers(START + 3600 * SECOND)
    states = evaluator.snapshot_changed_states()
    for state in states:
        assert json.loads(json.dumps(state.state, allow_nan=False)) is not None
    restored = RuleEvaluator(RULES)
    restored.restore_states(states)
    restored.process_events(AdmittedEvent(event) for event in events)
    for rule in RULES:
        assert all(
            str(explanation) and explanation.to_json()
            for explanation in evaluator.explain_rule(rule.id)
        )


@pytest.mark.parametrize("extreme", [1e308, -1e308, 5e-324, 2**63 - 1, -(2**63)])
def test_extremes_follow_each_other(extreme: float) -> None:
    admission, evaluator = Admission({}), RuleEvaluator(RULES)
    values = [extreme, -extreme, 0, 1, extreme, extreme, -extreme, 0.1] * 4
    events = [
        Event(TOPIC, START + index * SECOND // 2, {"x": value, "force": [value, 1], "k": value})
        for index, value in enumerate(values)
    ]
    process_and_restore(admission, evaluator, events)
