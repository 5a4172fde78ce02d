"""The rules of a site on their way: read, checked one by one, sorted into good and broken."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from catcher.alerting.rendering import check_template
from catcher.model.problem import Place, Problem
from catcher.model.rule import Expr, Rule, Trigger
from catcher.site.nodes import Report
from catcher.site.rules import read_rule, rule_id
from catcher.site.strict import Document
from catcher.watching import check_rule
from catcher.working.registry import Registry

_CLAIMED = re.compile(r"^rule:[ \t]*([A-Za-z0-9][\w-]{0,99})", re.MULTILINE | re.ASCII)


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A rule that was set aside; `id` is empty where it could not even be told."""

    id: str
    place: Place
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A document of a rule file. `rule` is what could be read of it, None if nothing could.

    `whole` says that the document was read without an error.
    """

    document: Document
    id: str
    rule: Rule | None
    place: Place
    whole: bool


def read_draft(document: Document, report: Report) -> Draft:
    """Reads a document, with all that is wrong in it put into the report."""
    name = rule_id(document.node)
    if document.node is None and (claimed := _CLAIMED.search(document.chunk)):
        name = claimed[1]
    own = Report(rule=name)
    own.problems += [replace(one, rule=name) for one in document.problems]
    rule = None if document.node is None else read_rule(document.node, own)
    place = rule.place if rule else document.place
    report.problems += own.problems
    return Draft(document, name, rule, place, own.errors() == 0)


def check_draft(draft: Draft, registry: Registry) -> list[Problem]:
    """What is wrong with a rule by itself: its expressions, its job, its message.

    Of a rule that was only read in part, what is said about anything but an expression may come
    from what is missing; it is left out.
    """
    rule = draft.rule
    if rule is None:
        return []
    found = check_rule(rule)
    if not draft.whole:
        lines: dict[tuple[str, int], list[Expr]] = {}
        for expr in expressions(rule):
            lines.setdefault((expr.place.file, expr.place.line), []).append(expr)
        found = [
            one
            for one in found
            if any(_holds(expr, one) for expr in lines.get((one.place.file, one.place.line), ()))
        ]
    if rule.job and (draft.whole or rule.job.run):
        found += registry.check(rule)
    if rule.alert and rule.alert.message:
        found += check_text(rule.alert.message, rule.alert.message_place)
    return [replace(one, rule=rule.id) for one in found]


def check_text(text: str, start: Place) -> list[Problem]:
    """What is wrong with a template that begins at a place."""
    found = []
    for line, words in check_template(text):
        message, _, hint = words.partition("; ")
        column = start.column if line <= 1 else 1
        place = Place(start.file, start.line + max(line, 1) - 1, column)
        found.append(Problem(place, message, hint))
    return found


def sort_out(
    drafts: Iterable[Draft], problems: Iterable[Problem]
) -> tuple[dict[str, Rule], list[BrokenRule]]:
    """The good rules by id, and the broken ones with their errors, from problems by place."""
    errors: dict[str, list[Problem]] = {}
    for one in problems:
        if one.severity == "error":
            errors.setdefault(one.rule, []).append(one)
    nameless = errors.get("", [])
    places = [one.place for one in nameless]
    good, broken = {}, []
    for draft in drafts:
        own = errors.get(draft.id, []) if draft.id else nameless[_within(draft, places)]
        if draft.whole and not own and draft.rule is not None:
            good[draft.id] = draft.rule
        else:
            broken.append(BrokenRule(draft.id, draft.place, tuple(own)))
    return good, broken


def _within(draft: Draft, places: list[Place]) -> slice:
    """Which of the sorted places lie in a document."""
    first = draft.place
    last = first.line + draft.document.chunk.count("\n")
    start, end = Place(first.file, first.line), Place(first.file, last + 1)
    return slice(bisect_left(places, start), bisect_left(places, end))


def expressions(rule: Rule) -> Iterator[Expr]:
    """Every expression of a rule."""
    yield from _of_trigger(rule.trigger)
    found = [*rule.let.values(), *(read.where for read in rule.reads.values())]
    for one in rule.job.inputs.values() if rule.job else ():
        found += [one.where, one.start, one.end]
    if rule.alert:
        found.append(rule.alert.per)
        for level in rule.alert.levels.values():
            found += [level.when, level.clear]
    yield from (expr for expr in found if expr is not None)


def _of_trigger(trigger: Trigger) -> Iterator[Expr]:
    own = (trigger.where, trigger.when, trigger.clear, trigger.by, trigger.once_per)
    yield from (expr for expr in (*own, *(step.where for step in trigger.steps)) if expr)
    for member in trigger.any:
        yield from _of_trigger(member)


def _holds(expr: Expr, problem: Problem) -> bool:
    """Whether a problem in the line of an expression is one in its text."""
    return 0 <= problem.place.column - expr.place.column <= len(expr.text)
