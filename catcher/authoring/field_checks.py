"""Checks rules for fields that their streams do not have, as far as schemas are known."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

from catcher.model.errors import Problem, SourceLocation
from catcher.model.rule import Expression, Rule, TriggerSpec
from catcher.model.suggestions import suggest_names
from catcher.model.telemetry import FieldInfo

TopicFields = Mapping[str, Sequence[FieldInfo]]
_LITERAL_NAMES = frozenset({"true", "false", "True", "False", "None"})


def check_fields(rules: Iterable[Rule], topic_fields: TopicFields) -> list[Problem]:
    """Returns a warning for each field that a topic with a schema lacks, with suggestions."""
    names = {topic: {field.name for field in fields} for topic, fields in topic_fields.items()}
    problems: list[Problem] = []
    for rule in rules:
        for expression, topic in _iter_topic_expressions(rule):
            if topic in names:
                problems += _check_expression_fields(rule, expression, topic, names[topic])
        problems += _check_input_fields(rule, names)
        problems += _check_lookup_fields(rule, names)
    return list(dict.fromkeys(problems))


def _iter_topic_expressions(rule: Rule) -> Iterator[tuple[Expression, str]]:
    """Yields the expressions over the fields of one topic, with the topic."""
    triggers = list(_iter_leaf_triggers(rule.trigger))
    for trigger in triggers:
        for expression in (
            trigger.where, trigger.when, trigger.clear, trigger.by, trigger.once_per,
        ):  # fmt: skip
            if expression is not None:
                yield expression, trigger.topic
        for step in trigger.steps:
            if step.where is not None:
                yield step.where, step.topic
    if rule.alert is not None and rule.job is None and len(triggers) == 1:
        for level in rule.alert.levels.values():
            for expression in (level.when, level.clear):
                if expression is not None:
                    yield expression, triggers[0].topic
    for lookup in rule.reads.values():
        if lookup.where is not None:
            yield lookup.where, lookup.topic
    for input_spec in rule.job.inputs.values() if rule.job else ():
        if input_spec.where is not None and input_spec.topic:
            yield input_spec.where, input_spec.topic


def _iter_leaf_triggers(trigger: TriggerSpec) -> Iterator[TriggerSpec]:
    for member in trigger.any or (trigger,):
        yield from _iter_leaf_triggers(member) if member.any else (member,)


def _extract_variable_names(text: str) -> set[str]:
    """Returns the names in an expression that are no functions."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    function_ids = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and id(node) not in function_ids
    }


def _check_expression_fields(
    rule: Rule, expression: Expression, topic: str, known_fields: set[str]
) -> Iterator[Problem]:
    known_names = {*rule.reads, *rule.let, *rule.constants, *_LITERAL_NAMES}
    for name in sorted(_extract_variable_names(expression.text) - known_names):
        if not _has_field(known_fields, name):
            yield _build_unknown_field_warning(rule, expression.location, name, topic, known_fields)


def _check_input_fields(rule: Rule, names: Mapping[str, set[str]]) -> Iterator[Problem]:
    if rule.job is None:
        return
    for input_spec in rule.job.inputs.values():
        known_fields = names.get(input_spec.topic, set())
        for name in input_spec.fields if known_fields else ():
            if not _has_field(known_fields, name):
                yield _build_unknown_field_warning(
                    rule, rule.job.location, name, input_spec.topic, known_fields
                )


def _check_lookup_fields(rule: Rule, names: Mapping[str, set[str]]) -> Iterator[Problem]:
    """Checks attributes such as `wind.sped` if the topic of the read `wind` has a schema."""
    expressions = [expression for expression, _ in _iter_topic_expressions(rule)] + list(
        rule.let.values()
    )
    for expression in expressions:
        for lookup_name, field in _extract_attribute_pairs(expression.text):
            topic = rule.reads[lookup_name].topic if lookup_name in rule.reads else ""
            if topic in names and not _has_field(names[topic], field):
                yield _build_unknown_field_warning(
                    rule, expression.location, field, topic, names[topic]
                )


def _extract_attribute_pairs(text: str) -> set[tuple[str, str]]:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def _has_field(known_fields: set[str], name: str) -> bool:
    """True if the field exists; an array may be named by its elements, and these by the array."""
    return (
        name in known_fields
        or name.rstrip("0123456789") in known_fields
        or f"{name}0" in known_fields
    )


def _build_unknown_field_warning(
    rule: Rule, location: SourceLocation, name: str, topic: str, known_fields: set[str]
) -> Problem:
    suggestions = suggest_names(name, sorted(known_fields))
    hint = (
        f"did you mean {' or '.join(suggestions)}?"
        if suggestions
        else f"`catcher query fields {topic}` lists them"
    )
    message = f"{topic} has no field {name!r}, as its schema says"
    return Problem(location, message, hint, "warning", rule.id)
