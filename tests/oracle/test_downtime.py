"""Nobody watches for a while: silence counts from the resumption, schedules catch up or skip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import Admitted
from catcher.model.rule import Rule, Trigger
from catcher.model.time import DAY, SECOND
from catcher.watching import Network
from tests.oracle.driving import Decision, changes_in, decided_with_downtime, firings_in
from tests.oracle.effort import effort
from tests.oracle.levels import level_changes
from tests.oracle.oracle import firings
from tests.oracle.strategies import alert_rules, always_rules, clock_rules, firing_rules
from tests.oracle.streams import MAIN, OTHER, START, streams
from tests.oracle.watched import Watched
from tests.oracle.wording import WARNING, alerting, at, level, telemetry, xs
from tests.oracle.yaml_text import as_text

rules = st.one_of(firing_rules(), clock_rules, alert_rules(), always_rules())
shares = st.dictionaries(st.integers(1, 30), st.floats(0.1, 1), max_size=4)


def downtimes_of(
    stream: Sequence[Admitted], parts: Mapping[int, float]
) -> dict[int, tuple[int, int]]:
    """By place: the time before that event in which nobody watches, some part of the gap."""
    found: dict[int, tuple[int, int]] = {}
    for place, part in parts.items():
        if place < len(stream):
            stop, following = (stream[each].event.time for each in (place - 1, place))
            if following > stop:
                found[place] = stop, stop + int((following - stop) * part)
    return found


@effort(120)
@given(rules, streams(), shares)
def test_downtime_is_unobserved(
    rule: Rule, stream: list[Admitted], parts: dict[int, float]
) -> None:
    downtimes = downtimes_of(stream, parts)
    watched = Watched.of(stream, sorted(downtimes.values()))

    found = decided_with_downtime([rule], stream, downtimes)

    words = f"{as_text(rule, stream)}\n{sorted(downtimes.items())}"
    assert firings_in(found) == firings(rule, watched), words
    if rule.alert:
        assert changes_in(found) == level_changes(rule, watched), words


SILENT = Rule("rule", Trigger("absent", MAIN, hold=10 * SECOND))
MINUTELY = Rule("rule", Trigger("schedule", schedule="* * * * *"))


def seconds(found: Sequence[Decision]) -> list[float]:
    return [(each.time - START) / SECOND for each in firings_in(found)]


def test_silence_before_any_event_counts_from_the_start_of_watching() -> None:
    network = Network([SILENT])
    network.resume(START, ["live"], everywhere=True)

    assert seconds(network.advance({"live": START + 9 * SECOND})) == []
    assert seconds(network.advance({"live": START + 11 * SECOND})) == [10]


def test_a_schedule_needs_no_event_where_the_wall_clock_rules() -> None:
    network = Network([MINUTELY])
    network.resume(START, ["live"], everywhere=True)

    assert seconds(network.advance({"live": START + 60 * SECOND})) == [52.75]


def test_a_recorded_stream_goes_on_where_it_stopped_whatever_the_wall_clock_says() -> None:
    first = Network([MINUTELY])
    first.feed([at(0), at(10)])
    again = Network([MINUTELY])
    again.restore(first.take_states())
    again.resume(START + 900 * DAY, ["http"], everywhere=False)
    marks = {"http": START + 900 * DAY}

    assert again.advance({**marks, "file": 0}) == []
    found = again.feed([at(60)]) + again.advance({**marks, "file": START + 60 * SECOND})
    assert seconds(found) == [52.75]


def test_a_level_is_held_and_a_result_is_fresh_over_a_downtime() -> None:
    holding = alerting(telemetry(stale_after="30s"), {WARNING: level("x > 3", hold="2m")})
    feed = [*xs("0:5 20:5 130:5"), at(131, OTHER)]
    downtime = START + 20 * SECOND, START + 125 * SECOND

    changes = changes_in(decided_with_downtime([holding], feed, {2: downtime}))

    assert [(each.severity, each.time) for each in changes] == [(WARNING, START + 130 * SECOND)]
