"""Checks a rule's trigger, levels and expressions: what is wrong, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator

from catcher.evaluation.compiled_rule import TIMED_KINDS, flatten_any_triggers
from catcher.evaluation.cron import CronSchedule, ScheduleError
from catcher.evaluation.rule_compiler import compile_rule
from catcher.model.errors import Problem, SourceLocation
from catcher.model.rule import AlertSpec, Rule, TriggerSpec

Finding = tuple[SourceLocation, str, str]
EVENT_KINDS = frozenset(("event", "telemetry", "result", "http"))


def check_rule(rule: Rule) -> list[Problem]:
    """Returns all problems of a rule's expressions, names, trigger and levels, by location."""
    problems = list(compile_rule(rule).problems)
    for trigger in flatten_any_triggers(rule.trigger):
        for location, message, hint in _check_trigger(trigger, rule.location):
            problems.append(Problem(location, message, hint, rule=rule.id))
    for location, message, hint in _check_structure(rule):
        problems.append(Problem(location, message, hint, rule=rule.id))
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.location, problem.message))


def rule_fingerprint(rule: Rule) -> str:
    """Returns a digest of the meaning of a rule's trigger and levels, which identifies saved state.

    Messages, routes, owners and other rules do not change it.
    """
    return compile_rule(rule).fingerprint


def _check_trigger(trigger: TriggerSpec, rule_location: SourceLocation) -> Iterator[Finding]:
    yield from _check_required(trigger, rule_location)
    if trigger.kind in EVENT_KINDS:
        yield from _check_edge(trigger, rule_location)
    elif trigger.kind != "absent" and (trigger.hold or trigger.clear or trigger.clear_hold):
        yield (
            rule_location,
            f"a trigger of kind {trigger.kind} has no `for` or `clear`",
            "leave it out",
        )
    if trigger.kind in TIMED_KINDS:
        yield from _check_timed(trigger, rule_location)
    if trigger.kind == "sequence" and trigger.when is not None:
        yield trigger.when.location, "a sequence has no `when`", "give its steps a `where`"


def _check_required(trigger: TriggerSpec, rule_location: SourceLocation) -> Iterator[Finding]:
    """Yields missing values that a kind requires."""
    kind = trigger.kind
    if kind in EVENT_KINDS | {"absent"} and not trigger.topic:
        yield (
            rule_location,
            f"the trigger {kind} names no topic",
            "write the topic that it listens to",
        )
    if kind == "absent" and not trigger.hold:
        yield rule_location, "absent needs `for`", "write absent: {topic: TOPIC, for: 1m}"
    if kind == "sequence" and not trigger.steps:
        yield rule_location, "the sequence has no steps", "write sequence: [{event: TOPIC}, ...]"
    if kind == "sequence" and trigger.within is not None and trigger.within <= 0:
        yield rule_location, "`within` must be longer than nothing", "write within: 5m"
    if trigger.every is not None and trigger.every <= 0:
        yield rule_location, "`every` must be longer than nothing", "write every: 1m"
    if kind == "every" and trigger.every is None:
        yield rule_location, "the trigger needs a period", "write every: 1m"
    if kind == "schedule":
        try:
            CronSchedule(trigger.schedule, trigger.zone)
        except ScheduleError as error:
            yield rule_location, f"schedule: {error}", 'write schedule: "0 12 * * *"'


def _check_edge(trigger: TriggerSpec, rule_location: SourceLocation) -> Iterator[Finding]:
    has_holds = trigger.hold is not None or trigger.clear_hold is not None
    if trigger.every is not None and (has_holds or trigger.clear is not None):
        location = trigger.clear.location if trigger.clear else rule_location
        yield location, "`every` does not go with `for` or `clear`", "leave out one of them"
    elif trigger.when is None and (has_holds or trigger.clear is not None):
        location = trigger.clear.location if trigger.clear else rule_location
        yield location, "`for` and `clear` need a `when`", "write when: CONDITION"


def _check_timed(trigger: TriggerSpec, rule_location: SourceLocation) -> Iterator[Finding]:
    if trigger.once_per is not None:
        yield (
            trigger.once_per.location,
            f"`once_per` needs an event, which {trigger.kind} does not have",
            "leave it out",
        )
    if trigger.kind == "absent":
        if trigger.when is not None:
            yield trigger.when.location, "absent has no `when`", "leave it out"
        return
    for expr, key in ((trigger.by, "by"), (trigger.where, "where")):
        if expr is not None:
            hint = "leave it out" if key == "by" else "write `when`, over `reads`"
            yield expr.location, f"`{key}` needs an event, which {trigger.kind} does not have", hint


def _check_structure(rule: Rule) -> Iterator[Finding]:
    if rule.trigger.kind == "any" and not rule.trigger.any:
        yield rule.location, "the trigger `any` is empty", "write any: [{event: TOPIC}, ...]"
    if rule.alert is not None:
        yield from _check_levels(rule, rule.alert)


def _check_levels(rule: Rule, alert: AlertSpec) -> Iterator[Finding]:
    for severity, spec in alert.levels.items():
        name = severity.name.lower()
        if spec.when is None and (spec.hold or spec.clear or spec.clear_hold):
            location = spec.clear.location if spec.clear else rule.location
            yield location, f"the level {name} has no `when`", "write when: CONDITION"
    if rule.job is not None:
        return
    if alert.expires is not None:
        yield rule.location, "`expires` needs a job, whose results could stay away", "write `lasts`"
    if alert.failed is not None:
        yield rule.location, "`failed` needs a job that could fail", "leave it out"
    conditions = [spec.when for spec in alert.levels.values() if spec.when is not None]
    for trigger in flatten_any_triggers(rule.trigger):
        if conditions and trigger.kind in EVENT_KINDS and (trigger.when or trigger.every):
            key = "when" if trigger.when else "every"
            yield (
                conditions[0].location,
                f"a rule without a job has either `{key}` or levels with conditions",
                f"move the condition to the level, or write the level as `always` ({rule.id})",
            )
