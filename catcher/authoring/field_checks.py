"""Fields that a rule names and that its streams do not have, as far as these are described."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

from catcher.model.naming import meant
from catcher.model.problem import Place, Problem
from catcher.model.rule import Expr, Rule, Trigger
from catcher.model.telemetry import FieldInfo

Described = Mapping[str, Sequence[FieldInfo]]
_ALWAYS = frozenset({"true", "false", "True", "False", "None"})


def check_fields(rules: Iterable[Rule], described: Described) -> list[Problem]:
    """A warning for each field that a described topic does not have, with what was meant."""
    names = {topic: {one.name for one in fields} for topic, fields in described.items()}
    found: list[Problem] = []
    for rule in rules:
        for expr, topic in _expressions(rule):
            if topic in names:
                found += _unknown(rule, expr, topic, names[topic])
        found += _inputs(rule, names)
        found += _reads(rule, names)
    return list(dict.fromkeys(found))


def _expressions(rule: Rule) -> Iterator[tuple[Expr, str]]:
    """Expressions over the fields of one topic."""
    triggers = list(_leaves(rule.trigger))
    for trigger in triggers:
        for expr in (
            trigger.where, trigger.when, trigger.clear, trigger.by, trigger.once_per,
        ):  # fmt: skip
            if expr is not None:
                yield expr, trigger.topic
        for step in trigger.steps:
            if step.where is not None:
                yield step.where, step.topic
    if rule.alert is not None and rule.job is None and len(triggers) == 1:
        for level in rule.alert.levels.values():
            for expr in (level.when, level.clear):
                if expr is not None:
                    yield expr, triggers[0].topic
    for read in rule.reads.values():
        if read.where is not None:
            yield read.where, read.topic
    for one in rule.job.inputs.values() if rule.job else ():
        if one.where is not None and one.topic:
            yield one.where, one.topic


def _leaves(trigger: Trigger) -> Iterator[Trigger]:
    for one in trigger.any or (trigger,):
        yield from _leaves(one) if one.any else (one,)


def _names(text: str) -> set[str]:
    """The names in an expression that are no functions."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called
    }


def _unknown(rule: Rule, expr: Expr, topic: str, known: set[str]) -> Iterator[Problem]:
    own = {*rule.reads, *rule.let, *rule.constants, *_ALWAYS}
    for name in sorted(_names(expr.text) - own):
        if not _has(known, name):
            yield _problem(rule, expr.place, name, topic, known)


def _inputs(rule: Rule, names: Mapping[str, set[str]]) -> Iterator[Problem]:
    if rule.job is None:
        return
    for one in rule.job.inputs.values():
        known = names.get(one.topic, set())
        for name in one.fields if known else ():
            if not _has(known, name):
                yield _problem(rule, rule.job.place, name, one.topic, known)


def _reads(rule: Rule, names: Mapping[str, set[str]]) -> Iterator[Problem]:
    """`wind.sped` where the topic of the read `wind` is described."""
    exprs = [expr for expr, _ in _expressions(rule)] + list(rule.let.values())
    for expr in exprs:
        for read, field in _attributes(expr.text):
            topic = rule.reads[read].topic if read in rule.reads else ""
            if topic in names and not _has(names[topic], field):
                yield _problem(rule, expr.place, field, topic, names[topic])


def _attributes(text: str) -> set[tuple[str, str]]:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def _has(known: set[str], name: str) -> bool:
    """An array may be named by its places, and flattened ones by what they are places of."""
    return name in known or name.rstrip("0123456789") in known or f"{name}0" in known


def _problem(rule: Rule, place: Place, name: str, topic: str, known: set[str]) -> Problem:
    near = meant(name, sorted(known))
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"`catcher query fields {topic}` lists them"
    )
    message = f"{topic} has no field {name!r}, as its schema says"
    return Problem(place, message, hint, "warning", rule.id)
