"""What happens around the stream of events: edits, history at the start, questions, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from catcher.evaluation import RuleEvaluator
from catcher.model.alert import LevelChange, Severity
from catcher.model.event import AdmittedEvent
from catcher.model.rule import Expression, Rule, TriggerSpec
from catcher.site import load_site_folder
from tests.oracle.conditions import stateful_conditions
from tests.oracle.hypothesis_settings import property_settings
from tests.oracle.oracle import compute_firings
from tests.oracle.recording import Recording
from tests.oracle.simulation import Decision, describe_decisions, extract_firings, run_rules
from tests.oracle.strategies import (
    alert_rules,
    always_rules,
    expiring_key_rules,
    firing_rules,
    job_rules,
)
from tests.oracle.streams import MAIN, event_streams
from tests.oracle.yaml_text import format_report, rule_to_yaml

rules = st.one_of(firing_rules(), alert_rules(), always_rules(), expiring_key_rules())
event_indexes = st.sets(st.integers(0, 40), max_size=6)


def run_with_edits(
    rule: Rule, other_rule: Rule, stream: Sequence[AdmittedEvent], edits: set[int]
) -> list[Decision]:
    """Now and then the rule's words are edited, and another rule comes or goes."""
    evaluator = RuleEvaluator([rule])
    decisions: list[Decision] = []
    for index, item in enumerate(stream):
        if index in edits:
            other_rules = [other_rule] if index % 2 else []
            decisions += evaluator.replace_rules(
                [*other_rules, replace(rule, about=f"edited at {index}")]
            )
        decisions += evaluator.process_events([item])
    return decisions + evaluator.run_remaining_timers(max(item.event.time for item in stream))


@property_settings(100)
@given(rules, rules, event_streams(), event_indexes)
def test_an_edit_of_its_description_or_of_another_rule_leaves_a_rule_alone(
    rule: Rule, other_rule: Rule, stream: list[AdmittedEvent], edits: set[int]
) -> None:
    decisions = run_with_edits(rule, replace(other_rule, id="other"), stream, edits)
    own_decisions = [decision for decision in decisions if decision.rule == rule.id]
    expected_decisions = run_rules([rule], stream)

    assert describe_decisions(own_decisions) == describe_decisions(expected_decisions), (
        format_report(rule, stream)
    )


@property_settings(100)
@given(st.one_of(alert_rules(), always_rules()), event_streams())
def test_deleting_a_rule_resolves_its_alerts(rule: Rule, stream: list[AdmittedEvent]) -> None:
    evaluator = RuleEvaluator([rule])
    changes = [
        decision
        for decision in evaluator.process_events(stream)
        if isinstance(decision, LevelChange)
    ]
    last_severities = {change.alert_id: change.severity for change in changes}
    active_alerts = {
        alert for alert, severity in last_severities.items() if severity > Severity.NONE
    }

    final_changes = evaluator.replace_rules([])

    resolved = {change.alert_id for change in final_changes if change.severity is Severity.NONE}
    assert active_alerts <= resolved <= set(last_severities) | active_alerts, format_report(
        rule, stream
    )
    assert evaluator.process_events(stream) == []


@property_settings(150)
@given(stateful_conditions(), event_streams(topics=(MAIN,)), st.integers(1, 40))
def test_history_fills_windows_and_never_fires(
    when: str, stream: list[AdmittedEvent], start_index: int
) -> None:
    trigger = TriggerSpec("telemetry", MAIN, when=Expression(when), every=1)
    rule = Rule("rule", trigger)
    now = stream[min(start_index, len(stream) - 1)].event.time
    past_events = [item for item in stream if item.event.time < now]
    evaluator = RuleEvaluator([rule])

    evaluator.backfill_events(past_events)
    decisions = evaluator.process_events(stream[len(past_events) :])

    expected_firings = [
        firing
        for firing in compute_firings(rule, Recording.from_events(stream))
        if firing.time >= now
    ]
    assert extract_firings(decisions) == expected_firings, format_report(rule, stream)


@property_settings(100)
@given(rules, event_streams(disorder=True), event_indexes)
def test_explaining_changes_nothing(
    rule: Rule, stream: list[AdmittedEvent], explained_at: set[int]
) -> None:
    evaluator = RuleEvaluator([rule])
    decisions: list[Decision] = []
    for index, item in enumerate(stream):
        if index in explained_at:
            evaluator.explain_rule(rule.id)
            evaluator.explain_rule(rule.id, item.event.time)
            evaluator.collect_rule_counts()
            evaluator.next_timer_due()
        decisions += evaluator.process_events([item])
    decisions += evaluator.run_remaining_timers(max(item.event.time for item in stream))

    assert describe_decisions(decisions) == describe_decisions(run_rules([rule], stream)), (
        format_report(rule, stream)
    )


@property_settings(6, shrink=False)
@given(st.lists(st.one_of(rules, job_rules()), min_size=40, max_size=40))
def test_rules_are_unchanged_by_a_round_trip_through_files(
    tmp_path_factory: object, drawn_rules: list[Rule]
) -> None:
    result_source = Rule("rule-0", TriggerSpec("event", MAIN))
    other_rules = [
        replace(rule, id=f"rule-{number}") for number, rule in enumerate(drawn_rules, start=1)
    ]
    rules_by_id = {rule.id: rule for rule in [result_source, *other_rules]}
    site_root = tmp_path_factory.mktemp("site")  # type: ignore[attr-defined]
    write_site(site_root, list(rules_by_id.values()))

    site = load_site_folder(site_root, {})

    assert [problem for problem in site.problems if problem.severity == "error"] == []
    for name, rule in rules_by_id.items():
        loaded_rule = site.rules[name]
        assert loaded_rule.trigger == rule.trigger, rule_to_yaml(rule)
        assert (loaded_rule.reads, loaded_rule.let) == (rule.reads, rule.let), rule_to_yaml(rule)
        assert (loaded_rule.alert is None) == (rule.alert is None)
        if loaded_rule.alert and rule.alert:
            assert loaded_rule.alert.levels == rule.alert.levels, rule_to_yaml(rule)
            assert (loaded_rule.alert.lasts, loaded_rule.alert.expires) == (
                rule.alert.lasts,
                rule.alert.expires,
            )


def write_site(site_root: Path, site_rules: Sequence[Rule]) -> None:
    """A site of these rules, with the job that some of them run."""
    for folder in ("rules", "jobs", "alerts"):
        (site_root / folder).mkdir()
    (site_root / "catcher.yaml").write_text("site: oracle\n")
    (site_root / "rules" / "all.yaml").write_text(
        "\n---\n".join(rule_to_yaml(rule) for rule in site_rules)
    )
    (site_root / "jobs" / "score_it.py").write_text(
        "from catcher import Result, job\n\n\n@job\ndef score_it() -> Result:\n"
        '    """Scores nothing."""\n    return Result(metrics={"score": 1.0})\n'
    )
