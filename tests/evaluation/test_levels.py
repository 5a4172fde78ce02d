"""How grave things stand: levels rise, drop, last and become unknown."""

from __future__ import annotations

from typing import Any

from catcher.evaluation import RuleEvaluator
from catcher.model.alert import LevelChange, Severity
from catcher.model.event import AdmittedEvent
from catcher.model.rule import AlertSpec, Rule
from catcher.model.run import Firing
from tests.evaluation.rule_builders import (
    WIND,
    create_alert,
    create_event,
    create_level,
    create_rule,
    create_samples,
    create_stream,
    create_trigger,
    list_firing_times,
    list_level_changes,
    run_rules,
    to_instant,
)


def create_telemetry_rule(spec: AlertSpec, **settings: Any) -> Rule:
    """A telemetry rule without a job."""
    return create_rule(create_trigger(**settings), alert=spec)


def test_the_highest_level_that_holds_is_reported_when_it_changes() -> None:
    spec = create_alert(warning=create_level("speed > 10"), critical=create_level("speed > 18"))
    decisions = run_rules(
        create_telemetry_rule(spec), create_stream(create_samples(5, 12, 20, 20, 12, 5))
    )
    assert list_level_changes(decisions) == [
        (1, "warning"),
        (2, "critical"),
        (4, "warning"),
        (5, "none"),
    ]
    assert decisions[1].reason == "speed = 20 > 18"
    assert decisions[2].reason == "cleared: speed = 12 is not > 18"
    assert list_firing_times(decisions) == []


def test_a_level_clears_by_its_own_condition() -> None:
    spec = create_alert(warning=create_level("speed > 10", clear="speed < 9"))
    assert list_level_changes(
        run_rules(create_telemetry_rule(spec), create_stream(create_samples(12, 9.5, 8, 9.5)))
    ) == [
        (0, "warning"),
        (2, "none"),
    ]


def test_a_level_holds_for_a_while_before_it_is_reported() -> None:
    spec = create_alert(warning=create_level("speed > 10", hold="3s", clear_hold="2s"))
    samples = create_samples(12, 12, 5, 12, 12, 12, 12, 5, 12, 5, 5, 5)
    assert list_level_changes(run_rules(create_telemetry_rule(spec), create_stream(samples))) == [
        (6, "warning"),
        (11, "none"),
    ]


def test_in_levels_time_passes_only_at_what_feeds_them() -> None:
    spec = create_alert(warning=create_level("speed > 10", hold="10s"))
    assert (
        list_level_changes(
            run_rules(create_telemetry_rule(spec), create_stream([(0, 12), (9, 12)]), end=60)
        )
        == []
    )
    assert list_level_changes(
        run_rules(create_telemetry_rule(spec), create_stream([(0, 12), (9, 12), (12, 12)]))
    ) == [(12, "warning")]


def test_a_silence_is_no_holding() -> None:
    spec = create_alert(warning=create_level("speed > 10", hold="10s"))
    decisions = run_rules(
        create_telemetry_rule(spec),
        create_stream([(0, 12), (5, 12), (100, 12), (105, 12), (110, 12)]),
    )
    assert list_level_changes(decisions) == [(110, "warning")]


def test_keys_and_instances_are_alerts_of_their_own() -> None:
    spec = create_alert(per="name", warning=create_level("speed > 10"))
    samples = create_samples(
        {"k": 1, "name": "a", "speed": 12},
        {"k": 1, "name": "b", "speed": 12},
        {"k": 2, "name": "a", "speed": 12},
        {"k": 1, "name": "a", "speed": 5},
    )
    decisions = [
        decision
        for decision in run_rules(create_telemetry_rule(spec, by="k"), create_stream(samples))
        if list_level_changes([decision])
    ]
    assert [
        (decision.key, decision.per, decision.severity)
        for decision in decisions
        if isinstance(decision, LevelChange)
    ] == [
        ("1", "a", Severity.WARNING),
        ("1", "b", Severity.WARNING),
        ("2", "a", Severity.WARNING),
        ("1", "a", Severity.NONE),
    ]


def test_unknown_keeps_the_severity_and_says_why() -> None:
    spec = create_alert(warning=create_level("speed > 10"))
    decisions = run_rules(
        create_telemetry_rule(spec), create_stream(create_samples(12, None, None, 12))
    )
    assert list_level_changes(decisions) == [(0, "warning"), (1, "warning?"), (3, "warning")]
    assert decisions[1].reason == "speed > 10 is unknown: speed is missing or not a number"


def test_a_worse_level_that_is_unknown_is_reported_and_a_lesser_one_is_not() -> None:
    unknown_critical = create_alert(
        warning=create_level("speed > 10"), critical=create_level("gust > 10")
    )
    assert list_level_changes(
        run_rules(create_telemetry_rule(unknown_critical), create_stream([(0, {"speed": 12})]))
    ) == [(0, "warning?")]
    unknown_warning = create_alert(
        warning=create_level("gust > 10"), critical=create_level("speed > 10")
    )
    assert list_level_changes(
        run_rules(create_telemetry_rule(unknown_warning), create_stream([(0, {"speed": 12})]))
    ) == [(0, "critical")]


def test_the_values_of_a_message_are_included() -> None:
    rule = create_rule(
        create_trigger(),
        alert=create_alert(warning=create_level("excess > 2")),
        let={"excess": "speed - limit"},
        reads={"dome": ("dome", "", "")},
    )
    rule = create_rule(
        create_trigger("event", "start"),
        job=True,
        arguments={"limit": 10},
        let={"excess": "speed - limit"},
        reads={"dome": ("dome", "", "")},
        alert=create_alert(warning=create_level("excess > 2")),
    )
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(create_stream([(0, {"angle": 30})], "dome"))
    (change,) = evaluator.process_events([create_result(1, {"speed": 15})])
    assert isinstance(change, LevelChange)
    assert change.reason == "speed - 10 = 5 > 2"
    values = {name: change.values[name] for name in ("speed", "excess", "limit", "dome")}
    assert values == {"speed": 15, "excess": 5, "limit": 10, "dome": {"angle": 30}}
    assert (change.run, change.firing) == ("run", "firing")


# -- what ends a level ----------------------------------------------------------------------------


def test_always_holds_from_a_firing_until_the_trigger_is_armed_again() -> None:
    decisions = run_rules(
        create_rule(
            create_trigger(when="speed > 10"), alert=create_alert(serious=create_level(None))
        ),
        create_stream(create_samples(12, 12, 5, 12)),
    )
    assert list_level_changes(decisions) == [(0, "serious"), (2, "none"), (3, "serious")]


def test_the_level_of_an_event_lasts_for_a_while_after_the_last_true_one() -> None:
    rule = create_rule(create_trigger("event"), alert=create_alert(warning=create_level(None)))
    assert list_level_changes(run_rules(rule, create_stream([(0, 1), (60, 1)]), end=1000)) == [
        (0, "warning"),
        (660, "none"),
    ]
    rule = create_rule(
        create_trigger("event"), alert=create_alert(warning=create_level("speed > 1"), lasts="20s")
    )
    decisions = run_rules(
        rule, create_stream([(0, 2), (15, 2), (30, 2), (100, 2), (110, 0)]), end=1000
    )
    assert list_level_changes(decisions) == [
        (0, "warning"),
        (50, "none"),
        (100, "warning"),
        (110, "none"),
    ]


def test_absence_is_an_alert_until_a_message_comes() -> None:
    rule = create_rule(
        create_trigger("absent", hold="10s"), alert=create_alert(critical=create_level(None))
    )
    decisions = run_rules(rule, create_stream([(0, 1), (30, 1)]))
    assert list_level_changes(decisions) == [(10, "critical"), (30, "none")]
    assert decisions[1].reason == f"no {WIND} for 10s"
    assert decisions[2].reason == f"{WIND} came again"


def test_a_schedule_can_evaluate_reads() -> None:
    rule = create_rule(
        create_trigger("every", "", every="10s"),
        reads={"wind": ("wind", "", "")},
        alert=create_alert(warning=create_level("age(wind) > 5"), lasts="1h"),
    )
    decisions = run_rules(rule, create_stream([(0, 1), (8, 1), (12, 1), (28, 1)], "wind"), end=30)
    assert list_level_changes(decisions) == [(20, "warning"), (30, "none")]


# -- levels on results ----------------------------------------------------------------------------


def create_result(
    seconds: float, fields: dict[str, Any], key: str = "", rule: str = "wind"
) -> AdmittedEvent:
    """A result of a rule's job, as the event that it is."""
    origin = {"rule": rule, "key": key, "run": "run", "firing": "firing"}
    return AdmittedEvent(
        create_event(seconds, {**fields, "catcher": origin}, f"catcher.{rule}", "catcher")
    )


def create_job_rule(**settings: Any) -> Rule:
    return create_rule(
        create_trigger(every="1s", when="speed > 8"), job=True, alert=create_alert(**settings)
    )


def test_the_levels_of_a_job_see_its_results() -> None:
    evaluator = RuleEvaluator([create_job_rule(warning=create_level("probability > 0.3"))])
    decisions = evaluator.process_events(create_stream([(0, 12)]))
    assert list_firing_times(decisions) == [0]
    assert list_level_changes(decisions) == []
    assert list_level_changes(
        evaluator.process_events([create_result(0, {"probability": 0.5})])
    ) == [(0, "warning")]
    assert list_level_changes(
        evaluator.process_events([create_result(1, {"probability": None})])
    ) == [(1, "warning?")]
    assert list_level_changes(
        evaluator.process_events([create_result(2, {"probability": 0.1})])
    ) == [(2, "none")]


def test_a_level_drops_when_the_triggers_own_condition_turns_false() -> None:
    evaluator = RuleEvaluator([create_job_rule(warning=create_level("probability > 0.3"))])
    evaluator.process_events([*create_stream([(0, 12)]), create_result(0, {"probability": 0.5})])
    assert list_level_changes(evaluator.process_events(create_stream([(3, 5)]))) == [(3, "none")]


def test_a_late_result_changes_no_alert() -> None:
    evaluator = RuleEvaluator([create_job_rule(warning=create_level("probability > 0.3"))])
    evaluator.process_events(create_stream([(0, 12), (2, 12), (3, 5)]))
    assert evaluator.process_events([create_result(2, {"probability": 0.5})]) == []
    evaluator.process_events([*create_stream([(5, 12)]), create_result(5, {"probability": 0.1})])
    assert evaluator.process_events([create_result(4, {"probability": 0.5})]) == []
    assert evaluator.collect_rule_counts()["wind"]["late_results"] == 2


def test_results_of_one_key_do_not_make_those_of_another_late() -> None:
    evaluator = RuleEvaluator([create_job_rule(warning=create_level("probability > 0.3"))])
    evaluator.process_events([create_result(5, {"probability": 0.1}, "b")])
    assert list_level_changes(
        evaluator.process_events([create_result(4, {"probability": 0.5}, "a")])
    ) == [(4, "warning")]


def test_without_a_fresh_result_an_alert_expires() -> None:
    evaluator = RuleEvaluator(
        [create_job_rule(warning=create_level("probability > 0.3"), expires="15s")]
    )
    evaluator.process_events(
        [create_result(0, {"probability": 0.5}), create_result(10, {"probability": 0.6})]
    )
    (change,) = evaluator.run_remaining_timers(to_instant(60))
    assert change.time == to_instant(25)
    assert change.reason == "no fresh result for 15s: no longer evaluated"


def test_a_hold_over_sparse_results_can_complete() -> None:
    evaluator = RuleEvaluator(
        [create_job_rule(warning=create_level("probability > 0.3", hold="10m"))]
    )
    results = [create_result(300 * index, {"probability": 0.5}) for index in range(4)]
    assert list_level_changes(evaluator.process_events(results)) == [(600, "warning")]


def test_each_exposure_is_an_alert_of_its_own_and_ends_by_itself() -> None:
    rule = create_rule(
        create_trigger("event", once_per="name"),
        job=True,
        alert=create_alert(per="name", warning=create_level("rms > 1"), lasts="60s"),
    )
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(
        [create_result(0, {"name": "a", "rms": 2}), create_result(5, {"name": "b", "rms": 2})]
    )
    evaluator.process_events([create_result(6, {"name": "c", "rms": 0})])
    assert list_level_changes(evaluator.run_remaining_timers(to_instant(100))) == [
        (60, "none"),
        (65, "none"),
    ]
    (state,) = evaluator.snapshot_changed_states()
    assert state.state["cell"]["levels"] == []


def test_a_failed_job_is_a_level_until_the_next_result() -> None:
    evaluator = RuleEvaluator(
        [create_job_rule(warning=create_level("probability > 0.3"), failed=Severity.SERIOUS)]
    )
    (firing,) = evaluator.process_events(create_stream([(0, 12)]))
    assert isinstance(firing, Firing)
    (change,) = evaluator.on_job_failed(firing, "run", "ValueError: no data")
    assert (change.severity, change.run) == (Severity.SERIOUS, "run")
    assert change.reason == "the job failed: ValueError: no data"
    assert list_level_changes(
        evaluator.process_events([create_result(1, {"probability": 0.1})])
    ) == [(1, "none")]
    evaluator_without_failed_level = RuleEvaluator(
        [create_job_rule(warning=create_level("probability > 0.3"))]
    )
    assert evaluator_without_failed_level.on_job_failed(firing, "run", "anything") == []


def test_an_expired_key_resolves_its_alert() -> None:
    spec = create_alert(warning=create_level("speed > 10"))
    rule = create_telemetry_rule(spec, by="k", forget_after="60s")
    evaluator = RuleEvaluator([rule])
    evaluator.process_events(create_stream([(0, {"k": 1, "speed": 12})]))
    assert list_level_changes(evaluator.run_remaining_timers(to_instant(100))) == [(60, "none")]
    assert evaluator.collect_rule_counts()["wind"]["keys"] == 0
