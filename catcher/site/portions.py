"""The section `engine:` of `catcher.yaml`: which rules an engine carries, and what that refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from catcher.model.event import RESULT_PREFIX, is_result
from catcher.model.portion import WHOLE, Portion
from catcher.model.problem import CatcherError, Problem
from catcher.model.rule import Rule, Trigger
from catcher.site.nodes import quoted
from catcher.site.reader import Table
from catcher.watching import SourceClock

STATELESS = ("event", "http", "result")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,39}")
_HINT = "write it like engine: {rules: [wind]}"
_ELSEWHERE = "carry it in an engine of its own: give it a tag, and name that in `engine: rules:`"


def make_portion(
    tags: Iterable[str] = (), without: Iterable[str] = (), shared: bool = False
) -> Portion:
    """What an engine carries; CatcherError where it cannot be said so."""
    mine, others = tuple(sorted(set(tags))), tuple(sorted(set(without)))
    if mine and others:
        raise CatcherError(
            "an engine carries the rules with some tags, or those without some, not both",
            "give one of `rules` and `except`",
        )
    for tag in (*mine, *others):
        if not _TAG.fullmatch(tag):
            raise CatcherError(
                f"{tag!r} cannot be the tag of a portion", "use letters, digits, _ and ."
            )
    if shared and not mine:
        raise CatcherError(
            "an engine that shares its rules says which", "name their tag: rules: [images]"
        )
    return Portion(mine, others, shared)


def read_portion(table: Table, ledger: str, clocks: Mapping[str, SourceClock]) -> Portion:
    """The section, as far as it is good; without one, the whole."""
    below = table.table("engine", hint=_HINT)
    if below is None:
        return WHOLE
    tags, without = below.texts("rules"), below.texts("except")
    shared = below.flag("shared", False)
    below.done()
    try:
        portion = make_portion(tags, without, shared)
    except CatcherError as error:
        below.report.error(below.place, error.message, error.hint)
        return WHOLE
    if portion != WHOLE and ledger != "postgresql":
        below.report.error(
            below.place, "several engines want a ledger that all reach",
            "add stores: {ledger: postgresql://…}",
        )  # fmt: skip
    for name, clock in clocks.items():
        if shared and (clock.reorder or clock.clock == "stream"):
            message = f"the source {quoted(name)} puts events in order, which is state"
            hint = "in a shared engine use clock: wall, and leave out reorder"
            below.report.error(below.place_of("shared"), message, hint)
    return portion


def check_portion(rules: Iterable[Rule], portion: Portion, embedded: bool) -> list[Problem]:
    """What the rules of a portion need that it does not have.

    `embedded` says that the telemetry history is each engine's own.
    """
    if portion == WHOLE:
        return []
    known = {rule.id: rule for rule in rules if rule.id}
    carried = [rule for rule in known.values() if rule.enabled and portion.carries(rule.tags)]
    found = []
    for rule in carried:
        for origin in _origins(rule.trigger):
            other = known.get(origin)
            if other is not None and not portion.carries(other.tags):
                message = f"it listens to the results of {origin}, which another engine carries"
                found.append(Problem(rule.place, message, "give both the same tag", rule=rule.id))
        if portion.shared:
            for words in _state_of(rule, embedded):
                message = f"this engine shares its rules with others, and {words}"
                found.append(Problem(rule.place, message, _ELSEWHERE, rule=rule.id))
    return found


def _state_of(rule: Rule, embedded: bool) -> Iterator[str]:
    """What a rule keeps from one event to the next, in words."""
    for trigger in _leaves(rule.trigger):
        if trigger.kind not in STATELESS:
            yield f"a trigger `{trigger.kind}` keeps state from one event to the next"
        elif trigger.when or trigger.every or trigger.hold or trigger.clear or trigger.clear_hold:
            yield "`when`, `every` and `for` keep state from one event to the next"
    if rule.reads:
        yield "`reads` remember the latest event of another topic"
    if rule.alert is not None:
        yield "an alert has a life, which one engine has to see to"
    inputs = rule.job.inputs.values() if rule.job else ()
    if embedded and any(one.topic for one in inputs):
        yield "the job's telemetry lies in the history of one of them (name one that all reach)"


def _leaves(trigger: Trigger) -> Iterator[Trigger]:
    if trigger.kind == "any":
        for one in trigger.any:
            yield from _leaves(one)
    else:
        yield trigger


def _origins(trigger: Trigger) -> Iterator[str]:
    for leaf in _leaves(trigger):
        for topic in (leaf.topic, *(step.topic for step in leaf.steps)):
            if is_result(topic):
                yield topic.removeprefix(RESULT_PREFIX)
