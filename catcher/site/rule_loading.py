"""Loads the rules of a site: reads and checks each, and sorts them into valid and broken."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from catcher.alerting.templates import check_template
from catcher.evaluation import check_rule
from catcher.jobs.registry import Registry
from catcher.model.errors import Problem, SourceLocation
from catcher.model.rule import Expression, Rule, TriggerSpec
from catcher.site.rules import get_rule_id, parse_rule
from catcher.site.yaml_loader import YamlDocument
from catcher.site.yaml_tree import ProblemCollector

_RULE_ID_PATTERN = re.compile(r"^rule:[ \t]*([A-Za-z0-9][\w-]{0,99})", re.MULTILINE | re.ASCII)


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule with errors, which does not run; `id` is empty if not even that could be read."""

    id: str
    location: SourceLocation
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A document of a rule file. `rule` is what could be read of it, None if nothing could.
    `is_complete` is True if the document was read without an error.
    """

    document: YamlDocument
    id: str
    rule: Rule | None
    location: SourceLocation
    is_complete: bool


def load_rule_document(document: YamlDocument, collector: ProblemCollector) -> LoadedDocument:
    """Reads a document, and adds all its problems to `collector`."""
    name = get_rule_id(document.node)
    if document.node is None and (match := _RULE_ID_PATTERN.search(document.chunk)):
        name = match[1]
    own_collector = ProblemCollector(rule=name)
    own_collector.problems += [replace(problem, rule=name) for problem in document.problems]
    rule = None if document.node is None else parse_rule(document.node, own_collector)
    location = rule.location if rule else document.location
    collector.problems += own_collector.problems
    return LoadedDocument(document, name, rule, location, own_collector.count_errors() == 0)


def check_rule_document(loaded_document: LoadedDocument, registry: Registry) -> list[Problem]:
    """Returns the problems of a rule by itself: of its expressions, its job, its message.
    If a rule was only read in part, problems outside of expressions are left out: they may come
    from what is missing.
    """
    rule = loaded_document.rule
    if rule is None:
        return []
    problems = check_rule(rule)
    if not loaded_document.is_complete:
        expressions_by_line: dict[tuple[str, int], list[Expression]] = {}
        for expression in iter_expressions(rule):
            expressions_by_line.setdefault(
                (expression.location.file, expression.location.line), []
            ).append(expression)
        problems = [
            problem
            for problem in problems
            if any(
                _contains_problem(expression, problem)
                for expression in expressions_by_line.get(
                    (problem.location.file, problem.location.line), ()
                )
            )
        ]
    if rule.job and (loaded_document.is_complete or rule.job.run):
        problems += registry.check_rule(rule)
    if rule.alert and rule.alert.message:
        problems += check_template_text(rule.alert.message, rule.alert.message_location)
    return [replace(problem, rule=rule.id) for problem in problems]


def check_template_text(text: str, start_location: SourceLocation) -> list[Problem]:
    """Returns the problems of a template that begins at a location."""
    problems = []
    for line, error_text in check_template(text):
        message, _, hint = error_text.partition("; ")
        column = start_location.column if line <= 1 else 1
        location = SourceLocation(
            start_location.file, start_location.line + max(line, 1) - 1, column
        )
        problems.append(Problem(location, message, hint))
    return problems


def partition_rules(
    loaded_documents: Iterable[LoadedDocument], problems: Iterable[Problem]
) -> tuple[dict[str, Rule], list[BrokenRule]]:
    """Returns the valid rules by id, and the broken ones with their errors.
    `problems` are sorted by location.
    """
    errors: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.severity == "error":
            errors.setdefault(problem.rule, []).append(problem)
    unnamed_errors = errors.get("", [])
    locations = [problem.location for problem in unnamed_errors]
    good_rules, broken_rules = {}, []
    for loaded_document in loaded_documents:
        rule_errors = (
            errors.get(loaded_document.id, [])
            if loaded_document.id
            else unnamed_errors[_find_problem_range(loaded_document, locations)]
        )
        if loaded_document.is_complete and not rule_errors and loaded_document.rule is not None:
            good_rules[loaded_document.id] = loaded_document.rule
        else:
            broken_rules.append(
                BrokenRule(loaded_document.id, loaded_document.location, tuple(rule_errors))
            )
    return good_rules, broken_rules


def _find_problem_range(loaded_document: LoadedDocument, locations: list[SourceLocation]) -> slice:
    """Returns which of the sorted locations are in a document."""
    start_location = loaded_document.location
    last_line = start_location.line + loaded_document.document.chunk.count("\n")
    lower, upper = (
        SourceLocation(start_location.file, start_location.line),
        SourceLocation(start_location.file, last_line + 1),
    )
    return slice(bisect_left(locations, lower), bisect_left(locations, upper))


def iter_expressions(rule: Rule) -> Iterator[Expression]:
    """Yields every expression of a rule."""
    yield from _iter_trigger_expressions(rule.trigger)
    expressions = [*rule.let.values(), *(lookup.where for lookup in rule.reads.values())]
    for input_spec in rule.job.inputs.values() if rule.job else ():
        expressions += [input_spec.where, input_spec.start, input_spec.end]
    if rule.alert:
        expressions.append(rule.alert.per)
        for level in rule.alert.levels.values():
            expressions += [level.when, level.clear]
    yield from (expression for expression in expressions if expression is not None)


def _iter_trigger_expressions(trigger: TriggerSpec) -> Iterator[Expression]:
    expressions = (trigger.where, trigger.when, trigger.clear, trigger.by, trigger.once_per)
    yield from (
        expression
        for expression in (*expressions, *(step.where for step in trigger.steps))
        if expression
    )
    for member in trigger.any:
        yield from _iter_trigger_expressions(member)


def _contains_problem(expression: Expression, problem: Problem) -> bool:
    """True if a problem in the line of an expression is inside its text."""
    return 0 <= problem.location.column - expression.location.column <= len(expression.text)
