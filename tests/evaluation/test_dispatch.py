"""Deliveries of many topics decide, whole, what their events decide one after the other."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.evaluation import Admission, RuleEvaluator, SourceClock
from catcher.evaluation.dispatch import split_batches
from catcher.evaluation.shared.column_batch import OrderedBatch, build_ordered_batch
from catcher.model.event import AdmittedEvent, Event
from catcher.model.rule import Rule
from catcher.model.time import SECOND
from tests.evaluation.rule_builders import (
    Decision,
    create_alert,
    create_event,
    create_level,
    create_rule,
    create_trigger,
    to_instant,
)

TOPICS = ["wind", "mount", "dome", "nobody"]


def create_rules() -> list[Rule]:
    test_rules = [
        create_rule(
            create_trigger("telemetry", topic, when=f"speed > {limit}", **settings),
            f"{topic}-{limit}",
        )
        for topic in TOPICS[:3]
        for limit, settings in ((0, {}), (1, {"clear": "speed < 0"}), (2, {"hold": "3s"}))
    ]
    alert_spec = create_alert(
        warning=create_level("speed > 1", "2s"), critical=create_level("speed > 2")
    )
    test_rules.append(create_rule(create_trigger("telemetry", "mount"), "judged", alert=alert_spec))
    reads = {"dome": ("dome", None, "5s")}
    test_rules.append(
        create_rule(
            create_trigger("telemetry", "wind", when="speed > dome.speed"), "joined", reads=reads
        )
    )
    test_rules.append(create_rule(create_trigger("absent", "dome", hold="4s"), "silent"))
    test_rules.append(create_rule(create_trigger("event", "mount", where="speed > 2.5"), "each"))
    return test_rules


def process_one_by_one(evaluator: RuleEvaluator, events: list[Event]) -> list[Decision]:
    decisions: list[Decision] = []
    for event in events:
        decisions += evaluator.process_events([AdmittedEvent(event)])
    return decisions


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([0.0, 0.02]))
def test_batches_and_single_events_decide_alike(
    seed: int, topic_count: int, invalid_rate: float
) -> None:
    draw = random.Random(seed)
    values: dict[str, float] = dict.fromkeys(TOPICS, 0.0)
    now, batch_evaluator, single_evaluator = (
        10.0,
        RuleEvaluator(create_rules()),
        RuleEvaluator(create_rules()),
    )
    assert not batch_evaluator.broken_rules
    admission = Admission({"efd": SourceClock()})
    for _ in range(4):
        batch = []
        for _ in range(draw.choice([5, 40, 150])):
            topic = draw.choice(TOPICS[:topic_count])
            values[topic] += draw.gauss(0, 0.5) - 0.05 * values[topic]
            now += draw.choice([0.05, 0.1, 0.1, 4.5] if draw.random() < 0.05 else [0.1])
            value: Any = (
                values[topic] if draw.random() >= invalid_rate else draw.choice([None, "x", True])
            )
            batch.append(create_event(now, {"speed": value}, topic))
        admitted = admission.admit_events("efd", batch, to_instant(now))
        assert batch_evaluator.process_events(admitted) == process_one_by_one(
            single_evaluator, batch
        )
        watermarks = {"efd": to_instant(now)}
        assert batch_evaluator.advance_watermarks(
            watermarks
        ) == single_evaluator.advance_watermarks(watermarks)
    assert batch_evaluator.collect_rule_counts() == single_evaluator.collect_rule_counts()


def test_a_batch_in_order_keeps_its_columns_and_is_a_sequence() -> None:
    admission = Admission({"efd": SourceClock()})
    batch = [create_event(10 + index, 1.0, "wind") for index in range(20)]
    first = admission.admit_events("efd", batch[:1], to_instant(30))
    remaining = admission.admit_events("efd", batch[1:], to_instant(30))
    assert list(first) == [AdmittedEvent(batch[0])]
    assert isinstance(remaining, OrderedBatch)
    assert list(remaining) == [AdmittedEvent(event) for event in batch[1:]]
    assert (len(remaining), remaining[0], remaining[-1]) == (
        19,
        AdmittedEvent(batch[1]),
        AdmittedEvent(batch[-1]),
    )
    assert remaining[3:5] == [AdmittedEvent(batch[4]), AdmittedEvent(batch[5])]


def test_an_event_out_of_order_is_processed_alone() -> None:
    admission = Admission({"efd": SourceClock()})
    admission.admit_events("efd", [create_event(1, 1.0)], to_instant(1))
    batch = [create_event(time, 1.0) for time in (2, 3, 5, 4, 6)]
    admitted = admission.admit_events("efd", batch, to_instant(6))
    assert [late for _, late in admitted] == [False, False, False, True, False]


def test_events_of_another_source_or_late_are_no_column_batch() -> None:
    ordered_events = [AdmittedEvent(create_event(index, 1.0)) for index in range(20)]
    assert isinstance(next(split_batches(ordered_events)), OrderedBatch)
    assert (
        build_ordered_batch([*ordered_events, AdmittedEvent(create_event(30, 1.0), True)]) is None
    )
    assert (
        build_ordered_batch([*ordered_events, AdmittedEvent(create_event(30, 1.0, source="other"))])
        is None
    )
    assert build_ordered_batch([*ordered_events, AdmittedEvent(create_event(3, 1.0))]) is None


def test_an_instant_beyond_64_bits_is_no_column_batch_and_no_crash() -> None:
    admission = Admission({"efd": SourceClock("stream", max_ahead=2**70)})
    admission.admit_events("efd", [create_event(1, 1.0)], to_instant(1))
    far_events = [
        Event("wind", 2**65 + index * SECOND, {"speed": 1.0}, "efd") for index in range(20)
    ]
    admitted = admission.admit_events("efd", far_events, to_instant(2))
    decisions = RuleEvaluator(create_rules()).process_events(
        [*admitted, *(AdmittedEvent(event) for event in far_events)]
    )
    assert [decision.rule for decision in decisions if decision.rule.startswith("wind")] == [
        "wind-0"
    ]
