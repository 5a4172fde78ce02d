"""Nobody watches for a while: silence counts from the resumption, schedules catch up or skip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from catcher.evaluation import RuleEvaluator
from catcher.model.event import AdmittedEvent
from catcher.model.rule import Rule, TriggerSpec
from catcher.model.time import DAY, SECOND
from tests.oracle.example_builders import (
    WARNING,
    event_at,
    level_spec,
    parse_samples,
    telemetry_rule,
    with_alert,
)
from tests.oracle.hypothesis_settings import property_settings
from tests.oracle.levels import compute_level_changes
from tests.oracle.oracle import compute_firings
from tests.oracle.recording import Recording
from tests.oracle.simulation import (
    Decision,
    extract_firings,
    extract_level_changes,
    run_with_downtime,
)
from tests.oracle.strategies import alert_rules, always_rules, clock_rules, firing_rules
from tests.oracle.streams import MAIN, OTHER, START, event_streams
from tests.oracle.yaml_text import format_report

rules = st.one_of(firing_rules(), clock_rules, alert_rules(), always_rules())
downtime_fractions = st.dictionaries(st.integers(1, 30), st.floats(0.1, 1), max_size=4)


def build_downtimes(
    stream: Sequence[AdmittedEvent], fractions: Mapping[int, float]
) -> dict[int, tuple[int, int]]:
    """By place: the time before that event in which nobody watches, some part of the gap."""
    downtimes: dict[int, tuple[int, int]] = {}
    for index, fraction in fractions.items():
        if index < len(stream):
            stopped, next_time = (
                stream[event_index].event.time for event_index in (index - 1, index)
            )
            if next_time > stopped:
                downtimes[index] = stopped, stopped + int((next_time - stopped) * fraction)
    return downtimes


@property_settings(120)
@given(rules, event_streams(), downtime_fractions)
def test_downtime_is_unobserved(
    rule: Rule, stream: list[AdmittedEvent], fractions: dict[int, float]
) -> None:
    downtimes = build_downtimes(stream, fractions)
    recording = Recording.from_events(stream, sorted(downtimes.values()))

    decisions = run_with_downtime([rule], stream, downtimes)

    report = f"{format_report(rule, stream)}\n{sorted(downtimes.items())}"
    assert extract_firings(decisions) == compute_firings(rule, recording), report
    if rule.alert:
        assert extract_level_changes(decisions) == compute_level_changes(rule, recording), report


ABSENCE_RULE = Rule("rule", TriggerSpec("absent", MAIN, hold=10 * SECOND))
MINUTE_RULE = Rule("rule", TriggerSpec("schedule", schedule="* * * * *"))


def list_firing_seconds(decisions: Sequence[Decision]) -> list[float]:
    return [(firing.time - START) / SECOND for firing in extract_firings(decisions)]


def test_silence_before_any_event_counts_from_the_start_of_evaluation() -> None:
    evaluator = RuleEvaluator([ABSENCE_RULE])
    evaluator.resume_after_downtime(START, ["live"], all_sources=True)

    assert list_firing_seconds(evaluator.advance_watermarks({"live": START + 9 * SECOND})) == []
    assert list_firing_seconds(evaluator.advance_watermarks({"live": START + 11 * SECOND})) == [10]


def test_a_schedule_needs_no_event_where_the_wall_clock_rules() -> None:
    evaluator = RuleEvaluator([MINUTE_RULE])
    evaluator.resume_after_downtime(START, ["live"], all_sources=True)

    assert list_firing_seconds(evaluator.advance_watermarks({"live": START + 60 * SECOND})) == [
        52.75
    ]


def test_a_recorded_stream_continues_where_it_stopped_whatever_the_wall_clock_says() -> None:
    first_evaluator = RuleEvaluator([MINUTE_RULE])
    first_evaluator.process_events([event_at(0), event_at(10)])
    second_evaluator = RuleEvaluator([MINUTE_RULE])
    second_evaluator.restore_states(first_evaluator.snapshot_changed_states())
    second_evaluator.resume_after_downtime(START + 900 * DAY, ["http"], all_sources=False)
    watermarks = {"http": START + 900 * DAY}

    assert second_evaluator.advance_watermarks({**watermarks, "file": 0}) == []
    decisions = second_evaluator.process_events(
        [event_at(60)]
    ) + second_evaluator.advance_watermarks({**watermarks, "file": START + 60 * SECOND})
    assert list_firing_seconds(decisions) == [52.75]


def test_a_level_is_held_and_a_result_is_fresh_over_a_downtime() -> None:
    hold_rule = with_alert(
        telemetry_rule(stale_after="30s"), {WARNING: level_spec("x > 3", hold="2m")}
    )
    stream = [*parse_samples("0:5 20:5 130:5"), event_at(131, OTHER)]
    downtime = START + 20 * SECOND, START + 125 * SECOND

    changes = extract_level_changes(run_with_downtime([hold_rule], stream, {2: downtime}))

    assert [(change.severity, change.time) for change in changes] == [
        (WARNING, START + 130 * SECOND)
    ]
