"""When rules fire, sentence by sentence of the exact meanings."""

from __future__ import annotations

from typing import Any

import pytest

from catcher.evaluation import RuleEvaluator
from catcher.model.event import AdmittedEvent
from catcher.model.rule import SequenceStep
from catcher.model.run import Firing
from catcher.model.time import HOUR, MINUTE, SECOND, parse_instant
from tests.evaluation.rule_builders import (
    WIND,
    create_event,
    create_expr,
    create_rule,
    create_samples,
    create_stream,
    create_trigger,
    list_firing_times,
    list_keyed_firings,
    merge_streams,
    run_rules,
    to_instant,
)

LOW, HIGH, MISSING = 0, 20, None


def run_edge_rule(samples: Any, end: float | None = None, **settings: Any) -> list[float]:
    """When a rule with `when: speed > 10` fires."""
    settings.setdefault("when", "speed > 10")
    return list_firing_times(
        run_rules(create_rule(create_trigger(**settings)), create_stream(samples), end)
    )


def test_an_event_fires_once_for_each_that_passes() -> None:
    rule = create_rule(create_trigger("event", where="speed > 3"))
    assert list_firing_times(run_rules(rule, create_stream(create_samples(5, 1, 5, None, 4)))) == [
        0,
        2,
        4,
    ]


def test_an_edge_fires_where_it_becomes_true_and_starts_armed() -> None:
    assert run_edge_rule(create_samples(HIGH, HIGH, LOW, HIGH, HIGH)) == [0, 3]


def test_clear_leaves_a_dead_band() -> None:
    assert run_edge_rule(create_samples(20, 8, 20, 4, 20), clear="speed < 5") == [0, 4]


def test_clear_wins_where_both_hold() -> None:
    assert run_edge_rule(create_samples(20, 20, 20), clear="speed > 15") == []


def test_recovery_is_no_crossing_unless_the_rule_says_so() -> None:
    assert run_edge_rule(create_samples(HIGH, MISSING, HIGH)) == [0]
    assert run_edge_rule(create_samples(LOW, MISSING, HIGH)) == [2]
    assert run_edge_rule(create_samples(HIGH, MISSING, HIGH), on_recovery="fire") == [0, 2]
    assert run_edge_rule(create_samples(HIGH, MISSING, LOW, MISSING, HIGH)) == [0, 4]


def test_every_waits_for_its_period_after_a_firing() -> None:
    samples = create_samples(*[HIGH] * 8, LOW, HIGH, step=0.5)
    assert run_edge_rule(samples, every="1500ms") == [0, 1.5, 3, 4.5]
    assert run_edge_rule(samples, every="1500ms", when=None) == [0, 1.5, 3, 4.5]


def test_for_completes_at_its_instant_and_not_at_a_sample() -> None:
    decisions = run_rules(
        create_rule(create_trigger(when="speed > 10", hold="10s")),
        create_stream([(0, HIGH), (4, HIGH)]),
        60,
    )
    assert list_firing_times(decisions) == [10]
    (firing,) = decisions
    assert isinstance(firing, Firing)
    assert (firing.cause, firing.reason) == ("for", "speed = 20 > 10 held 10s")
    assert firing.event is not None
    assert firing.event.time == to_instant(4)


def test_for_with_one_sample_completes_at_the_next_if_that_is_true() -> None:
    assert run_edge_rule([(0, HIGH), (30, HIGH)], 60, hold="10s") == [30]
    assert run_edge_rule([(0, HIGH), (30, LOW), (31, HIGH)], 60, hold="10s") == []


def test_a_false_sample_breaks_for_even_at_its_instant() -> None:
    assert run_edge_rule([(0, HIGH), (5, HIGH), (10, LOW)], 60, hold="10s") == []
    assert run_edge_rule([(0, HIGH), (10, HIGH)], 60, hold="10s") == [10]


def test_an_unknown_sample_does_not_break_for() -> None:
    assert run_edge_rule([(0, HIGH), (3, MISSING), (5, HIGH)], 60, hold="10s") == [10]


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        ([(0, HIGH), (5, HIGH)], []),
        ([(0, HIGH), (5, HIGH), (66, HIGH), (100, HIGH), (140, HIGH)], [156]),
        ([(0, HIGH), (60, HIGH), (120, HIGH)], [90]),
    ],
)
def test_a_silence_breaks_for(samples: Any, wanted: list[float]) -> None:
    assert run_edge_rule(samples, 300, hold="90s") == wanted


def test_clear_for_mirrors_for() -> None:
    settings = {"clear": "speed < 5", "clear_hold": "10s"}
    cleared_samples = [(0, 20), (1, 1), (5, 1), (12, 20)]
    assert run_edge_rule(cleared_samples, **settings) == [0, 12]
    dead_band_samples = [(0, 20), (1, 1), (5, 7), (6, 1), (7, 1), (12, 20)]
    assert run_edge_rule(dead_band_samples, **settings) == [0]


def test_a_completed_hold_starts_again_when_rearmed() -> None:
    samples = create_samples(*[HIGH] * 15, LOW, *[HIGH] * 15)
    assert run_edge_rule(samples, hold="10s") == [10, 26]


def test_by_keeps_everything_apart() -> None:
    samples = [
        (0, {"salIndex": 1, "speed": HIGH}),
        (1, {"salIndex": 2.0, "speed": HIGH}),
        (2, {"salIndex": 1, "speed": HIGH}),
        (3, {"speed": HIGH}),
        (4, {"salIndex": True, "speed": HIGH}),
    ]
    rule = create_rule(create_trigger(when="speed > 10", by="salIndex"))
    evaluator = RuleEvaluator([rule])
    decisions = evaluator.process_events(create_stream(samples))
    assert list_keyed_firings(decisions) == [("1", 0), ("2", 1), ("true", 4)]
    assert evaluator.collect_rule_counts()["wind"]["unknown_keys"] == 1


def test_a_key_expires_after_a_while() -> None:
    samples = [(0, HIGH), (1, HIGH), (100, HIGH)]
    assert run_edge_rule(samples, forget_after="50s") == [0, 100]


def test_once_per_fires_once_per_value_ever() -> None:
    samples = create_samples(
        *({"name": name, "speed": HIGH} for name in ("a", "a", "b", None, "a"))
    )
    rule = create_rule(create_trigger("event", once_per="name"))
    evaluator = RuleEvaluator([rule])
    decisions = evaluator.process_events(create_stream(samples))
    assert [decision.once for decision in decisions if isinstance(decision, Firing)] == ["a", "b"]
    assert evaluator.collect_rule_counts()["wind"]["repeats"] == 2
    assert evaluator.collect_rule_counts()["wind"]["unknown_keys"] == 1


# -- absence, sequences, schedules ----------------------------------------------------------------


def test_absence_fires_once_and_a_message_arms_it_again() -> None:
    rule = create_rule(create_trigger("absent", hold="10s"))
    assert list_firing_times(run_rules(rule, create_stream([(0, 1), (5, 1), (30, 1)]), 100)) == [
        15,
        40,
    ]


def test_absence_before_any_message_counts_from_the_first_event_of_all() -> None:
    rule = create_rule(create_trigger("absent", hold="10s"))
    assert list_firing_times(run_rules(rule, create_stream([(3, 1)], "other"), 100)) == [13]


def test_absence_counts_any_message() -> None:
    rule = create_rule(create_trigger("absent", hold="10s"))
    events = [
        AdmittedEvent(create_event(0, 1)),
        AdmittedEvent(create_event(8, {}, WIND)),
        AdmittedEvent(create_event(7, None), True),
    ]
    assert list_firing_times(run_rules(rule, events, 30)) == [18]


def test_a_message_at_the_instant_comes_before_its_timer() -> None:
    rule = create_rule(create_trigger("absent", hold="10s"))
    assert list_firing_times(run_rules(rule, create_stream([(0, 1), (10, 1)]), 15)) == []


def create_sequence_rule(*steps: tuple[str, str], within: str = "10s") -> Any:
    trigger_steps = tuple(
        SequenceStep(topic, create_expr(where) if where else None) for topic, where in steps
    )
    return create_rule(create_trigger("sequence", "", steps=trigger_steps, within=within))


def test_a_sequence_fires_at_its_last_step() -> None:
    rule = create_sequence_rule(("open", ""), ("close", "speed > 1"))
    events = merge_streams(
        create_stream([(0, 0), (20, 0)], "open"), create_stream([(5, 0), (6, 2), (31, 2)], "close")
    )
    assert list_firing_times(run_rules(rule, events)) == [6]


def test_a_sequence_uses_the_latest_start_that_fits() -> None:
    rule = create_sequence_rule(("a", ""), ("b", ""), ("c", ""))
    events = merge_streams(
        create_stream([(0, 0), (8, 0)], "a"),
        create_stream([(9, 0)], "b"),
        create_stream([(15, 0)], "c"),
    )
    assert list_firing_times(run_rules(rule, events)) == [15]


def test_a_firing_uses_up_what_came_before_it() -> None:
    rule = create_sequence_rule(("a", ""), ("b", ""))
    events = merge_streams(create_stream([(0, 0)], "a"), create_stream([(1, 0), (2, 0)], "b"))
    assert list_firing_times(run_rules(rule, events)) == [1]


def test_one_event_is_one_step() -> None:
    rule = create_sequence_rule((WIND, "speed > 1"), (WIND, "speed > 1"))
    assert list_firing_times(run_rules(rule, create_stream(create_samples(2, 2, 2, 2)))) == [1, 3]


def test_a_bare_period_counts_from_the_epoch() -> None:
    rule = create_rule(create_trigger("every", "", every="1m"))
    evaluator = RuleEvaluator([rule], start=parse_instant("2025-04-24T12:00:30Z"))
    decisions = evaluator.advance_watermarks({"efd": parse_instant("2025-04-24T12:03:00Z")})
    assert [decision.time for decision in decisions] == [
        parse_instant("2025-04-24T12:01:00Z"),
        parse_instant("2025-04-24T12:02:00Z"),
    ]
    assert {decision.cause for decision in decisions if isinstance(decision, Firing)} == {"every"}


def test_a_schedule_follows_the_clock_of_its_zone() -> None:
    rule = create_rule(
        create_trigger("schedule", "", schedule="30 8 * * mon-fri", zone="America/Santiago")
    )
    evaluator = RuleEvaluator([rule], start=parse_instant("2025-04-25T00:00:00Z"))
    decisions = evaluator.run_remaining_timers(parse_instant("2025-04-29T00:00:00Z"))
    assert [decision.time for decision in decisions] == [
        parse_instant("2025-04-25T12:30:00Z"),
        parse_instant("2025-04-28T12:30:00Z"),
    ]


def test_a_schedule_evaluates_reads() -> None:
    rule = create_rule(
        create_trigger("every", "", every="10s", when="age(wind) > 5"),
        reads={"wind": ("wind", "", "")},
    )
    assert list_firing_times(
        run_rules(rule, create_stream([(0, 1), (8, 1), (12, 1)], "wind"), 40)
    ) == [20, 30, 40]


def test_any_is_the_union_of_its_triggers() -> None:
    rule = create_rule(
        create_trigger(
            "any",
            "",
            any=(
                create_trigger("event", "a"),
                create_trigger(topic="b", when="speed > 1"),
                create_trigger("event", "a"),
            ),
        )
    )
    events = merge_streams(
        create_stream([(0, 0), (2, 0)], "a"), create_stream([(1, 5), (3, 5)], "b")
    )
    assert list_firing_times(run_rules(rule, events)) == [0, 1, 2]


# -- order, lateness, time ------------------------------------------------------------------------


def test_firings_of_one_instant_are_ordered_by_rule_and_key() -> None:
    rules = [
        create_rule(create_trigger("event", by="k"), rule_id="b"),
        create_rule(create_trigger("event", by="k"), rule_id="a"),
    ]
    decisions = run_rules(rules, create_stream([(0, {"k": 1})]))
    assert [decision.rule for decision in decisions] == ["a", "b"]


def test_a_late_event_is_excluded_from_edges_but_plain_events_fire() -> None:
    events = [
        AdmittedEvent(create_event(5, LOW)),
        AdmittedEvent(create_event(4, HIGH)),
        AdmittedEvent(create_event(6, HIGH), late=True),
    ]
    assert (
        list_firing_times(run_rules(create_rule(create_trigger(when="speed > 10")), events)) == []
    )
    assert list_firing_times(run_rules(create_rule(create_trigger("event")), events)) == [5, 4, 6]


def test_an_event_earlier_than_a_timer_that_has_run_is_late() -> None:
    rule = create_rule(create_trigger(when="speed > 10", hold="10s"))
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(create_stream([(0, HIGH), (5, HIGH)]))
    assert list_firing_times(evaluator.advance_watermarks({"efd": to_instant(10)})) == []
    assert list_firing_times(evaluator.advance_watermarks({"efd": to_instant(10) + 1})) == [10]
    evaluator.process_events(create_stream([(9, LOW)]))
    assert evaluator.collect_rule_counts()["wind"]["late"] == 1


def test_a_timer_waits_for_the_sources_of_its_rule_alone() -> None:
    rule = create_rule(create_trigger(when="speed > 10", hold="10s"))
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(create_stream([(0, HIGH), (5, HIGH)]))
    assert evaluator.next_timer_due() == to_instant(10)
    assert evaluator.advance_watermarks({"efd": to_instant(8), "other": to_instant(60)}) == []
    assert list_firing_times(
        evaluator.advance_watermarks({"efd": to_instant(11), "other": to_instant(3)})
    ) == [10]
    assert evaluator.next_timer_due() is None


def test_a_rules_own_later_event_shows_that_an_instant_has_passed() -> None:
    rule = create_rule(create_trigger(when="speed > 10", hold="10s"))
    evaluator = RuleEvaluator([rule])
    assert list_firing_times(
        evaluator.process_events(create_stream([(0, HIGH), (5, HIGH), (12, LOW)]))
    ) == [10]


def test_a_manual_firing_is_a_run_of_its_own() -> None:
    rule = create_rule(create_trigger("event", by="k", once_per="name"))
    evaluator = RuleEvaluator([rule])
    event = create_event(3, {"k": 7, "name": "x"})
    evaluator.process_events([AdmittedEvent(event)])
    firing = evaluator.create_manual_firing("wind", event, to_instant(99), "ana")
    assert (firing.key, firing.time, firing.cause) == (
        "7",
        to_instant(3),
        f"hand:ana:{to_instant(99)}",
    )
    assert firing.manual
    assert firing.once is None
    assert firing.values["name"] == "x"
    assert evaluator.create_manual_firing("wind", None, to_instant(99), "ana").time == to_instant(
        99
    )


def test_history_fills_windows_and_never_fires() -> None:
    rule = create_rule(create_trigger(when='mean(speed, "10s") > 10'))
    evaluator = RuleEvaluator([rule], start=to_instant(20))
    evaluator.backfill_events(create_stream(create_samples(*[HIGH] * 20)))
    assert list_firing_times(evaluator.process_events(create_stream([(20, HIGH)]))) == [20]


def test_downtime_is_no_silence() -> None:
    rule = create_rule(create_trigger("absent", hold="10s"))
    evaluator = RuleEvaluator([rule], start=to_instant(0))
    evaluator.process_events(create_stream([(5, 1)]))
    states = evaluator.snapshot_changed_states()
    restarted = RuleEvaluator([rule], start=to_instant(1000))
    restarted.restore_states(states)
    assert list_firing_times(restarted.run_remaining_timers(to_instant(2000))) == [1010]


@pytest.mark.parametrize(("catch_up", "wanted"), [("skip", [6]), ("run", [5, 6])])
def test_after_downtime_a_schedule_skips_or_catches_up(catch_up: Any, wanted: list[int]) -> None:
    rule = create_rule(create_trigger("schedule", "", schedule="0 * * * *", catch_up=catch_up))
    evaluator = RuleEvaluator([rule], start=30 * MINUTE)
    decisions = evaluator.advance_watermarks({"efd": 2 * HOUR + SECOND})
    assert [decision.time // HOUR for decision in decisions] == [1, 2]
    states = evaluator.snapshot_changed_states()
    restarted = RuleEvaluator([rule], start=5 * HOUR + MINUTE)
    restarted.restore_states(states)
    decisions = restarted.advance_watermarks({"efd": 6 * HOUR + SECOND})
    assert [decision.time // HOUR for decision in decisions] == wanted
