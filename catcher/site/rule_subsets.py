"""Reads the section `engine:` of `catcher.yaml`: an engine's rules, and what that excludes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from catcher.evaluation import SourceClock
from catcher.model.errors import CatcherError, Problem
from catcher.model.event import RESULT_PREFIX, is_result_topic
from catcher.model.rule import Rule, TriggerSpec
from catcher.model.rule_subset import ALL_RULES, RuleSubset
from catcher.site.mapping_reader import MappingReader
from catcher.site.yaml_tree import quote_text

STATELESS_KINDS = ("event", "http", "result")
_TAG_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,39}")
_ENGINE_HINT = "write it like engine: {rules: [wind]}"
_DEDICATED_ENGINE_HINT = (
    "carry it in an engine of its own: give it a tag, and name that in `engine: rules:`"
)


def create_rule_subset(
    tags: Iterable[str] = (), excluded_tags: Iterable[str] = (), is_shared: bool = False
) -> RuleSubset:
    """Creates the rule subset of an engine. Raises CatcherError if the arguments contradict."""
    included, excluded = tuple(sorted(set(tags))), tuple(sorted(set(excluded_tags)))
    if included and excluded:
        raise CatcherError(
            "an engine carries the rules with some tags, or those without some, not both",
            "give one of `rules` and `except`",
        )
    for tag in (*included, *excluded):
        if not _TAG_PATTERN.fullmatch(tag):
            raise CatcherError(
                f"{tag!r} cannot be the tag of a portion", "use letters, digits, _ and ."
            )
    if is_shared and not included:
        raise CatcherError(
            "an engine that shares its rules says which", "name their tag: rules: [images]"
        )
    return RuleSubset(included, excluded, is_shared)


def parse_rule_subset(
    reader: MappingReader, ledger: str, clocks: Mapping[str, SourceClock]
) -> RuleSubset:
    """Reads the section as far as it is valid; without one, the subset is all rules."""
    child = reader.get_child_reader("engine", hint=_ENGINE_HINT)
    if child is None:
        return ALL_RULES
    tags, excluded_tags = child.read_text_list("rules"), child.read_text_list("except")
    is_shared = child.read_bool("shared", False)
    child.check_keys()
    try:
        rule_subset = create_rule_subset(tags, excluded_tags, is_shared)
    except CatcherError as error:
        child.collector.add_error(child.location, error.message, error.hint)
        return ALL_RULES
    if rule_subset != ALL_RULES and ledger != "postgresql":
        child.collector.add_error(
            child.location, "several engines want a ledger that all reach",
            "add stores: {ledger: postgresql://…}",
        )  # fmt: skip
    for name, clock in clocks.items():
        if is_shared and (clock.reorder or clock.clock == "stream"):
            message = f"the source {quote_text(name)} puts events in order, which is state"
            hint = "in a shared engine use clock: wall, and leave out reorder"
            child.collector.add_error(child.value_location("shared"), message, hint)
    return rule_subset


def check_rule_subset(
    rules: Iterable[Rule], rule_subset: RuleSubset, has_embedded_history: bool
) -> list[Problem]:
    """Reports what the rules of a subset need that it does not have.
    `has_embedded_history` means that the telemetry history is each engine's own.
    """
    if rule_subset == ALL_RULES:
        return []
    rules_by_id = {rule.id: rule for rule in rules if rule.id}
    included_rules = [
        rule
        for rule in rules_by_id.values()
        if rule.enabled and rule_subset.includes_rule_with_tags(rule.tags)
    ]
    problems = []
    for rule in included_rules:
        for source_id in _iter_upstream_rules(rule.trigger):
            source_rule = rules_by_id.get(source_id)
            if source_rule is not None and not rule_subset.includes_rule_with_tags(
                source_rule.tags
            ):
                message = f"it listens to the results of {source_id}, which another engine carries"
                problems.append(
                    Problem(rule.location, message, "give both the same tag", rule=rule.id)
                )
        if rule_subset.shared:
            for reason in _iter_state_reasons(rule, has_embedded_history):
                message = f"this engine shares its rules with others, and {reason}"
                problems.append(
                    Problem(rule.location, message, _DEDICATED_ENGINE_HINT, rule=rule.id)
                )
    return problems


def _iter_state_reasons(rule: Rule, has_embedded_history: bool) -> Iterator[str]:
    """Yields what state a rule keeps from one event to the next, as messages."""
    for trigger in _iter_leaf_triggers(rule.trigger):
        if trigger.kind not in STATELESS_KINDS:
            yield f"a trigger `{trigger.kind}` keeps state from one event to the next"
        elif trigger.when or trigger.every or trigger.hold or trigger.clear or trigger.clear_hold:
            yield "`when`, `every` and `for` keep state from one event to the next"
    if rule.reads:
        yield "`reads` remember the latest event of another topic"
    if rule.alert is not None:
        yield "an alert has a life, which one engine has to see to"
    inputs = rule.job.inputs.values() if rule.job else ()
    if has_embedded_history and any(input_spec.topic for input_spec in inputs):
        yield "the job's telemetry lies in the history of one of them (name one that all reach)"


def _iter_leaf_triggers(trigger: TriggerSpec) -> Iterator[TriggerSpec]:
    if trigger.kind == "any":
        for member in trigger.any:
            yield from _iter_leaf_triggers(member)
    else:
        yield trigger


def _iter_upstream_rules(trigger: TriggerSpec) -> Iterator[str]:
    for leaf in _iter_leaf_triggers(trigger):
        for topic in (leaf.topic, *(step.topic for step in leaf.steps)):
            if is_result_topic(topic):
                yield topic.removeprefix(RESULT_PREFIX)
