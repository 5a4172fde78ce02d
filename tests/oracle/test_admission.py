"""What admission does to a raw stream must change the decisions as the text says, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from catcher.evaluation import Admission, SourceClock
from catcher.model.event import AdmittedEvent, Event, compute_digest
from catcher.model.rule import Rule
from catcher.model.time import HOUR, SECOND
from tests.oracle.hypothesis_settings import property_settings
from tests.oracle.levels import compute_level_changes
from tests.oracle.oracle import compute_firings
from tests.oracle.recording import Recording
from tests.oracle.simulation import SOURCE, extract_firings, extract_level_changes, run_rules
from tests.oracle.strategies import alert_rules, firing_rules
from tests.oracle.streams import event_streams
from tests.oracle.yaml_text import format_report

rules = st.one_of(firing_rules(), alert_rules())
randoms = st.randoms(use_true_random=False)


def admit_one_by_one(arrivals: Sequence[Event], clock: SourceClock) -> list[AdmittedEvent]:
    """All of a source's events, let in one by one as they come, by a wall clock that is theirs."""
    admission = Admission({SOURCE: clock})
    admitted_events: list[AdmittedEvent] = []
    now = 0
    for event in arrivals:
        now = max(now, event.time if event.time < arrivals[0].time + HOUR else 0)
        admitted_events += admission.admit_events(SOURCE, [event], now)
    return admitted_events + admission.flush_buffered_events(SOURCE)


def drop_duplicates(events: Sequence[Event]) -> list[Event]:
    return list({compute_digest(event): event for event in reversed(events)}.values())[::-1]


def assert_same_decisions(
    rule: Rule, expected_events: Sequence[Event], admitted_events: Sequence[AdmittedEvent]
) -> None:
    """The rule decides on what was let in what the oracle decides on what was meant."""
    stream = [AdmittedEvent(event) for event in expected_events]
    recording = Recording.from_events(stream)
    decisions = run_rules([rule], admitted_events)
    assert extract_firings(decisions) == compute_firings(rule, recording), format_report(
        rule, admitted_events
    )
    if rule.alert:
        assert extract_level_changes(decisions) == compute_level_changes(rule, recording), (
            format_report(rule, admitted_events)
        )


@property_settings(120)
@given(rules, event_streams(), randoms)
def test_a_duplicate_counts_once(rule: Rule, stream: list[AdmittedEvent], random: Random) -> None:
    events = drop_duplicates([item.event for item in stream])
    arrivals: list[Event] = []
    for event in events:
        arrivals.append(event)
        if random.random() < 0.3:
            arrivals.append(random.choice(arrivals))

    assert_same_decisions(rule, events, admit_one_by_one(arrivals, SourceClock()))


@property_settings(120)
@given(rules, event_streams(), randoms)
def test_lateness_within_reorder_gives_what_order_would_have_given(
    rule: Rule, stream: list[AdmittedEvent], random: Random
) -> None:
    events = drop_duplicates([item.event for item in stream])
    delayed = [event.time + random.choice((0, 0, 1, 3)) * SECOND for event in events]
    arrivals = [
        event for _, event in sorted(zip(delayed, events, strict=True), key=lambda pair: pair[0])
    ]
    in_order = sorted(arrivals, key=lambda event: event.time)

    admitted_events = admit_one_by_one(arrivals, SourceClock(reorder=3 * SECOND))

    assert [item.event for item in admitted_events] == in_order
    assert not any(item.late for item in admitted_events)
    assert_same_decisions(rule, in_order, admitted_events)


@property_settings(120)
@given(st.one_of(firing_rules(), alert_rules(kinds=["telemetry"])), event_streams(disorder=True))
def test_without_reorder_a_topic_is_late_only_against_itself(
    rule: Rule, stream: list[AdmittedEvent]
) -> None:
    events = drop_duplicates([item.event for item in stream])

    assert_same_decisions(rule, events, admit_one_by_one(events, SourceClock()))


@property_settings(120)
@given(rules, event_streams(), randoms)
def test_one_event_from_the_future_makes_no_valid_one_late(
    rule: Rule, stream: list[AdmittedEvent], random: Random
) -> None:
    events = drop_duplicates([item.event for item in stream])
    index = random.randrange(len(events) + 1)
    future_event = random.choice(events)._replace(time=events[-1].time + 2 * HOUR)
    arrivals = [*events[:index], future_event, *events[index:]]

    if index:
        assert_same_decisions(
            rule, events, admit_one_by_one(arrivals, SourceClock(max_ahead=5 * SECOND))
        )
