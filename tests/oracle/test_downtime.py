"""Nobody watches for a while: silence counts from the resumption, schedules catch up or skip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from catcher.model.event import Admitted
from catcher.model.rule import Rule
from tests.oracle.driving import changes_in, decided_with_downtime, firings_in
from tests.oracle.effort import effort
from tests.oracle.levels import level_changes
from tests.oracle.oracle import firings
from tests.oracle.strategies import alert_rules, always_rules, clock_rules, firing_rules
from tests.oracle.streams import streams
from tests.oracle.watched import Watched
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


@effort(150)
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
