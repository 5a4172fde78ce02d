"""Two sources whose clocks do not agree, and the order of what happens at one instant."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from catcher.evaluation import Admission, RuleEvaluator, SourceClock
from catcher.model.event import AdmittedEvent, Event
from catcher.model.rule import Expression, Rule, TriggerSpec
from catcher.model.run import Firing
from catcher.model.time import SECOND
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
    alert_rules,
    durations,
    edge_triggers,
    event_triggers,
    every_triggers,
    rule_inputs,
    sequence_triggers,
)
from tests.oracle.streams import DOME, MAIN, OTHER, RESULT, WIND, event_streams
from tests.oracle.yaml_text import format_report

SECOND_SOURCE_TOPICS = (WIND, DOME, RESULT, OTHER)
skews = st.sampled_from([-40, -7, -2, -0.5, 0, 0.5, 2, 7, 40]).map(
    lambda seconds: int(seconds * SECOND)
)
lateness_limits = st.sampled_from([0, SECOND, 5 * SECOND])


@st.composite
def event_driven_rules(draw: st.DrawFn) -> Rule:
    """A rule that events decide on; what it reads may come from the other source."""
    reads, let, names = draw(rule_inputs())
    kinds = [edge_triggers(names), every_triggers(names), event_triggers(), sequence_triggers()]
    return Rule("rule", draw(st.one_of(*kinds)), reads=reads, let=let)


def skew_events(stream: Sequence[AdmittedEvent], skew: int) -> list[Event]:
    """The events in the order of their arrival; those of a second source have a clock of theirs."""
    return [
        event._replace(source="b", time=event.time + skew)
        if event.topic in SECOND_SOURCE_TOPICS
        else event._replace(source="a")
        for event, _ in stream
    ]


def run_live(
    rule: Rule, arrivals: Sequence[Event], lateness: int
) -> tuple[list[AdmittedEvent], list[Decision]]:
    """What the engine's loop lets in, and what it decides, looking at the clocks on the way."""
    clock = SourceClock("stream", lateness=lateness, max_ahead=100 * SECOND)
    admission, evaluator = Admission({"a": clock, "b": clock}), RuleEvaluator([rule])
    admitted_events: list[AdmittedEvent] = []
    decisions: list[Decision] = []
    for event in arrivals:
        batch = admission.admit_events(event.source, [event], event.time)
        admitted_events += batch
        decisions += evaluator.process_events(batch)
        decisions += evaluator.advance_watermarks(admission.get_watermarks(0))
    return admitted_events, decisions + evaluator.run_remaining_timers(
        max(item.event.time for item in admitted_events)
    )


@property_settings(80)
@given(
    st.one_of(event_driven_rules(), alert_rules(kinds=["telemetry"])),
    event_streams(),
    skews,
    lateness_limits,
)
def test_decisions_follow_from_the_admitted_events_alone(
    rule: Rule, stream: list[AdmittedEvent], skew: int, lateness: int
) -> None:
    admitted_events, decisions = run_live(rule, skew_events(stream, skew), lateness)

    recording = Recording.from_events(admitted_events)
    assert extract_firings(decisions) == compute_firings(rule, recording), format_report(
        rule, admitted_events
    )
    if rule.alert:
        assert extract_level_changes(decisions) == compute_level_changes(rule, recording), (
            format_report(rule, admitted_events)
        )


@property_settings(80)
@given(
    st.one_of(edge_triggers(), every_triggers()).map(lambda trigger: Rule("rule", trigger)),
    event_streams(),
    skews,
    lateness_limits,
)
def test_the_clock_of_another_source_changes_nothing(
    rule: Rule, stream: list[AdmittedEvent], skew: int, lateness: int
) -> None:
    last_main_event = [item for item in stream if item.event.topic == MAIN][-1:]
    _, unskewed_decisions = run_live(rule, skew_events(stream, 0), lateness)
    _, skewed_decisions = run_live(rule, skew_events(stream, skew), lateness)

    until = last_main_event[0].event.time if last_main_event else 0
    rows_before_end = [
        [row for row in describe_decisions(decisions) if row[1] <= until]
        for decisions in (unskewed_decisions, skewed_decisions)
    ]
    assert rows_before_end[0] == rows_before_end[1], format_report(rule, stream)


@property_settings(80)
@given(st.lists(durations, min_size=1, max_size=3), event_streams(topics=(MAIN,)))
def test_timers_of_one_instant_fire_by_rule_and_key(
    holds: list[int], stream: list[AdmittedEvent]
) -> None:
    rules = [
        Rule(
            f"rule-{9 - number}",
            TriggerSpec(
                "telemetry", MAIN, when=Expression("x > 0"), hold=hold, by=Expression("name")
            ),
        )
        for number, hold in enumerate(holds)
    ]
    firings = [decision for decision in run_rules(rules, stream) if isinstance(decision, Firing)]
    timer_firings = [
        (firing.time, firing.rule, firing.key) for firing in firings if firing.cause == "for"
    ]

    assert timer_firings == sorted(timer_firings), format_report(rules[0], stream)
