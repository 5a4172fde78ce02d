"""Two sources whose clocks do not agree, and the order of what happens at one instant."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import Admitted, Event
from catcher.model.rule import Expr, Rule, Trigger
from catcher.model.run import Firing
from catcher.model.time import SECOND
from catcher.watching import Admission, Network, SourceClock
from tests.oracle.driving import Decision, changes_in, decided, firings_in, in_words
from tests.oracle.effort import effort
from tests.oracle.levels import level_changes
from tests.oracle.oracle import firings
from tests.oracle.strategies import (
    alert_rules,
    durations,
    edge_triggers,
    event_triggers,
    every_triggers,
    sequence_triggers,
    surroundings,
)
from tests.oracle.streams import DOME, MAIN, OTHER, RESULT, WIND, streams
from tests.oracle.watched import Watched
from tests.oracle.yaml_text import as_text

OF_THE_OTHER = (WIND, DOME, RESULT, OTHER)
skews = st.sampled_from([-40, -7, -2, -0.5, 0, 0.5, 2, 7, 40]).map(lambda s: int(s * SECOND))
patiences = st.sampled_from([0, SECOND, 5 * SECOND])


@st.composite
def rules_of_events(draw: st.DrawFn) -> Rule:
    """A rule that events decide on; what it reads may come from the other source."""
    reads, let, names = draw(surroundings())
    kinds = [edge_triggers(names), every_triggers(names), event_triggers(), sequence_triggers()]
    return Rule("rule", draw(st.one_of(*kinds)), reads=reads, let=let)


def skewed(stream: Sequence[Admitted], skew: int) -> list[Event]:
    """The events in the order of their arrival; those of a second source have a clock of theirs."""
    return [
        event._replace(source="b", time=event.time + skew)
        if event.topic in OF_THE_OTHER
        else event._replace(source="a")
        for event, _ in stream
    ]


def live(
    rule: Rule, arrivals: Sequence[Event], patience: int
) -> tuple[list[Admitted], list[Decision]]:
    """What the engine's loop lets in, and what it decides, looking at the clocks on the way."""
    clock = SourceClock("stream", lateness=patience, max_ahead=100 * SECOND)
    admission, network = Admission({"a": clock, "b": clock}), Network([rule])
    let_in: list[Admitted] = []
    found: list[Decision] = []
    for event in arrivals:
        admitted = admission.admit(event.source, [event], event.time)
        let_in += admitted
        found += network.feed(admitted)
        found += network.advance(admission.watermarks(0))
    return let_in, found + network.finish(max(item.event.time for item in let_in))


@effort(80)
@given(st.one_of(rules_of_events(), alert_rules(kinds=["telemetry"])), streams(), skews, patiences)
def test_what_is_decided_follows_from_what_was_let_in_alone(
    rule: Rule, stream: list[Admitted], skew: int, patience: int
) -> None:
    let_in, found = live(rule, skewed(stream, skew), patience)

    watched = Watched.of(let_in)
    assert firings_in(found) == firings(rule, watched), as_text(rule, let_in)
    if rule.alert:
        assert changes_in(found) == level_changes(rule, watched), as_text(rule, let_in)


@effort(80)
@given(
    st.one_of(edge_triggers(), every_triggers()).map(lambda trigger: Rule("rule", trigger)),
    streams(),
    skews,
    patiences,
)
def test_the_clock_of_another_source_changes_nothing(
    rule: Rule, stream: list[Admitted], skew: int, patience: int
) -> None:
    end = [item for item in stream if item.event.topic == MAIN][-1:]
    _, straight = live(rule, skewed(stream, 0), patience)
    _, crooked = live(rule, skewed(stream, skew), patience)

    until = end[0].event.time if end else 0
    before = [[row for row in in_words(found) if row[1] <= until] for found in (straight, crooked)]
    assert before[0] == before[1], as_text(rule, stream)


@effort(80)
@given(st.lists(durations, min_size=1, max_size=3), streams(topics=(MAIN,)))
def test_timers_of_one_instant_fire_by_rule_and_key(
    holds: list[int], stream: list[Admitted]
) -> None:
    rules = [
        Rule(
            f"rule-{9 - number}",
            Trigger("telemetry", MAIN, when=Expr("x > 0"), hold=hold, by=Expr("name")),
        )
        for number, hold in enumerate(holds)
    ]
    found = [each for each in decided(rules, stream) if isinstance(each, Firing)]
    by_timer = [(each.time, each.rule, each.key) for each in found if each.cause == "for"]

    assert by_timer == sorted(by_timer), as_text(rules[0], stream)
