"""State is saved and comes back, edits keep what they leave alone, and decisions say why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.evaluation import RuleEvaluator, rule_fingerprint
from catcher.model.commit import TriggerState
from catcher.model.errors import CatcherError
from catcher.model.event import AdmittedEvent
from catcher.model.rule import Rule
from tests.evaluation.rule_builders import (
    create_alert,
    create_level,
    create_rule,
    create_samples,
    create_stream,
    create_trigger,
    list_firing_times,
    list_level_changes,
    merge_streams,
    read_recording,
    run_rules,
    to_instant,
)


def run_with_restart(rule: Rule, events: list[AdmittedEvent], restart_index: int) -> list[Any]:
    """The decisions of two engines, one after the other, on one stream."""
    first_evaluator = RuleEvaluator([rule])
    decisions = first_evaluator.process_events(events[:restart_index])
    states = [round_trip_json(state) for state in first_evaluator.snapshot_changed_states()]
    second_evaluator = RuleEvaluator([rule])
    second_evaluator.restore_states(states)
    decisions += second_evaluator.process_events(events[restart_index:])
    return decisions + second_evaluator.run_remaining_timers(events[-1].event.time)


def round_trip_json(state: TriggerState) -> TriggerState:
    return replace(state, state=json.loads(json.dumps(state.state)))


EVENTS = merge_streams(
    create_stream(
        [
            (index, {"speed": (7 * index) % 23, "k": index % 3, "name": index // 4})
            for index in range(60)
        ]
    ),
    create_stream([(index + 0.5, {"angle": (5 * index) % 17}) for index in range(60)], "dome"),
)
READS = {"dome": ("dome", "angle > 2", "30s")}


@pytest.mark.parametrize("stop", [0, 1, 17, 60, 119])
@pytest.mark.parametrize(
    "watched",
    [
        create_rule(
            create_trigger(when='mean(speed, "5s") > 12 and streak(speed > 3) > 1', by="k"),
            reads=READS,
        ),
        create_rule(
            create_trigger(when="speed > 9", hold="1s", clear="speed < 15", clear_hold="1s")
        ),
        create_rule(
            create_trigger(when='max_over(dome.angle, "4s") > 15 or changed(speed)'), reads=READS
        ),
        create_rule(
            create_trigger(every="7s", when='slope(speed, "6s") > 0 or median(speed, last=4) > 14')
        ),
        create_rule(create_trigger("event", once_per="name")),
        create_rule(
            create_trigger("absent", hold="700ms"), alert=create_alert(serious=create_level(None))
        ),
        create_rule(
            create_trigger("schedule", "", schedule="* * * * *"),
            alert=create_alert(warning=create_level(None)),
        ),
        create_rule(
            create_trigger(by="k", forget_after="20s"),
            alert=create_alert(
                per="name",
                warning=create_level("speed > 9", hold="3s"),
                critical=create_level("speed > 20", clear="speed < 4"),
                lasts="9s",
            ),
        ),
    ],
)
def test_a_restart_from_saved_state_changes_nothing(watched: Rule, stop: int) -> None:
    expected = run_rules(watched, EVENTS)
    assert expected
    assert run_with_restart(watched, EVENTS, stop) == expected


def test_only_changed_state_is_saved_again() -> None:
    rule = create_rule(create_trigger(when="speed > 10", by="k"))
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(create_stream([(0, {"k": 1, "speed": 1}), (1, {"k": 2, "speed": 1})]))
    assert [state.key for state in evaluator.snapshot_changed_states()] == ["", "1", "2"]
    evaluator.process_events(create_stream([(2, {"k": 2, "speed": 1})]))
    assert [state.key for state in evaluator.snapshot_changed_states()] == ["", "2"]
    assert evaluator.snapshot_changed_states() == []


def test_the_meaning_is_that_of_the_trigger_and_the_levels() -> None:
    spec = create_alert(warning=create_level("speed > limit"), message="windy")
    first_rule = create_rule(create_trigger(by="k"), alert=spec, job=True, arguments={"limit": 10})
    assert rule_fingerprint(first_rule) == rule_fingerprint(
        replace(first_rule, about="words", owner="me", tags=("x",))
    )
    assert rule_fingerprint(first_rule) == rule_fingerprint(
        replace(first_rule, alert=replace(spec, message="very windy"))
    )
    assert rule_fingerprint(first_rule) == rule_fingerprint(
        replace(first_rule, trigger=create_trigger(by=" k "))
    )
    other_rule = create_rule(create_trigger(by="k"), alert=spec, job=True, arguments={"limit": 11})
    assert rule_fingerprint(first_rule) != rule_fingerprint(other_rule)
    assert rule_fingerprint(first_rule) != rule_fingerprint(
        replace(first_rule, trigger=create_trigger(by="k", where="k > 1"))
    )


def test_state_of_another_meaning_is_ignored() -> None:
    old_evaluator = RuleEvaluator([create_rule(create_trigger(when="speed > 10"))])
    old_evaluator.process_events(create_stream([(0, 20)]))
    new_evaluator = RuleEvaluator([create_rule(create_trigger(when="speed > 11"))])
    new_evaluator.restore_states(old_evaluator.snapshot_changed_states())
    assert list_firing_times(new_evaluator.process_events(create_stream([(1, 20)]))) == [1]


def test_an_edit_keeps_the_state_of_unchanged_rules() -> None:
    spec = create_alert(warning=create_level("speed > 10"), message="windy")
    kept_rule, removed_rule, changed_rule = (
        create_rule(create_trigger(), rule_id=name, alert=spec) for name in ("a", "b", "c")
    )
    evaluator = RuleEvaluator([kept_rule, removed_rule, changed_rule])
    evaluator.process_events(create_stream([(0, 20)]))
    stricter_rule = replace(changed_rule, alert=create_alert(warning=create_level("speed > 30")))
    reworded_rule = replace(kept_rule, alert=replace(spec, message="very windy"))
    decisions = evaluator.replace_rules(
        [reworded_rule, stricter_rule, create_rule(create_trigger("event"), rule_id="d")]
    )
    assert [(decision.rule, str(decision.severity), decision.reason) for decision in decisions] == [
        ("b", "NONE", "the rule is gone"),
        ("c", "NONE", "the rule was changed"),
    ]
    decisions = evaluator.process_events(create_stream([(1, 20), (2, 5)]))
    assert [(decision.rule, decision.time) for decision in decisions] == [
        ("d", to_instant(1)),
        ("a", to_instant(2)),
        ("d", to_instant(2)),
    ]


def test_a_broken_edit_keeps_the_old_rule() -> None:
    evaluator = RuleEvaluator([create_rule(create_trigger(when="speed > 10"))])
    evaluator.replace_rules([create_rule(create_trigger(when="speed >"))])
    assert list(evaluator.broken_rules) == ["wind"]
    assert list_firing_times(evaluator.process_events(create_stream([(1, 20)]))) == [1]


def test_a_rule_added_later_is_evaluated_from_then_on() -> None:
    evaluator = RuleEvaluator([create_rule(create_trigger("event", "x"))], start=to_instant(0))
    evaluator.process_events(create_stream([(1000, 1)]))
    evaluator.replace_rules([create_rule(create_trigger("absent", hold="60s"), rule_id="silence")])
    assert list_firing_times(evaluator.run_remaining_timers(to_instant(2000))) == [1060]


def test_a_broken_rule_never_stops_the_others() -> None:
    evaluator = RuleEvaluator(
        [
            create_rule(create_trigger(when="speed >"), rule_id="bad"),
            create_rule(create_trigger("event")),
        ]
    )
    assert list(evaluator.broken_rules) == ["bad"]
    assert list_firing_times(evaluator.process_events(create_stream([(1, 20)]))) == [1]


# -- explanations ---------------------------------------------------------------------------------


def find_current_explanation(evaluator: RuleEvaluator) -> Any:
    return next(
        explanation for explanation in evaluator.explain_rule("wind") if explanation.what == "now"
    )


def test_an_explanation_says_what_is_missing_for_a_firing() -> None:
    rule = create_rule(
        create_trigger(when='mean(speed, "10s") > 10 and dome.angle > 5', hold="5s"),
        reads={"dome": ("dome", "", "")},
    )
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(create_stream(create_samples(*[20] * 4)))
    missing = find_current_explanation(evaluator).missing
    assert 'mean(speed, "10s"): 3s of 10s seen' in missing
    assert "dome (dome) never seen" in missing
    evaluator.process_events(
        merge_streams(
            create_stream([(4, {"angle": 7})], "dome"),
            create_stream(create_samples(*[20] * 10, start=4)),
        )
    )
    assert "held 3s of 5s" in find_current_explanation(evaluator).missing


def test_an_explanation_shows_the_truth_part_by_part() -> None:
    evaluator = RuleEvaluator(
        [create_rule(create_trigger(when="speed > 10 or gust > 20 or name == 'x'"))]
    )
    evaluator.process_events(create_stream([(0, {"speed": 5, "name": "y"})]))
    explanation = find_current_explanation(evaluator)
    assert [(part.text, part.truth) for part in explanation.parts] == [
        ("speed > 10", False),
        ("gust > 20", None),
        ("name == 'x'", False),
    ]
    assert explanation.parts[0].values == {"speed": 5}
    assert explanation.parts[1].missing == "gust is missing or not a number"
    assert "gust > 20: unknown" in str(explanation)
    assert json.dumps(explanation.to_json())


def test_an_explanation_lists_past_decisions() -> None:
    evaluator = RuleEvaluator([create_rule(create_trigger(when="speed > 10", hold="5s"))])
    evaluator.process_events(
        create_stream([(0, 20), (2, 20), (3, 5), (4, 20), (6, 20), (10, 20), (11, 3)])
    )
    past_decisions = [
        (explanation.time, explanation.what, explanation.reason)
        for explanation in evaluator.explain_rule("wind")[:-1]
    ]
    assert past_decisions == [
        (to_instant(3), "broken", "after 3s: speed = 5 is not > 10"),
        (to_instant(9), "fired", "speed = 20 > 10 held 5s"),
        (to_instant(11), "armed", "armed again: speed = 3 is not > 10"),
    ]
    assert [
        explanation.what for explanation in evaluator.explain_rule("wind", until=to_instant(9))
    ] == [
        "broken",
        "fired",
    ]


def test_a_rule_that_has_seen_nothing_says_so() -> None:
    evaluator = RuleEvaluator([create_rule(create_trigger(when="speed > 10"))])
    assert find_current_explanation(evaluator).missing == (
        "lsst.sal.ESS.airFlow never seen by this rule",
    )
    with pytest.raises(CatcherError, match="no rule 'other' is running; running: wind"):
        evaluator.explain_rule("other")


# -- bounds and real data -------------------------------------------------------------------------


def test_no_payload_raises_out_of_the_evaluator() -> None:
    nested_value: Any = 1
    for _ in range(900):
        nested_value = {"x": [nested_value]}
    hostile_fields = [
        {},
        {"speed": 10**400, "k": 1e308},
        {"speed": "12", "k": "1" * 100_000},
        {"speed": [1] * 100_000, "k": [1]},
        {"speed": {"a": {"b": 1}}, "k": {"x": 1}},
        {"speed": float("nan"), "k": float("inf")},
        {"speed": nested_value, "k": True, "name": nested_value},
        {"catcher": 3, "speed": 1e308, "k": -0.0},
        {"catcher": {"key": [1], "run": {}, "firing": None}, "speed": -1e308},
    ]
    rules = [
        create_rule(
            create_trigger(when='mean(speed, "1s") > 1 or std(speed, last=2) > 1', by="k"),
            rule_id="a",
        ),
        create_rule(
            create_trigger("event", once_per="name"),
            rule_id="b",
            job=True,
            alert=create_alert(warning=create_level("x>1")),
        ),
        create_rule(
            create_trigger(every="1s"),
            rule_id="c",
            alert=None,
            reads={"r": ("catcher.b", "speed > 1", "")},
        ),
        create_rule(
            create_trigger(by="k"),
            rule_id="d",
            alert=create_alert(per="name", warning=create_level("rms(speed, last=1)>1")),
        ),
        create_rule(
            create_trigger("result", "catcher.b", when="sum_over(speed, last=2) > 0"), rule_id="e"
        ),
    ]
    evaluator = RuleEvaluator(rules)
    for second, fields in enumerate(hostile_fields * 3):
        evaluator.process_events(create_stream([(second, fields)]))
        evaluator.process_events(create_stream([(second, fields)], "catcher.b"))
    evaluator.run_remaining_timers(to_instant(100))
    assert json.dumps([state.state for state in evaluator.snapshot_changed_states()])
    for rule in rules:
        assert evaluator.explain_rule(rule.id)


def test_a_window_is_bounded_and_says_what_it_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.expressions.windows.MAX_SAMPLES", 10)
    evaluator = RuleEvaluator([create_rule(create_trigger(when='mean(speed, "1h") > 1'))])
    evaluator.process_events(create_stream(create_samples(*range(25))))
    assert evaluator.collect_rule_counts()["wind"]["samples"] == 10
    assert evaluator.collect_rule_counts()["wind"]["samples_dropped"] == 15


def test_keys_are_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catcher.evaluation.partitions.MAX_KEYS", 100)
    evaluator = RuleEvaluator([create_rule(create_trigger(when="speed > 10", by="k"))])
    evaluator.process_events(
        create_stream([(index, {"k": index, "speed": 20}) for index in range(150)])
    )
    assert evaluator.collect_rule_counts()["wind"]["keys"] == 100
    assert evaluator.collect_rule_counts()["wind"]["keys_evicted"] == 50


def test_the_mount_of_a_real_night_is_in_position_as_often_as_the_file_says(
    shared_data: Path,
) -> None:
    events = read_recording(shared_data / "efd-night-2023-07-28.jsonl.gz")
    topic = "lsst.sal.MTMount.logevent_azimuthInPosition"
    arrival_count, was_in_position = 0, False
    for event in events:
        if event.topic == topic:
            arrival_count += event.fields["inPosition"] and not was_in_position
            was_in_position = event.fields["inPosition"]
    rule = create_rule(create_trigger("event", topic, when="inPosition"))
    assert arrival_count == len(
        list_firing_times(run_rules(rule, [AdmittedEvent(event) for event in events]))
    )


def test_the_recorded_wind_warns_where_its_mean_is_high(shared_data: Path) -> None:
    events = read_recording(shared_data / "ess-airflow-2025-04-24.jsonl")
    rule = create_rule(
        create_trigger(by="salIndex"),
        alert=create_alert(warning=create_level('mean(speed, "5m") > 7')),
    )
    decisions = run_rules(rule, [AdmittedEvent(event) for event in events])
    start = events[0].time
    expected: list[tuple[float, bool]] = []
    for change in events:
        window_speeds = [
            other.fields["speed"]
            for other in events
            if change.time - to_instant(300) < other.time <= change.time
        ]
        is_high = (
            change.time >= start + to_instant(300) and sum(window_speeds) / len(window_speeds) > 7
        )
        if is_high != (expected[-1][1] if expected else False):
            expected.append((change.time / 1e9, is_high))
    reported = [
        (time, name == "warning") for time, name in list_level_changes(decisions) if "?" not in name
    ]
    changes = [
        change
        for index, change in enumerate(reported)
        if change[1] != (reported[index - 1][1] if index else False)
    ]
    assert changes == expected
