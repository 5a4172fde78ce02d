"""Results are events, hands change nothing, and a job that fails is told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import Admitted, Event
from catcher.model.rule import Expr, Rule, Trigger
from catcher.model.run import Firing
from catcher.model.time import MILLISECOND, SECOND
from tests.oracle.driving import (
    changes_in,
    decided,
    decided_with_hands,
    decided_with_jobs,
    firings_in,
    in_words,
)
from tests.oracle.effort import effort
from tests.oracle.levels import Metrics, level_changes, results
from tests.oracle.oracle import firings
from tests.oracle.strategies import (
    alert_rules,
    always_rules,
    durations,
    edge_triggers,
    every_triggers,
    firing_rules,
    job_rules,
    maybe,
)
from tests.oracle.streams import MAIN, OTHER, RESULT, WIND, streams
from tests.oracle.watched import Watched, text
from tests.oracle.yaml_text import as_text

OWN = (*[MAIN] * 6, OTHER, WIND)
scores = st.lists(
    st.sampled_from([0, 1, 2, 3, 4, 1.5, None, float("nan"), "fails"]), min_size=1, max_size=7
)


def metrics_of(table: Sequence[Any]) -> Metrics:
    """A job's findings, now one, now another; sometimes it fails."""

    def metrics(key: str, time: int) -> Mapping[str, Any] | None:
        score = table[(time // SECOND + len(key)) % len(table)]
        return None if score == "fails" else {"score": score}

    return metrics


@effort(150)
@given(job_rules(), streams(), scores)
def test_levels_on_results_are_those_of_the_oracle(
    rule: Rule, stream: list[Admitted], table: list[Any]
) -> None:
    metrics, watched = metrics_of(table), Watched.of(stream)

    found = decided_with_jobs(rule, stream, metrics)

    assert firings_in(found) == firings(rule, watched), as_text(rule, stream)
    expected = level_changes(rule, watched, metrics)
    assert changes_in(found) == expected, as_text(rule, stream)


def aside(span: int | None) -> int | None:
    """A span that ends beside the instants of a stream, so that no two things fall together."""
    return None if span is None else span + 100 * MILLISECOND


@st.composite
def result_rules(draw: st.DrawFn) -> Rule:
    """A rule on the results of another."""
    by = draw(st.sampled_from([None, Expr("catcher.key"), Expr("name")]))
    kind = draw(st.sampled_from(["edge", "every", "level", "absent"]))
    if kind == "absent":
        silent = Trigger("absent", RESULT, hold=aside(draw(durations)))
        return Rule("second", silent)
    if kind == "level":
        rule = draw(alert_rules("second", ["result"]))
        assert rule.alert is not None
        alert = replace(rule.alert, lasts=aside(rule.alert.lasts))
        return replace(rule, trigger=replace(rule.trigger, by=by), alert=alert)
    made = draw(edge_triggers(["score"]) if kind == "edge" else every_triggers(["score"]))
    trigger = replace(
        made, kind="result", topic=RESULT, by=by,
        hold=aside(made.hold), clear_hold=aside(made.clear_hold),
    )  # fmt: skip
    return Rule("second", trigger)


def with_results(rule: Rule, stream: Sequence[Admitted], metrics: Metrics) -> list[Admitted]:
    """The stream with what comes of a rule's firings in its place."""
    placed = [(float(place), item) for place, item in enumerate(stream)]
    for key, sample, fine in results(rule, Watched.of(stream), metrics):
        if fine:
            fields = {**sample.fields, "catcher": {"key": key}}
            placed.append((sample.position, Admitted(Event(RESULT, sample.time, fields))))
    return [item for _, item in sorted(placed, key=lambda each: each[0])]


@effort(150)
@given(job_rules("rule-0"), result_rules(), streams(OWN), scores, maybe(st.just("k")))
def test_a_rule_on_results_decides_as_if_they_were_events(
    first: Rule, second: Rule, stream: list[Admitted], table: list[Any], by: str | None
) -> None:
    metrics = metrics_of(table)
    whole = with_results(first, stream, metrics)
    end = max(item.event.time for item in stream)
    watched = Watched(whole, stream[0].event.time, end)

    found = decided_with_jobs(first, stream, metrics, second)

    mine = [each for each in found if each.rule == "second"]
    words = f"{as_text(first, stream)}\n{as_text(second, whole)}"
    assert firings_in(mine) == firings(second, watched), words
    if second.alert:
        assert changes_in(mine) == level_changes(second, watched), words


@effort(100)
@given(
    st.one_of(firing_rules(), alert_rules(), always_rules(), job_rules()),
    streams(disorder=True),
    st.sets(st.integers(0, 30), max_size=6),
)
def test_a_hand_changes_nothing_and_replaces_nothing(
    rule: Rule, stream: list[Admitted], places: set[int]
) -> None:
    found, by_hand = decided_with_hands(rule, stream, places)
    alone = decided([rule], stream)

    assert in_words(found) == in_words(alone), as_text(rule, stream)
    automatic = {each.id for each in alone if isinstance(each, Firing)}
    assert automatic.isdisjoint(each.id for each in by_hand)
    for firing in by_hand:
        assert firing.manual and firing.quiet and firing.once is None
        if firing.event is not None:
            wanted = text(rule.trigger.by, firing.event.fields, rule) or ""
            assert (firing.key, firing.time) == (wanted, firing.event.time)
