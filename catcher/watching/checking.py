"""What is wrong with a rule's trigger, levels and expressions, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator

from catcher.model.problem import Place, Problem
from catcher.model.rule import AlertSpec, Rule, Trigger
from catcher.watching.blueprint import TIMED, leaves
from catcher.watching.drafting import draft
from catcher.watching.schedule import Cron, ScheduleError

Finding = tuple[Place, str, str]
LISTENING = frozenset(("event", "telemetry", "result", "http"))


def check_rule(rule: Rule) -> list[Problem]:
    """All problems of a rule's expressions, names, trigger and levels, in the order of places."""
    problems = list(draft(rule).problems)
    for trigger in leaves(rule.trigger):
        for place, message, hint in _trigger(trigger, rule.place):
            problems.append(Problem(place, message, hint, rule=rule.id))
    for place, message, hint in _whole(rule):
        problems.append(Problem(place, message, hint, rule=rule.id))
    return sorted(dict.fromkeys(problems), key=lambda one: (one.place, one.message))


def meaning(rule: Rule) -> str:
    """A digest of what a rule's trigger and levels mean, by which saved state is known.

    Messages, routes, owners and other rules leave it as it is.
    """
    return draft(rule).meaning


def _trigger(trigger: Trigger, home: Place) -> Iterator[Finding]:
    yield from _needs(trigger, home)
    if trigger.kind in LISTENING:
        yield from _edge(trigger, home)
    elif trigger.kind != "absent" and (trigger.hold or trigger.clear or trigger.clear_hold):
        yield home, f"a trigger of kind {trigger.kind} has no `for` or `clear`", "leave it out"
    if trigger.kind in TIMED:
        yield from _timed(trigger, home)
    if trigger.kind == "sequence" and trigger.when is not None:
        yield trigger.when.place, "a sequence has no `when`", "give its steps a `where`"


def _needs(trigger: Trigger, home: Place) -> Iterator[Finding]:
    """What a kind cannot do without."""
    kind = trigger.kind
    if kind in LISTENING | {"absent"} and not trigger.topic:
        yield home, f"the trigger {kind} names no topic", "write the topic that it listens to"
    if kind == "absent" and not trigger.hold:
        yield home, "absent needs `for`", "write absent: {topic: TOPIC, for: 1m}"
    if kind == "sequence" and not trigger.steps:
        yield home, "the sequence has no steps", "write sequence: [{event: TOPIC}, ...]"
    if kind == "sequence" and trigger.within is not None and trigger.within <= 0:
        yield home, "`within` must be longer than nothing", "write within: 5m"
    if trigger.every is not None and trigger.every <= 0:
        yield home, "`every` must be longer than nothing", "write every: 1m"
    if kind == "every" and trigger.every is None:
        yield home, "the trigger needs a period", "write every: 1m"
    if kind == "schedule":
        try:
            Cron(trigger.schedule, trigger.zone)
        except ScheduleError as error:
            yield home, f"schedule: {error}", 'write schedule: "0 12 * * *"'


def _edge(trigger: Trigger, home: Place) -> Iterator[Finding]:
    holds = trigger.hold is not None or trigger.clear_hold is not None
    if trigger.every is not None and (holds or trigger.clear is not None):
        place = trigger.clear.place if trigger.clear else home
        yield place, "`every` does not go with `for` or `clear`", "leave out one of them"
    elif trigger.when is None and (holds or trigger.clear is not None):
        place = trigger.clear.place if trigger.clear else home
        yield place, "`for` and `clear` need a `when`", "write when: CONDITION"


def _timed(trigger: Trigger, home: Place) -> Iterator[Finding]:
    if trigger.once_per is not None:
        yield (
            trigger.once_per.place,
            f"`once_per` needs an event, which {trigger.kind} does not have",
            "leave it out",
        )
    if trigger.kind == "absent":
        if trigger.when is not None:
            yield trigger.when.place, "absent has no `when`", "leave it out"
        return
    for expr, word in ((trigger.by, "by"), (trigger.where, "where")):
        if expr is not None:
            hint = "leave it out" if word == "by" else "write `when`, over `reads`"
            yield expr.place, f"`{word}` needs an event, which {trigger.kind} does not have", hint


def _whole(rule: Rule) -> Iterator[Finding]:
    if rule.trigger.kind == "any" and not rule.trigger.any:
        yield rule.place, "the trigger `any` is empty", "write any: [{event: TOPIC}, ...]"
    if rule.alert is not None:
        yield from _levels(rule, rule.alert)


def _levels(rule: Rule, alert: AlertSpec) -> Iterator[Finding]:
    for severity, spec in alert.levels.items():
        name = severity.name.lower()
        if spec.when is None and (spec.hold or spec.clear or spec.clear_hold):
            place = spec.clear.place if spec.clear else rule.place
            yield place, f"the level {name} has no `when`", "write when: CONDITION"
    if rule.job is not None:
        return
    if alert.expires is not None:
        yield rule.place, "`expires` needs a job, whose results could stay away", "write `lasts`"
    if alert.failed is not None:
        yield rule.place, "`failed` needs a job that could fail", "leave it out"
    judging = [spec.when for spec in alert.levels.values() if spec.when is not None]
    for trigger in leaves(rule.trigger):
        if judging and trigger.kind in LISTENING and (trigger.when or trigger.every):
            word = "when" if trigger.when else "every"
            yield (
                judging[0].place,
                f"a rule without a job has either `{word}` or levels with conditions",
                f"move the condition to the level, or write the level as `always` ({rule.id})",
            )
