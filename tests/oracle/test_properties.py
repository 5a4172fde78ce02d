"""Random rules on random streams: the network decides what the oracle works out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from catcher.evaluation import check_rule
from catcher.model.event import AdmittedEvent
from catcher.model.rule import Rule
from tests.oracle import simulation
from tests.oracle.hypothesis_settings import property_settings
from tests.oracle.levels import compute_level_changes
from tests.oracle.oracle import compute_firings
from tests.oracle.recording import Recording
from tests.oracle.simulation import (
    Decision,
    describe_decisions,
    extract_firings,
    extract_level_changes,
    run_rules,
)
from tests.oracle.strategies import (
    absent_triggers,
    alert_rules,
    always_rules,
    any_triggers,
    clock_rules,
    edge_triggers,
    expiring_key_rules,
    firing_rules,
    simple_rules,
)
from tests.oracle.streams import clean_event_streams, event_streams
from tests.oracle.yaml_text import format_report

any_rules = any_triggers.map(lambda trigger: Rule("rule", trigger))
all_rules = st.one_of(firing_rules(), alert_rules(), always_rules(), expiring_key_rules())
event_indexes = st.sets(st.integers(0, 30), max_size=5)


def assert_matches_oracle(
    rule: Rule, stream: Sequence[AdmittedEvent], decisions: Sequence[Decision]
) -> None:
    """The decisions are exactly those of the oracle."""
    recording = Recording.from_events(stream)
    expected_firings = compute_firings(rule, recording)
    event(f"{rule.trigger.kind}: {'fires' if expected_firings else 'keeps still'}")
    assert extract_firings(decisions) == expected_firings, format_report(rule, stream)
    if rule.alert and rule.job is None:
        expected_changes = compute_level_changes(rule, recording)
        event(f"levels: {'change' if expected_changes else 'keep still'}")
        assert extract_level_changes(decisions) == expected_changes, format_report(rule, stream)


@property_settings(250)
@given(firing_rules(), event_streams())
def test_firings_are_those_of_the_oracle(rule: Rule, stream: list[AdmittedEvent]) -> None:
    assert check_rule(rule) == []
    assert_matches_oracle(rule, stream, run_rules([rule], stream))


@property_settings(200)
@given(
    edge_triggers().map(lambda trigger: Rule("rule", trigger)), event_streams(topics=("site.main",))
)
def test_edges_and_holds_are_those_of_the_oracle(rule: Rule, stream: list[AdmittedEvent]) -> None:
    assert_matches_oracle(rule, stream, run_rules([rule], stream))


@property_settings(200)
@given(firing_rules(), event_streams(disorder=True))
def test_disorder_changes_only_what_it_must(rule: Rule, stream: list[AdmittedEvent]) -> None:
    assert_matches_oracle(rule, stream, run_rules([rule], stream))


@property_settings(150)
@given(any_rules, event_streams())
def test_any_is_the_union_of_its_triggers(rule: Rule, stream: list[AdmittedEvent]) -> None:
    assert_matches_oracle(rule, stream, run_rules([rule], stream))


@property_settings(200)
@given(alert_rules(), event_streams())
def test_levels_are_those_of_the_oracle(rule: Rule, stream: list[AdmittedEvent]) -> None:
    assert check_rule(rule) == []
    assert_matches_oracle(rule, stream, run_rules([rule], stream))


@property_settings(150)
@given(always_rules(), event_streams())
def test_levels_that_hold_from_a_firing_are_those_of_the_oracle(
    rule: Rule, stream: list[AdmittedEvent]
) -> None:
    assert check_rule(rule) == []
    assert_matches_oracle(rule, stream, run_rules([rule], stream))


@property_settings(120)
@given(expiring_key_rules(), event_streams())
def test_a_key_expires_with_all_that_belongs_to_it(rule: Rule, stream: list[AdmittedEvent]) -> None:
    assert_matches_oracle(rule, stream, run_rules([rule], stream))


@property_settings(80)
@given(clock_rules, event_streams())
def test_clocks_are_those_of_the_oracle(rule: Rule, stream: list[AdmittedEvent]) -> None:
    assert check_rule(rule) == []
    assert_matches_oracle(rule, stream, run_rules([rule], stream))


@property_settings(120)
@given(all_rules, event_streams(disorder=True), event_indexes)
def test_batches_do_not_matter(
    rule: Rule, stream: list[AdmittedEvent], batch_ends: set[int]
) -> None:
    single_batch, several_batches = run_rules([rule], stream), run_rules([rule], stream, batch_ends)

    assert describe_decisions(several_batches) == describe_decisions(single_batch), format_report(
        rule, stream
    )


@property_settings(100)
@given(st.lists(simple_rules(), min_size=1, max_size=3), clean_event_streams(), event_indexes)
def test_long_batches_are_decided_as_event_by_event(
    rules: list[Rule], stream: list[AdmittedEvent], batch_ends: set[int]
) -> None:
    numbered_rules = [replace(rule, id=f"rule-{number}") for number, rule in enumerate(rules)]
    batches = run_rules(numbered_rules, stream, {40 * batch_end for batch_end in batch_ends})
    one_by_one = run_rules(numbered_rules, stream, range(len(stream)))

    assert describe_decisions(batches) == describe_decisions(one_by_one), [
        format_report(rule, []) for rule in numbered_rules
    ]


@property_settings(120)
@given(
    all_rules, event_streams(disorder=True), st.dictionaries(st.integers(0, 30), st.floats(0, 1))
)
def test_watermarks_below_what_is_to_come_do_not_matter(
    rule: Rule, stream: list[AdmittedEvent], fractions: dict[int, float]
) -> None:
    plain_decisions, watermarked_decisions = (
        run_rules([rule], stream),
        simulation.run_with_watermarks([rule], stream, fractions),
    )

    assert sorted(describe_decisions(watermarked_decisions)) == sorted(
        describe_decisions(plain_decisions)
    ), format_report(rule, stream)


@property_settings(150)
@given(all_rules, event_streams(), event_indexes)
def test_a_restart_from_saved_state_does_not_matter(
    rule: Rule, stream: list[AdmittedEvent], restarts: set[int]
) -> None:
    uninterrupted_decisions, restarted_decisions = (
        run_rules([rule], stream),
        simulation.run_with_restarts([rule], stream, restarts),
    )

    assert describe_decisions(restarted_decisions) == describe_decisions(uninterrupted_decisions), (
        format_report(rule, stream)
    )


@property_settings(60)
@given(
    st.lists(all_rules, min_size=2, max_size=4), event_streams(), st.randoms(use_true_random=False)
)
def test_the_order_of_rules_and_other_rules_do_not_matter(
    rules: list[Rule], stream: list[AdmittedEvent], random: Any
) -> None:
    numbered_rules = [replace(rule, id=f"rule-{number}") for number, rule in enumerate(rules)]
    shuffled_rules = random.sample(numbered_rules, len(numbered_rules))
    decisions = run_rules(numbered_rules, stream)

    assert describe_decisions(run_rules(shuffled_rules, stream)) == describe_decisions(decisions)
    for rule in numbered_rules:
        assert_matches_oracle(
            rule, stream, [decision for decision in decisions if decision.rule == rule.id]
        )


@property_settings(80)
@given(st.lists(absent_triggers(), min_size=2, max_size=4), event_streams(topics=("site.dome",)))
def test_firings_of_one_instant_are_ordered_by_time_and_rule(
    triggers: list[Any], stream: list[AdmittedEvent]
) -> None:
    rules = [Rule(f"rule-{9 - number}", trigger) for number, trigger in enumerate(triggers)]
    firing_keys = [(decision.time, decision.rule) for decision in run_rules(rules, stream)]

    assert firing_keys == sorted(firing_keys)
