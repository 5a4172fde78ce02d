"""Words for writing an example down: a rule, a feed, and what must come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from catcher.model.alert import Severity
from catcher.model.event import AdmittedEvent, Event
from catcher.model.rule import (
    AlertSpec,
    Expression,
    JobSpec,
    LevelSpec,
    Rule,
    SequenceStep,
    TriggerSpec,
)
from catcher.model.time import SECOND, parse_duration
from tests.oracle.streams import MAIN, START

NAN = float("nan")
JOB_FAILS = "fails"
NONE, WARNING, SERIOUS, CRITICAL = Severity


@dataclass
class Example:
    """`fires`: seconds after the start, with the key where there is one; `levels` likewise.

    A level change ends with its severity, and True where the level cannot be judged.

    `scores` is what a job finds at each of its firings, in their order, or FAILS.
    """

    name: str
    rule: Rule
    stream: Sequence[AdmittedEvent]
    fires: list[Any] = field(default_factory=list)
    levels: list[Any] = field(default_factory=list)
    scores: Sequence[float | str | None] = ()


def event_at(seconds: float, topic: str = MAIN, late: bool = False, **fields: Any) -> AdmittedEvent:
    return AdmittedEvent(Event(topic, START + round(seconds * SECOND), fields, "sim"), late)


def parse_samples(text: str, topic: str = MAIN) -> list[AdmittedEvent]:
    """`0:1 5:2 7:- 8:nan`: seconds and the value of x, `-` for an event without x."""
    events = []
    for part in text.split():
        seconds, value = part.split(":")
        event = event_at(float(seconds), topic)
        if value != "-":
            event = event_at(float(seconds), topic, x=NAN if value == "nan" else float(value))
        events.append(event)
    return events


def _create_trigger(kind: Any, settings: dict[str, Any]) -> TriggerSpec:
    for name in ("where", "when", "clear", "by", "once_per"):
        if name in settings:
            settings[name] = Expression(settings[name])
    for name in ("hold", "clear_hold", "every", "stale_after", "within", "forget_after"):
        if name in settings:
            settings[name] = parse_duration(settings[name])
    return TriggerSpec(kind, **settings)


def telemetry_rule(topic: str = MAIN, **settings: Any) -> Rule:
    reads, let = settings.pop("reads", {}), settings.pop("let", {})
    return Rule(
        "rule", _create_trigger("telemetry", {"topic": topic, **settings}), reads=reads, let=let
    )


def event_rule(topic: str = MAIN, **settings: Any) -> Rule:
    return Rule("rule", _create_trigger("event", {"topic": topic, **settings}))


def sequence_rule(*steps: tuple[str, str], **settings: Any) -> Rule:
    trigger_steps = tuple(SequenceStep(topic, Expression(where)) for topic, where in steps)
    return Rule("rule", _create_trigger("sequence", {"steps": trigger_steps, **settings}))


def level_spec(
    when: str | None, hold: str = "", clear: str = "", clear_hold: str = ""
) -> LevelSpec:
    return LevelSpec(
        Expression(when) if when else None,
        parse_duration(hold) if hold else None,
        Expression(clear) if clear else None,
        parse_duration(clear_hold) if clear_hold else None,
    )


def with_alert(
    rule: Rule, levels: dict[Severity, LevelSpec], per: str = "", lasts: str = ""
) -> Rule:
    spec = AlertSpec(
        levels, Expression(per) if per else None, lasts=parse_duration(lasts) if lasts else None
    )
    return replace(rule, alert=spec)


def with_job_alert(
    rule: Rule,
    levels: dict[Severity, LevelSpec],
    expires: str = "",
    lasts: str = "",
    failed: Severity | None = None,
) -> Rule:
    """The rule with a job whose results have the metric `score`."""
    spec = AlertSpec(
        levels,
        expires=parse_duration(expires) if expires else None,
        lasts=parse_duration(lasts) if lasts else None,
        failed=failed,
    )
    return replace(rule, job=JobSpec("score_it"), alert=spec)
