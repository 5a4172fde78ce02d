"""What happens around the stream of events: edits, history at the start, questions, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from catcher.model.alert import LevelChange, Severity
from catcher.model.event import Admitted
from catcher.model.rule import Expr, Rule, Trigger
from catcher.site import load
from catcher.watching import Network
from tests.oracle.conditions import conditions
from tests.oracle.driving import Decision, decided, firings_in, in_words
from tests.oracle.effort import effort
from tests.oracle.oracle import firings
from tests.oracle.strategies import (
    alert_rules,
    always_rules,
    firing_rules,
    forgetful_rules,
    job_rules,
)
from tests.oracle.streams import MAIN, streams
from tests.oracle.watched import Watched
from tests.oracle.yaml_text import as_text, as_yaml

rules = st.one_of(firing_rules(), alert_rules(), always_rules(), forgetful_rules())
places = st.sets(st.integers(0, 40), max_size=6)


def decided_with_edits(
    rule: Rule, other: Rule, stream: Sequence[Admitted], edits: set[int]
) -> list[Decision]:
    """Now and then the rule's words are edited, and another rule comes or goes."""
    network = Network([rule])
    found: list[Decision] = []
    for place, item in enumerate(stream):
        if place in edits:
            company = [other] if place % 2 else []
            found += network.swap([*company, replace(rule, about=f"edited at {place}")])
        found += network.feed([item])
    return found + network.finish(max(item.event.time for item in stream))


@effort(100)
@given(rules, rules, streams(), places)
def test_an_edit_of_its_words_or_of_another_rule_leaves_a_rule_alone(
    rule: Rule, other: Rule, stream: list[Admitted], edits: set[int]
) -> None:
    found = decided_with_edits(rule, replace(other, id="other"), stream, edits)
    mine = [each for each in found if each.rule == rule.id]
    undisturbed = decided([rule], stream)

    assert in_words(mine) == in_words(undisturbed), as_text(rule, stream)


@effort(100)
@given(st.one_of(alert_rules(), always_rules()), streams())
def test_deleting_a_rule_resolves_its_alerts(rule: Rule, stream: list[Admitted]) -> None:
    network = Network([rule])
    changes = [each for each in network.feed(stream) if isinstance(each, LevelChange)]
    last = {change.alert: change.severity for change in changes}
    standing = {alert for alert, severity in last.items() if severity > Severity.NONE}

    ended = network.swap([])

    resolved = {change.alert for change in ended if change.severity is Severity.NONE}
    assert standing <= resolved <= set(last) | standing, as_text(rule, stream)
    assert network.feed(stream) == []


@effort(150)
@given(conditions(), streams(topics=(MAIN,)), st.integers(1, 40))
def test_history_fills_windows_and_never_fires(when: str, stream: list[Admitted], cut: int) -> None:
    trigger = Trigger("telemetry", MAIN, when=Expr(when), every=1)
    rule = Rule("rule", trigger)
    now = stream[min(cut, len(stream) - 1)].event.time
    past = [item for item in stream if item.event.time < now]
    network = Network([rule])

    network.prime(past)
    found = network.feed(stream[len(past) :])

    expected = [each for each in firings(rule, Watched.of(stream)) if each.time >= now]
    assert firings_in(found) == expected, as_text(rule, stream)


@effort(100)
@given(rules, streams(disorder=True), places)
def test_asking_why_changes_nothing(rule: Rule, stream: list[Admitted], asked: set[int]) -> None:
    network = Network([rule])
    found: list[Decision] = []
    for place, item in enumerate(stream):
        if place in asked:
            network.explain(rule.id)
            network.explain(rule.id, item.event.time)
            network.counts()
            network.next_timer()
        found += network.feed([item])
    found += network.finish(max(item.event.time for item in stream))

    assert in_words(found) == in_words(decided([rule], stream)), as_text(rule, stream)


@effort(6, shrink=False)
@given(st.lists(st.one_of(rules, job_rules()), min_size=40, max_size=40))
def test_rules_come_through_their_files_unchanged(
    tmp_path_factory: object, several: list[Rule]
) -> None:
    first = Rule("rule-0", Trigger("event", MAIN))
    rest = [replace(rule, id=f"rule-{number}") for number, rule in enumerate(several, start=1)]
    named = {rule.id: rule for rule in [first, *rest]}
    root = tmp_path_factory.mktemp("site")  # type: ignore[attr-defined]
    write_site(root, list(named.values()))

    site = load(root, {})

    assert [problem for problem in site.problems if problem.severity == "error"] == []
    for name, rule in named.items():
        again = site.rules[name]
        assert again.trigger == rule.trigger, as_yaml(rule)
        assert (again.reads, again.let) == (rule.reads, rule.let), as_yaml(rule)
        assert (again.alert is None) == (rule.alert is None)
        if again.alert and rule.alert:
            assert again.alert.levels == rule.alert.levels, as_yaml(rule)
            assert (again.alert.lasts, again.alert.expires) == (
                rule.alert.lasts,
                rule.alert.expires,
            )


def write_site(root: Path, several: Sequence[Rule]) -> None:
    """A site of these rules, with the job that some of them run."""
    for folder in ("rules", "jobs", "alerts"):
        (root / folder).mkdir()
    (root / "catcher.yaml").write_text("site: oracle\n")
    (root / "rules" / "all.yaml").write_text("\n---\n".join(as_yaml(rule) for rule in several))
    (root / "jobs" / "score_it.py").write_text(
        "from catcher import Result, job\n\n\n@job\ndef score_it() -> Result:\n"
        '    """Scores nothing."""\n    return Result(metrics={"score": 1.0})\n'
    )
