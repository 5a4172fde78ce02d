"""What admission does to a raw stream must change the decisions as the text says, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import Admitted, Event, digest
from catcher.model.rule import Rule
from catcher.model.time import HOUR, SECOND
from catcher.watching import Admission, SourceClock
from tests.oracle.driving import SOURCE, changes_in, decided, firings_in
from tests.oracle.effort import effort
from tests.oracle.levels import level_changes
from tests.oracle.oracle import firings
from tests.oracle.strategies import alert_rules, firing_rules
from tests.oracle.streams import streams
from tests.oracle.watched import Watched
from tests.oracle.yaml_text import as_text

rules = st.one_of(firing_rules(), alert_rules())
randoms = st.randoms(use_true_random=False)


def admitted(arrivals: Sequence[Event], clock: SourceClock) -> list[Admitted]:
    """All of a source's events, let in one by one as they come, by a wall clock that is theirs."""
    admission = Admission({SOURCE: clock})
    found: list[Admitted] = []
    now = 0
    for event in arrivals:
        now = max(now, event.time if event.time < arrivals[0].time + HOUR else 0)
        found += admission.admit(SOURCE, [event], now)
    return found + admission.flush(SOURCE)


def unique(events: Sequence[Event]) -> list[Event]:
    return list({digest(event): event for event in reversed(events)}.values())[::-1]


def agree(rule: Rule, wanted: Sequence[Event], found: Sequence[Admitted]) -> None:
    """The rule decides on what was let in what the oracle decides on what was meant."""
    stream = [Admitted(event) for event in wanted]
    watched = Watched.of(stream)
    decisions = decided([rule], found)
    assert firings_in(decisions) == firings(rule, watched), as_text(rule, found)
    if rule.alert:
        assert changes_in(decisions) == level_changes(rule, watched), as_text(rule, found)


@effort(120)
@given(rules, streams(), randoms)
def test_a_duplicate_counts_once(rule: Rule, stream: list[Admitted], random: Random) -> None:
    events = unique([item.event for item in stream])
    arrivals: list[Event] = []
    for event in events:
        arrivals.append(event)
        if random.random() < 0.3:
            arrivals.append(random.choice(arrivals))

    agree(rule, events, admitted(arrivals, SourceClock()))


@effort(120)
@given(rules, streams(), randoms)
def test_lateness_within_reorder_gives_what_order_would_have_given(
    rule: Rule, stream: list[Admitted], random: Random
) -> None:
    events = unique([item.event for item in stream])
    delayed = [event.time + random.choice((0, 0, 1, 3)) * SECOND for event in events]
    arrivals = [event for _, event in sorted(zip(delayed, events, strict=True), key=lambda e: e[0])]
    in_order = sorted(arrivals, key=lambda event: event.time)

    found = admitted(arrivals, SourceClock(reorder=3 * SECOND))

    assert [item.event for item in found] == in_order
    assert not any(item.late for item in found)
    agree(rule, in_order, found)


@effort(120)
@given(st.one_of(firing_rules(), alert_rules(kinds=["telemetry"])), streams(disorder=True))
def test_without_reorder_a_topic_is_late_only_against_itself(
    rule: Rule, stream: list[Admitted]
) -> None:
    events = unique([item.event for item in stream])

    agree(rule, events, admitted(events, SourceClock()))


@effort(120)
@given(rules, streams(), randoms)
def test_one_event_from_the_future_makes_no_honest_one_late(
    rule: Rule, stream: list[Admitted], random: Random
) -> None:
    events = unique([item.event for item in stream])
    place = random.randrange(len(events) + 1)
    future = random.choice(events)._replace(time=events[-1].time + 2 * HOUR)
    arrivals = [*events[:place], future, *events[place:]]

    if place:
        agree(rule, events, admitted(arrivals, SourceClock(max_ahead=5 * SECOND)))
