"""Results are events, hands change nothing, and a job that fails is told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import AdmittedEvent, Event
from catcher.model.rule import Expression, Rule, TriggerSpec
from catcher.model.run import Firing
from catcher.model.time import MILLISECOND, SECOND
from tests.oracle.hypothesis_settings import property_settings
from tests.oracle.levels import MetricsLookup, compute_level_changes, iter_results
from tests.oracle.oracle import compute_firings
from tests.oracle.recording import Recording, evaluate_key
from tests.oracle.simulation import (
    describe_decisions,
    extract_firings,
    extract_level_changes,
    run_rules,
    run_with_jobs,
    run_with_manual_firings,
)
from tests.oracle.strategies import (
    alert_rules,
    always_rules,
    durations,
    edge_triggers,
    every_triggers,
    firing_rules,
    job_rules,
    optional_values,
)
from tests.oracle.streams import MAIN, OTHER, RESULT, WIND, event_streams
from tests.oracle.yaml_text import format_report

TOPICS_WITHOUT_RESULTS = (*[MAIN] * 6, OTHER, WIND)
score_tables = st.lists(
    st.sampled_from([0, 1, 2, 3, 4, 1.5, None, float("nan"), "fails"]), min_size=1, max_size=7
)


def build_metrics_lookup(score_table: Sequence[Any]) -> MetricsLookup:
    """A job's findings, now one, now another; sometimes it fails."""

    def lookup_metrics(key: str, time: int) -> Mapping[str, Any] | None:
        score = score_table[(time // SECOND + len(key)) % len(score_table)]
        return None if score == "fails" else {"score": score}

    return lookup_metrics


@property_settings(150)
@given(job_rules(), event_streams(), score_tables)
def test_levels_on_results_are_those_of_the_oracle(
    rule: Rule, stream: list[AdmittedEvent], score_table: list[Any]
) -> None:
    metrics, recording = build_metrics_lookup(score_table), Recording.from_events(stream)

    decisions = run_with_jobs(rule, stream, metrics)

    assert extract_firings(decisions) == compute_firings(rule, recording), format_report(
        rule, stream
    )
    expected = compute_level_changes(rule, recording, metrics)
    assert extract_level_changes(decisions) == expected, format_report(rule, stream)


def offset_duration(duration: int | None) -> int | None:
    """A span that ends beside the instants of a stream, so that no two things fall together."""
    return None if duration is None else duration + 100 * MILLISECOND


@st.composite
def result_rules(draw: st.DrawFn) -> Rule:
    """A rule on the results of another."""
    by = draw(st.sampled_from([None, Expression("catcher.key"), Expression("name")]))
    kind = draw(st.sampled_from(["edge", "every", "level", "absent"]))
    if kind == "absent":
        absent_trigger = TriggerSpec("absent", RESULT, hold=offset_duration(draw(durations)))
        return Rule("second", absent_trigger)
    if kind == "level":
        rule = draw(alert_rules("second", ["result"]))
        assert rule.alert is not None
        alert = replace(rule.alert, lasts=offset_duration(rule.alert.lasts))
        return replace(rule, trigger=replace(rule.trigger, by=by), alert=alert)
    drawn_trigger = draw(edge_triggers(["score"]) if kind == "edge" else every_triggers(["score"]))
    trigger = replace(
        drawn_trigger,
        kind="result",
        topic=RESULT,
        by=by,
        hold=offset_duration(drawn_trigger.hold),
        clear_hold=offset_duration(drawn_trigger.clear_hold),
    )
    return Rule("second", trigger)


def insert_results(
    rule: Rule, stream: Sequence[AdmittedEvent], metrics: MetricsLookup
) -> list[AdmittedEvent]:
    """The stream with what comes of a rule's firings in its place."""
    positioned = [(float(position), item) for position, item in enumerate(stream)]
    for key, sample, has_result in iter_results(rule, Recording.from_events(stream), metrics):
        if has_result:
            fields = {**sample.fields, "catcher": {"key": key}}
            positioned.append((sample.position, AdmittedEvent(Event(RESULT, sample.time, fields))))
    return [item for _, item in sorted(positioned, key=lambda pair: pair[0])]


@property_settings(150)
@given(
    job_rules("rule-0"),
    result_rules(),
    event_streams(TOPICS_WITHOUT_RESULTS),
    score_tables,
    optional_values(st.just("k")),
)
def test_a_rule_on_results_decides_as_if_they_were_events(
    first: Rule, second: Rule, stream: list[AdmittedEvent], score_table: list[Any], by: str | None
) -> None:
    metrics = build_metrics_lookup(score_table)
    full_stream = insert_results(first, stream, metrics)
    end = max(item.event.time for item in stream)
    recording = Recording(full_stream, stream[0].event.time, end)

    decisions = run_with_jobs(first, stream, metrics, second)

    own_decisions = [decision for decision in decisions if decision.rule == "second"]
    report = f"{format_report(first, stream)}\n{format_report(second, full_stream)}"
    assert extract_firings(own_decisions) == compute_firings(second, recording), report
    if second.alert:
        assert extract_level_changes(own_decisions) == compute_level_changes(second, recording), (
            report
        )


@property_settings(100)
@given(
    st.one_of(firing_rules(), alert_rules(), always_rules(), job_rules()),
    event_streams(disorder=True),
    st.sets(st.integers(0, 30), max_size=6),
)
def test_a_manual_firing_changes_nothing_and_replaces_nothing(
    rule: Rule, stream: list[AdmittedEvent], firing_indexes: set[int]
) -> None:
    decisions, manual_firings = run_with_manual_firings(rule, stream, firing_indexes)
    expected_decisions = run_rules([rule], stream)

    assert describe_decisions(decisions) == describe_decisions(expected_decisions), format_report(
        rule, stream
    )
    automatic_ids = {decision.id for decision in expected_decisions if isinstance(decision, Firing)}
    assert automatic_ids.isdisjoint(firing.id for firing in manual_firings)
    for firing in manual_firings:
        assert firing.manual and firing.quiet and firing.once is None
        if firing.event is not None:
            expected_key = evaluate_key(rule.trigger.by, firing.event.fields, rule) or ""
            assert (firing.key, firing.time) == (expected_key, firing.event.time)
