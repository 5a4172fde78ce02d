"""Many rules answered at once decide what each of them decides alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.evaluation import RuleEvaluator
from catcher.model.commit import TriggerState
from catcher.model.event import AdmittedEvent
from catcher.model.rule import Rule
from catcher.model.run import Firing
from tests.evaluation.rule_builders import (
    create_alert,
    create_event,
    create_level,
    create_rule,
    create_samples,
    create_stream,
    create_trigger,
    list_firing_times,
    to_instant,
)

values = st.one_of(
    st.integers(-3, 8),
    st.floats(-3, 8),
    st.sampled_from([None, math.nan, math.inf, "4", True, [1], 10**400, 1e308, 2.5, 3, 2**60 + 1]),
)
samples = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0.5, 1, 1, 4, 7, 61, -1]), values, st.booleans(),
        st.sampled_from(["a", "b", 1, True, None]), st.booleans(), st.sampled_from([1, 1, 1, 9]),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip
"""Steps in time, values, whether it is from the usual source, keys, lateness, and how often."""
FIELD_CONDITIONS = [
    "speed > 2",
    "speed >= 3",
    "2.5 > speed",
    "speed == 3",
    "speed != 3 and speed > 1",
    "not 1 < speed <= 4",
]
texts = st.sampled_from(
    [
        *FIELD_CONDITIONS,
        "speed > one or ok",
        "speed == '4'",
        "abs(speed) > 2",
        'mean(speed, "2s") > 2.5',
        "max_over(speed, last=3) >= 3",
        'std(speed, "3s") < 1 and count(speed > 2, "3s") > 1',
        "median(speed, last=2) > previous(speed)",
        'std(speed, "2s") > 1 or slope(speed, "2s") > 0',
        "min_over(speed, last=3) < 0",
        "streak(speed > 1) >= 2",
        "changed(speed)",
        'rate(speed > 1, "2s") > 0.6',
    ]
)
sampled = st.sampled_from
durations = sampled(["", "", "1s", "2s", "8s", "20s"])


def create_events(steps: Sequence[Any]) -> list[AdmittedEvent]:
    now, events = 10.0, []
    for step, value, is_usual, key, late, repeats in steps:
        for _ in range(repeats):
            now += step
            source = "efd" if is_usual else "other"
            fields = {"speed": value, "ok": is_usual, "one": 1, "key": key}
            events.append(
                AdmittedEvent(create_event(now, fields, source=source), late and step == -1)
            )
    return events


@st.composite
def edge_rules(draw: Any) -> Rule:
    kind = draw(sampled(["edge", "hold", "every"]))
    settings: dict[str, Any] = {"when": draw(texts), "stale_after": draw(sampled(["1m", "3s"]))}
    if kind == "every":
        settings |= {
            "every": draw(sampled(["2s", "8s"])),
            "when": draw(sampled([None, settings["when"]])),
        }
    else:
        settings["clear"] = draw(st.one_of(st.none(), texts))
        settings["on_recovery"] = draw(sampled(["fire", "ignore"]))
    if kind == "hold":
        settings |= {"hold": draw(durations) or None, "clear_hold": draw(durations) or None}
    alert_spec = create_alert(critical=create_level(None), **draw(sampled([{}, {"lasts": "3s"}])))
    return create_rule(create_trigger(**settings), alert=draw(sampled([None, alert_spec])))


@st.composite
def level_rules(draw: Any) -> Rule:
    settings: dict[str, Any] = {"lasts": draw(sampled(["3s", None]))}
    for severity in draw(sampled([["warning"], ["warning", "critical"]])):
        clear = draw(st.one_of(st.just(""), texts))
        settings[severity] = create_level(
            draw(texts), draw(durations), clear, draw(durations) if clear else ""
        )
    return create_rule(
        create_trigger(stale_after=draw(sampled(["1m", "3s"]))), alert=create_alert(**settings)
    )


@st.composite
def rule_groups(draw: Any) -> list[Rule]:
    """Rules that listen to the same events, so that one front stands before all of them."""
    shared_settings = {
        "where": draw(sampled([None, "ok"])),
        "by": draw(sampled([None, "key"])),
        "forget_after": draw(sampled([None, "20s"])),
    }
    shared_trigger = create_trigger(**shared_settings)
    drawn_rules = draw(st.lists(st.one_of(edge_rules(), level_rules()), min_size=1, max_size=6))
    return [
        replace(
            drawn_rule,
            id=f"rule-{index}",
            trigger=replace(
                drawn_rule.trigger,
                where=shared_trigger.where,
                by=shared_trigger.by,
                forget_after=shared_trigger.forget_after,
            ),
        )
        for index, drawn_rule in enumerate(drawn_rules)
    ]


def isolate_rule(original: Rule) -> Rule:
    """The same rule with a second trigger that never hears anything: no front stands before it."""
    union = create_trigger(
        "any", "", any=(original.trigger, replace(original.trigger, topic="silence"))
    )
    return replace(original, trigger=union)


def format_decisions(decisions: Any) -> list[Any]:
    return [
        (
            decision.rule,
            decision.key,
            decision.time,
            decision.cause,
            decision.reason,
            decision.values,
        )
        if isinstance(decision, Firing)
        else (
            decision.rule,
            decision.key,
            decision.time,
            decision.severity,
            decision.reason,
            decision.unknown,
            decision.values,
        )
        for decision in decisions
    ]


def format_explanations(evaluator: RuleEvaluator, explained_rule: Rule) -> list[Any]:
    """The decisions, and the values in hand now (the parts of `isolate_rule` are there twice)."""
    return [
        (explanation.key, explanation.values) if explanation.what == "now" else explanation
        for explanation in evaluator.explain_rule(explained_rule.id)
    ]


def round_trip_json(state: TriggerState) -> TriggerState:
    return replace(state, state=json.loads(json.dumps(state.state)))


def select_counts(evaluator: RuleEvaluator) -> dict[str, Any]:
    names = ("events", "evaluations", "firings", "level_changes", "late", "samples", "keys",
             "unknown_keys", "keys_forgotten")  # fmt: skip
    return {
        rule: {name: counts[name] for name in names}
        for rule, counts in evaluator.collect_rule_counts().items()
    }


def are_equal(left: Any, right: Any) -> bool:
    """Equal, where NaN equals NaN."""
    return repr(left) == repr(right)


@settings(max_examples=300, deadline=None)
@given(rule_groups(), samples, st.sets(st.integers(0, 40), max_size=6))
def test_rules_together_decide_what_they_decide_alone(
    rules: list[Rule], steps: Any, explain_indexes: set[int]
) -> None:
    """Time passes by watermarks too, and somebody looks in between."""
    grouped, isolated = RuleEvaluator(rules), RuleEvaluator([isolate_rule(rule) for rule in rules])
    assert not grouped.broken_rules
    assert not isolated.broken_rules
    for index, item in enumerate(create_events(steps)):
        if index in explain_indexes:
            watermarks = {"efd": item.event.time, "other": item.event.time}
            assert are_equal(
                format_decisions(grouped.advance_watermarks(watermarks)),
                format_decisions(isolated.advance_watermarks(watermarks)),
            )
            for rule in rules:
                assert are_equal(
                    format_explanations(grouped, rule), format_explanations(isolated, rule)
                )
        assert are_equal(
            format_decisions(grouped.process_events([item])),
            format_decisions(isolated.process_events([item])),
        )
    end = to_instant(200)
    assert are_equal(
        format_decisions(grouped.run_remaining_timers(end)),
        format_decisions(isolated.run_remaining_timers(end)),
    )
    assert select_counts(grouped) == select_counts(isolated)


def run_with_restarts(
    rules: list[Rule], events: list[AdmittedEvent], restarts: set[int]
) -> list[Any]:
    evaluator, decisions = RuleEvaluator(rules), list[Any]()
    saved_states: dict[tuple[str, str, str], TriggerState] = {}
    for index, item in enumerate(events):
        if index in restarts:
            saved_states |= {
                (state.rule, state.key, state.part): state
                for state in evaluator.snapshot_changed_states()
            }
            evaluator = RuleEvaluator(rules, start=events[0].event.time)
            evaluator.restore_states([round_trip_json(state) for state in saved_states.values()])
        decisions += evaluator.process_events([item])
    return decisions


@settings(max_examples=100, deadline=None)
@given(rule_groups(), samples, st.sets(st.integers(0, 40), max_size=4))
def test_a_restart_in_a_group_is_a_restart_without_one(
    rules: list[Rule], steps: Any, restarts: set[int]
) -> None:
    grouped = run_with_restarts(rules, create_events(steps), restarts)
    isolated = run_with_restarts(
        [isolate_rule(rule) for rule in rules], create_events(steps), restarts
    )
    assert are_equal(format_decisions(grouped), format_decisions(isolated))


@settings(max_examples=100, deadline=None)
@given(rule_groups(), samples, st.lists(st.sets(st.integers(0, 5)), max_size=5))
def test_adding_and_removing_rules_changes_nothing_for_the_others(
    rules: list[Rule], steps: Any, kept_indexes: list[set[int]]
) -> None:
    """The first rule stays all the while; what it shares with others must not be lost."""
    evaluator, decisions = RuleEvaluator(rules), list[Any]()
    for index, item in enumerate(create_events(steps)):
        if index % 5 == 4 and index // 5 < len(kept_indexes):
            evaluator.replace_rules(
                [
                    rule
                    for rule_index, rule in enumerate(rules)
                    if rule_index in kept_indexes[index // 5] | {0}
                ]
            )
        decisions += [
            decision for decision in evaluator.process_events([item]) if decision.rule == "rule-0"
        ]
    assert are_equal(
        format_decisions(decisions),
        format_decisions(
            RuleEvaluator([isolate_rule(rules[0])]).process_events(create_events(steps))
        ),
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=8) | st.lists(sampled(FIELD_CONDITIONS), min_size=1),
    st.lists(values, min_size=20, max_size=60)
    | st.lists(st.integers(-3, 8) | sampled([1.5, 2.5, 3.0, 4.0]), min_size=20, max_size=200),
)
def test_the_size_of_a_batch_changes_nothing(conditions: list[str], speeds: list[Any]) -> None:
    rules = [
        create_rule(create_trigger(when=condition), rule_id=f"rule-{number}")
        for number, condition in enumerate(conditions)
    ]
    events = create_stream(create_samples(*speeds))
    single_evaluator, batch_evaluator = RuleEvaluator(rules), RuleEvaluator(rules)
    expected = [decision for item in events for decision in single_evaluator.process_events([item])]
    assert are_equal(
        format_decisions(
            batch_evaluator.process_events(events[:3]) + batch_evaluator.process_events(events[3:])
        ),
        format_decisions(expected),
    )
    assert select_counts(batch_evaluator) == select_counts(single_evaluator)


def test_thousands_of_thresholds_fire_one_after_the_other() -> None:
    evaluator = RuleEvaluator(
        [
            create_rule(create_trigger(when=f"speed > {limit}"), rule_id=f"r{limit:04}")
            for limit in range(1000)
        ]
    )
    decisions = evaluator.process_events(
        create_stream(create_samples(-1, 500.5, 499.5, 501.5, 3000))
    )
    counts_per_event = [
        len([decision for decision in decisions if decision.time == to_instant(second)])
        for second in range(5)
    ]
    assert counts_per_event == [0, 501, 0, 2, 498]
    assert [decision.rule for decision in decisions[501:503]] == ["r0500", "r0501"]


def test_an_explanation_is_of_the_latest_sample_though_the_trigger_was_not_evaluated() -> None:
    evaluator = RuleEvaluator([create_rule(create_trigger(when="speed > 10"))])
    evaluator.process_events(create_stream(create_samples(1, 2, 3, 4)))
    (current,) = evaluator.explain_rule("wind")
    assert current.parts[0].values == {"speed": 4}
    assert evaluator.collect_rule_counts()["wind"]["evaluations"] == 4


def test_an_alert_still_expires_in_a_group() -> None:
    rule = create_rule(
        create_trigger(when="speed > 10"),
        job=True,
        alert=create_alert(warning=create_level("score > 1"), expires="5s"),
    )
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(create_stream(create_samples(1, 2, 20, 20)))
    origin = {"rule": "wind", "key": "", "run": "r", "firing": "f"}
    result = create_event(2, {"score": 2, "catcher": origin}, "catcher.wind", "catcher")
    assert len(evaluator.process_events([AdmittedEvent(result)])) == 1
    decisions = evaluator.process_events(create_stream(create_samples(20, 20, 20, 20, start=4)))
    assert [(decision.time, decision.reason[:15]) for decision in decisions] == []
    decisions = evaluator.process_events(create_stream([(8, 20)]))
    assert [decision.time for decision in decisions if not isinstance(decision, Firing)] == [
        to_instant(7)
    ]
    assert list_firing_times(decisions) == []


def test_a_silence_breaks_what_a_group_recorded_as_unbroken() -> None:
    """Samples at 0 and 1 s, none until 8 s, then one a second."""
    stale_trigger = create_trigger(stale_after="3s")
    level_rule = create_rule(
        stale_trigger,
        rule_id="judging",
        alert=create_alert(warning=create_level("speed > 10", "20s")),
    )
    hold_rule = create_rule(
        create_trigger(when="speed > 10", hold="20s", stale_after="3s"), rule_id="holding"
    )
    evaluator = RuleEvaluator([level_rule, hold_rule])
    decisions = evaluator.process_events(
        create_stream([(0, 20), (1, 20), *create_samples(*[20] * 40, start=8)])
    )
    assert [(decision.rule, decision.time) for decision in decisions] == [
        ("judging", to_instant(28)),
        ("holding", to_instant(28)),
    ]


def test_a_younger_rule_has_a_window_of_its_own_until_both_hold_the_same() -> None:
    old_rule = create_rule(create_trigger(when='mean(speed, "100s") > 10'), rule_id="old")
    young_rule = create_rule(create_trigger(when='mean(speed, "100s") > 0.5'), rule_id="young")
    evaluator = RuleEvaluator([old_rule])
    evaluator.process_events(create_stream(create_samples(*[1] * 80)))
    evaluator.replace_rules([old_rule, young_rule])
    decisions = evaluator.process_events(
        create_stream(create_samples(*[1] * 120, *[1000] * 5, start=80))
    )
    assert [(decision.rule, decision.time) for decision in decisions] == [
        ("young", to_instant(180)),
        ("old", to_instant(200)),
    ]
    assert {counts["samples"] for counts in evaluator.collect_rule_counts().values()} == {100}
