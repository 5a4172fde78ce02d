"""Deliveries of many topics decide, whole, what their events decide one after the other."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.model.event import Admitted, Event
from catcher.model.rule import Rule
from catcher.model.time import SECOND
from catcher.watching import Admission, Network, SourceClock
from catcher.watching.feeding import together
from catcher.watching.stretches import InOrder, in_order
from tests.watching.playing import Decision, alert, at, event, level, rule, trigger

TOPICS = ["wind", "mount", "dome", "nobody"]


def rules() -> list[Rule]:
    found = [
        rule(trigger("telemetry", topic, when=f"speed > {limit}", **given), f"{topic}-{limit}")
        for topic in TOPICS[:3]
        for limit, given in ((0, {}), (1, {"clear": "speed < 0"}), (2, {"hold": "3s"}))
    ]
    judged = alert(warning=level("speed > 1", "2s"), critical=level("speed > 2"))
    found.append(rule(trigger("telemetry", "mount"), "judged", alert=judged))
    reads = {"dome": ("dome", None, "5s")}
    found.append(
        rule(trigger("telemetry", "wind", when="speed > dome.speed"), "joined", reads=reads)
    )
    found.append(rule(trigger("absent", "dome", hold="4s"), "silent"))
    found.append(rule(trigger("event", "mount", where="speed > 2.5"), "each"))
    return found


def one_after_the_other(network: Network, events: list[Event]) -> list[Decision]:
    found: list[Decision] = []
    for one in events:
        found += network.feed([Admitted(one)])
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([0.0, 0.02]))
def test_whole_and_one_by_one_decide_alike(seed: int, topics: int, odd: float) -> None:
    draw = random.Random(seed)
    values: dict[str, float] = dict.fromkeys(TOPICS, 0.0)
    now, whole, single = 10.0, Network(rules()), Network(rules())
    assert not whole.broken
    admission = Admission({"efd": SourceClock()})
    for _ in range(4):
        batch = []
        for _ in range(draw.choice([5, 40, 150])):
            topic = draw.choice(TOPICS[:topics])
            values[topic] += draw.gauss(0, 0.5) - 0.05 * values[topic]
            now += draw.choice([0.05, 0.1, 0.1, 4.5] if draw.random() < 0.05 else [0.1])
            value: Any = values[topic] if draw.random() >= odd else draw.choice([None, "x", True])
            batch.append(event(now, {"speed": value}, topic))
        admitted = admission.admit("efd", batch, at(now))
        assert whole.feed(admitted) == one_after_the_other(single, batch)
        marks = {"efd": at(now)}
        assert whole.advance(marks) == single.advance(marks)
    assert whole.counts() == single.counts()


def test_a_delivery_in_order_keeps_its_columns_and_is_a_sequence() -> None:
    admission = Admission({"efd": SourceClock()})
    batch = [event(10 + index, 1.0, "wind") for index in range(20)]
    first = admission.admit("efd", batch[:1], at(30))
    rest = admission.admit("efd", batch[1:], at(30))
    assert list(first) == [Admitted(batch[0])]
    assert isinstance(rest, InOrder)
    assert list(rest) == [Admitted(one) for one in batch[1:]]
    assert (len(rest), rest[0], rest[-1]) == (19, Admitted(batch[1]), Admitted(batch[-1]))
    assert rest[3:5] == [Admitted(batch[4]), Admitted(batch[5])]


def test_an_event_out_of_order_is_looked_at_alone() -> None:
    admission = Admission({"efd": SourceClock()})
    admission.admit("efd", [event(1, 1.0)], at(1))
    batch = [event(time, 1.0) for time in (2, 3, 5, 4, 6)]
    admitted = admission.admit("efd", batch, at(6))
    assert [late for _, late in admitted] == [False, False, False, True, False]


def test_events_of_another_source_or_late_are_no_stretch() -> None:
    plain = [Admitted(event(index, 1.0)) for index in range(20)]
    assert isinstance(next(together(plain)), InOrder)
    assert in_order([*plain, Admitted(event(30, 1.0), True)]) is None
    assert in_order([*plain, Admitted(event(30, 1.0, source="other"))]) is None
    assert in_order([*plain, Admitted(event(3, 1.0))]) is None


def test_an_instant_beyond_64_bits_is_no_stretch_and_no_crash() -> None:
    admission = Admission({"efd": SourceClock("stream", max_ahead=2**70)})
    admission.admit("efd", [event(1, 1.0)], at(1))
    far = [Event("wind", 2**65 + index * SECOND, {"speed": 1.0}, "efd") for index in range(20)]
    admitted = admission.admit("efd", far, at(2))
    fired = Network(rules()).feed([*admitted, *(Admitted(one) for one in far)])
    assert [one.rule for one in fired if one.rule.startswith("wind")] == ["wind-0"]
