"""Random rules on random streams: the network decides what the oracle works out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from catcher.model.event import Admitted
from catcher.model.rule import Rule
from catcher.watching import check_rule
from tests.oracle import driving
from tests.oracle.driving import Decision, changes_in, decided, firings_in, in_words
from tests.oracle.effort import effort
from tests.oracle.levels import level_changes
from tests.oracle.oracle import firings
from tests.oracle.strategies import (
    absent_triggers,
    alert_rules,
    always_rules,
    any_triggers,
    clock_rules,
    edge_triggers,
    firing_rules,
    forgetful_rules,
    plain_rules,
)
from tests.oracle.streams import clean_streams, streams
from tests.oracle.watched import Watched
from tests.oracle.yaml_text import as_text

any_rules = any_triggers.map(lambda trigger: Rule("rule", trigger))
all_rules = st.one_of(firing_rules(), alert_rules(), always_rules(), forgetful_rules())
places = st.sets(st.integers(0, 30), max_size=5)


def agree(rule: Rule, stream: Sequence[Admitted], found: Sequence[Decision]) -> None:
    """The decisions are exactly those of the oracle."""
    watched = Watched.of(stream)
    expected = firings(rule, watched)
    event(f"{rule.trigger.kind}: {'fires' if expected else 'keeps still'}")
    assert firings_in(found) == expected, as_text(rule, stream)
    if rule.alert and rule.job is None:
        changes = level_changes(rule, watched)
        event(f"levels: {'change' if changes else 'keep still'}")
        assert changes_in(found) == changes, as_text(rule, stream)


@effort(250)
@given(firing_rules(), streams())
def test_firings_are_those_of_the_oracle(rule: Rule, stream: list[Admitted]) -> None:
    assert check_rule(rule) == []
    agree(rule, stream, decided([rule], stream))


@effort(200)
@given(edge_triggers().map(lambda trigger: Rule("rule", trigger)), streams(topics=("site.main",)))
def test_edges_and_holds_are_those_of_the_oracle(rule: Rule, stream: list[Admitted]) -> None:
    agree(rule, stream, decided([rule], stream))


@effort(200)
@given(firing_rules(), streams(disorder=True))
def test_disorder_changes_only_what_it_must(rule: Rule, stream: list[Admitted]) -> None:
    agree(rule, stream, decided([rule], stream))


@effort(150)
@given(any_rules, streams())
def test_any_is_the_union_of_its_triggers(rule: Rule, stream: list[Admitted]) -> None:
    agree(rule, stream, decided([rule], stream))


@effort(200)
@given(alert_rules(), streams())
def test_levels_are_those_of_the_oracle(rule: Rule, stream: list[Admitted]) -> None:
    assert check_rule(rule) == []
    agree(rule, stream, decided([rule], stream))


@effort(150)
@given(always_rules(), streams())
def test_levels_that_hold_from_a_firing_are_those_of_the_oracle(
    rule: Rule, stream: list[Admitted]
) -> None:
    assert check_rule(rule) == []
    agree(rule, stream, decided([rule], stream))


@effort(120)
@given(forgetful_rules(), streams())
def test_a_key_is_forgotten_with_all_that_belongs_to_it(rule: Rule, stream: list[Admitted]) -> None:
    agree(rule, stream, decided([rule], stream))


@effort(80)
@given(clock_rules, streams())
def test_clocks_are_those_of_the_oracle(rule: Rule, stream: list[Admitted]) -> None:
    assert check_rule(rule) == []
    agree(rule, stream, decided([rule], stream))


@effort(120)
@given(all_rules, streams(disorder=True), places)
def test_batches_do_not_matter(rule: Rule, stream: list[Admitted], cuts: set[int]) -> None:
    whole, apart = decided([rule], stream), decided([rule], stream, cuts)

    assert in_words(apart) == in_words(whole), as_text(rule, stream)


@effort(100)
@given(st.lists(plain_rules(), min_size=1, max_size=3), clean_streams(), places)
def test_long_batches_are_decided_as_event_by_event(
    rules: list[Rule], stream: list[Admitted], cuts: set[int]
) -> None:
    named = [replace(rule, id=f"rule-{number}") for number, rule in enumerate(rules)]
    batches = decided(named, stream, {40 * cut for cut in cuts})
    one_by_one = decided(named, stream, range(len(stream)))

    assert in_words(batches) == in_words(one_by_one), [as_text(rule, []) for rule in named]


@effort(120)
@given(all_rules, streams(disorder=True), st.dictionaries(st.integers(0, 30), st.floats(0, 1)))
def test_watermarks_below_what_is_to_come_do_not_matter(
    rule: Rule, stream: list[Admitted], fractions: dict[int, float]
) -> None:
    plain, marked = decided([rule], stream), driving.decided_with_marks([rule], stream, fractions)

    assert sorted(in_words(marked)) == sorted(in_words(plain)), as_text(rule, stream)


@effort(150)
@given(all_rules, streams(), places)
def test_a_restart_from_saved_state_does_not_matter(
    rule: Rule, stream: list[Admitted], stops: set[int]
) -> None:
    through, stopped = decided([rule], stream), driving.decided_with_restarts([rule], stream, stops)

    assert in_words(stopped) == in_words(through), as_text(rule, stream)


@effort(60)
@given(st.lists(all_rules, min_size=2, max_size=4), streams(), st.randoms(use_true_random=False))
def test_the_order_and_the_company_of_rules_do_not_matter(
    rules: list[Rule], stream: list[Admitted], random: Any
) -> None:
    named = [replace(rule, id=f"rule-{number}") for number, rule in enumerate(rules)]
    shuffled = random.sample(named, len(named))
    together = decided(named, stream)

    assert in_words(decided(shuffled, stream)) == in_words(together)
    for rule in named:
        agree(rule, stream, [each for each in together if each.rule == rule.id])


@effort(80)
@given(st.lists(absent_triggers(), min_size=2, max_size=4), streams(topics=("site.dome",)))
def test_firings_of_one_instant_come_by_rule_and_in_order_of_time(
    triggers: list[Any], stream: list[Admitted]
) -> None:
    rules = [Rule(f"rule-{9 - number}", trigger) for number, trigger in enumerate(triggers)]
    found = [(each.time, each.rule) for each in decided(rules, stream)]

    assert found == sorted(found)
