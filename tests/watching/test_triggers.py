"""When rules fire, sentence by sentence of the exact meanings."""

from __future__ import annotations

from typing import Any

import pytest

from catcher.model.event import Admitted
from catcher.model.rule import Step
from catcher.model.run import Firing
from catcher.model.time import HOUR, MINUTE, SECOND, parse_instant
from catcher.watching import Network
from tests.watching.playing import (
    WIND,
    at,
    event,
    expr,
    fired,
    fired_by_key,
    merged,
    play,
    rule,
    stream,
    times,
    trigger,
)

OFF, ON, LOST = 0, 20, None


def edge(samples: Any, end: float | None = None, **given: Any) -> list[float]:
    """When a rule with `when: speed > 10` fires."""
    given.setdefault("when", "speed > 10")
    return fired(play(rule(trigger(**given)), stream(samples), end))


def test_an_event_fires_once_for_each_that_passes() -> None:
    watched = rule(trigger("event", where="speed > 3"))
    assert fired(play(watched, stream(times(5, 1, 5, None, 4)))) == [0, 2, 4]


def test_an_edge_fires_where_it_becomes_true_and_starts_armed() -> None:
    assert edge(times(ON, ON, OFF, ON, ON)) == [0, 3]


def test_clear_leaves_a_dead_band() -> None:
    assert edge(times(20, 8, 20, 4, 20), clear="speed < 5") == [0, 4]


def test_clear_wins_where_both_hold() -> None:
    assert edge(times(20, 20, 20), clear="speed > 15") == []


def test_recovery_is_no_crossing_unless_the_rule_says_so() -> None:
    assert edge(times(ON, LOST, ON)) == [0]
    assert edge(times(OFF, LOST, ON)) == [2]
    assert edge(times(ON, LOST, ON), on_recovery="fire") == [0, 2]
    assert edge(times(ON, LOST, OFF, LOST, ON)) == [0, 4]


def test_every_waits_for_its_period_after_a_firing() -> None:
    samples = times(*[ON] * 8, OFF, ON, step=0.5)
    assert edge(samples, every="1500ms") == [0, 1.5, 3, 4.5]
    assert edge(samples, every="1500ms", when=None) == [0, 1.5, 3, 4.5]


def test_for_completes_at_its_instant_and_not_at_a_sample() -> None:
    decisions = play(rule(trigger(when="speed > 10", hold="10s")), stream([(0, ON), (4, ON)]), 60)
    assert fired(decisions) == [10]
    (firing,) = decisions
    assert isinstance(firing, Firing)
    assert (firing.cause, firing.reason) == ("for", "speed = 20 > 10 held 10s")
    assert firing.event is not None
    assert firing.event.time == at(4)


def test_for_with_one_sample_completes_at_the_next_if_that_is_true() -> None:
    assert edge([(0, ON), (30, ON)], 60, hold="10s") == [30]
    assert edge([(0, ON), (30, OFF), (31, ON)], 60, hold="10s") == []


def test_a_false_sample_breaks_for_even_at_its_instant() -> None:
    assert edge([(0, ON), (5, ON), (10, OFF)], 60, hold="10s") == []
    assert edge([(0, ON), (10, ON)], 60, hold="10s") == [10]


def test_an_unknown_sample_does_not_break_for() -> None:
    assert edge([(0, ON), (3, LOST), (5, ON)], 60, hold="10s") == [10]


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        ([(0, ON), (5, ON)], []),
        ([(0, ON), (5, ON), (66, ON), (100, ON), (140, ON)], [156]),
        ([(0, ON), (60, ON), (120, ON)], [90]),
    ],
)
def test_a_silence_breaks_for(samples: Any, wanted: list[float]) -> None:
    assert edge(samples, 300, hold="90s") == wanted


def test_clear_for_mirrors_for() -> None:
    given = {"clear": "speed < 5", "clear_hold": "10s"}
    cleared = [(0, 20), (1, 1), (5, 1), (12, 20)]
    assert edge(cleared, **given) == [0, 12]
    dead_band = [(0, 20), (1, 1), (5, 7), (6, 1), (7, 1), (12, 20)]
    assert edge(dead_band, **given) == [0]


def test_a_hold_that_is_over_starts_anew_when_armed_again() -> None:
    samples = times(*[ON] * 15, OFF, *[ON] * 15)
    assert edge(samples, hold="10s") == [10, 26]


def test_by_keeps_everything_apart() -> None:
    samples = [
        (0, {"salIndex": 1, "speed": ON}),
        (1, {"salIndex": 2.0, "speed": ON}),
        (2, {"salIndex": 1, "speed": ON}),
        (3, {"speed": ON}),
        (4, {"salIndex": True, "speed": ON}),
    ]
    watched = rule(trigger(when="speed > 10", by="salIndex"))
    network = Network([watched])
    found = network.feed(stream(samples))
    assert fired_by_key(found) == [("1", 0), ("2", 1), ("true", 4)]
    assert network.counts()["wind"]["unknown_keys"] == 1


def test_a_key_is_forgotten_after_a_while() -> None:
    samples = [(0, ON), (1, ON), (100, ON)]
    assert edge(samples, forget_after="50s") == [0, 100]


def test_once_per_fires_once_per_value_ever() -> None:
    samples = times(*({"name": name, "speed": ON} for name in ("a", "a", "b", None, "a")))
    watched = rule(trigger("event", once_per="name"))
    network = Network([watched])
    found = network.feed(stream(samples))
    assert [one.once for one in found if isinstance(one, Firing)] == ["a", "b"]
    assert network.counts()["wind"]["repeats"] == 2
    assert network.counts()["wind"]["unknown_keys"] == 1


# -- absence, sequences, schedules ----------------------------------------------------------------


def test_absence_fires_once_and_a_message_arms_it_again() -> None:
    watched = rule(trigger("absent", hold="10s"))
    assert fired(play(watched, stream([(0, 1), (5, 1), (30, 1)]), 100)) == [15, 40]


def test_absence_before_any_message_counts_from_the_first_event_of_all() -> None:
    watched = rule(trigger("absent", hold="10s"))
    assert fired(play(watched, stream([(3, 1)], "other"), 100)) == [13]


def test_absence_counts_any_message() -> None:
    watched = rule(trigger("absent", hold="10s"))
    late = [Admitted(event(0, 1)), Admitted(event(8, {}, WIND)), Admitted(event(7, None), True)]
    assert fired(play(watched, late, 30)) == [18]


def test_a_message_at_the_instant_comes_before_its_timer() -> None:
    watched = rule(trigger("absent", hold="10s"))
    assert fired(play(watched, stream([(0, 1), (10, 1)]), 15)) == []


def sequence(*steps: tuple[str, str], within: str = "10s") -> Any:
    found = tuple(Step(topic, expr(where) if where else None) for topic, where in steps)
    return rule(trigger("sequence", "", steps=found, within=within))


def test_a_sequence_fires_at_its_last_step() -> None:
    watched = sequence(("open", ""), ("close", "speed > 1"))
    events = merged(stream([(0, 0), (20, 0)], "open"), stream([(5, 0), (6, 2), (31, 2)], "close"))
    assert fired(play(watched, events)) == [6]


def test_a_sequence_takes_the_latest_start_that_fits() -> None:
    watched = sequence(("a", ""), ("b", ""), ("c", ""))
    events = merged(stream([(0, 0), (8, 0)], "a"), stream([(9, 0)], "b"), stream([(15, 0)], "c"))
    assert fired(play(watched, events)) == [15]


def test_a_firing_uses_up_what_came_before_it() -> None:
    watched = sequence(("a", ""), ("b", ""))
    events = merged(stream([(0, 0)], "a"), stream([(1, 0), (2, 0)], "b"))
    assert fired(play(watched, events)) == [1]


def test_one_event_is_one_step() -> None:
    watched = sequence((WIND, "speed > 1"), (WIND, "speed > 1"))
    assert fired(play(watched, stream(times(2, 2, 2, 2)))) == [1, 3]


def test_a_bare_period_counts_from_the_epoch() -> None:
    watched = rule(trigger("every", "", every="1m"))
    network = Network([watched], start=parse_instant("2025-04-24T12:00:30Z"))
    found = network.advance({"efd": parse_instant("2025-04-24T12:03:00Z")})
    assert [one.time for one in found] == [
        parse_instant("2025-04-24T12:01:00Z"),
        parse_instant("2025-04-24T12:02:00Z"),
    ]
    assert {one.cause for one in found if isinstance(one, Firing)} == {"every"}


def test_a_schedule_follows_the_clock_of_its_zone() -> None:
    watched = rule(trigger("schedule", "", schedule="30 8 * * mon-fri", zone="America/Santiago"))
    network = Network([watched], start=parse_instant("2025-04-25T00:00:00Z"))
    found = network.finish(parse_instant("2025-04-29T00:00:00Z"))
    assert [one.time for one in found] == [
        parse_instant("2025-04-25T12:30:00Z"),
        parse_instant("2025-04-28T12:30:00Z"),
    ]


def test_a_schedule_looks_at_reads() -> None:
    watched = rule(
        trigger("every", "", every="10s", when="age(wind) > 5"), reads={"wind": ("wind", "", "")}
    )
    assert fired(play(watched, stream([(0, 1), (8, 1), (12, 1)], "wind"), 40)) == [20, 30, 40]


def test_any_is_the_union_of_its_triggers() -> None:
    watched = rule(
        trigger(
            "any",
            "",
            any=(
                trigger("event", "a"),
                trigger(topic="b", when="speed > 1"),
                trigger("event", "a"),
            ),
        )
    )
    events = merged(stream([(0, 0), (2, 0)], "a"), stream([(1, 5), (3, 5)], "b"))
    assert fired(play(watched, events)) == [0, 1, 2]


# -- order, lateness, time ------------------------------------------------------------------------


def test_firings_of_one_instant_are_ordered_by_rule_and_key() -> None:
    rules = [
        rule(trigger("event", by="k"), id="b"),
        rule(trigger("event", by="k"), id="a"),
    ]
    found = play(rules, stream([(0, {"k": 1})]))
    assert [one.rule for one in found] == ["a", "b"]


def test_a_late_event_is_kept_out_of_edges_but_plain_events_fire() -> None:
    events = [Admitted(event(5, OFF)), Admitted(event(4, ON)), Admitted(event(6, ON), late=True)]
    assert fired(play(rule(trigger(when="speed > 10")), events)) == []
    assert fired(play(rule(trigger("event")), events)) == [5, 4, 6]


def test_an_event_earlier_than_a_timer_that_has_run_is_late() -> None:
    watched = rule(trigger(when="speed > 10", hold="10s"))
    network = Network([watched])
    network.feed(stream([(0, ON), (5, ON)]))
    assert fired(network.advance({"efd": at(10)})) == []
    assert fired(network.advance({"efd": at(10) + 1})) == [10]
    network.feed(stream([(9, OFF)]))
    assert network.counts()["wind"]["late"] == 1


def test_a_timer_waits_for_the_sources_of_its_rule_alone() -> None:
    watched = rule(trigger(when="speed > 10", hold="10s"))
    network = Network([watched])
    network.feed(stream([(0, ON), (5, ON)]))
    assert network.next_timer() == at(10)
    assert network.advance({"efd": at(8), "other": at(60)}) == []
    assert fired(network.advance({"efd": at(11), "other": at(3)})) == [10]
    assert network.next_timer() is None


def test_a_rules_own_later_event_shows_that_an_instant_is_over() -> None:
    watched = rule(trigger(when="speed > 10", hold="10s"))
    network = Network([watched])
    assert fired(network.feed(stream([(0, ON), (5, ON), (12, OFF)]))) == [10]


def test_a_firing_by_hand_is_a_run_of_its_own() -> None:
    watched = rule(trigger("event", by="k", once_per="name"))
    network = Network([watched])
    given = event(3, {"k": 7, "name": "x"})
    network.feed([Admitted(given)])
    firing = network.by_hand("wind", given, at(99), "ana")
    assert (firing.key, firing.time, firing.cause) == ("7", at(3), f"hand:ana:{at(99)}")
    assert firing.manual
    assert firing.once is None
    assert firing.values["name"] == "x"
    assert network.by_hand("wind", None, at(99), "ana").time == at(99)


def test_history_fills_windows_and_never_fires() -> None:
    watched = rule(trigger(when='mean(speed, "10s") > 10'))
    network = Network([watched], start=at(20))
    network.prime(stream(times(*[ON] * 20)))
    assert fired(network.feed(stream([(20, ON)]))) == [20]


def test_downtime_is_no_silence() -> None:
    watched = rule(trigger("absent", hold="10s"))
    network = Network([watched], start=at(0))
    network.feed(stream([(5, 1)]))
    states = network.take_states()
    again = Network([watched], start=at(1000))
    again.restore(states)
    assert fired(again.finish(at(2000))) == [1010]


@pytest.mark.parametrize(("catch_up", "wanted"), [("skip", [6]), ("run", [5, 6])])
def test_after_downtime_a_schedule_skips_or_catches_up(catch_up: Any, wanted: list[int]) -> None:
    watched = rule(trigger("schedule", "", schedule="0 * * * *", catch_up=catch_up))
    network = Network([watched], start=30 * MINUTE)
    found = network.advance({"efd": 2 * HOUR + SECOND})
    assert [one.time // HOUR for one in found] == [1, 2]
    states = network.take_states()
    again = Network([watched], start=5 * HOUR + MINUTE)
    again.restore(states)
    found = again.advance({"efd": 6 * HOUR + SECOND})
    assert [one.time // HOUR for one in found] == wanted
