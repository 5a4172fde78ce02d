"""Words for writing an example down: a rule, a feed, and what must come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from catcher.model.alert import Severity
from catcher.model.event import Admitted, Event
from catcher.model.rule import AlertSpec, Expr, JobSpec, LevelSpec, Rule, Step, Trigger
from catcher.model.time import SECOND, parse_duration
from tests.oracle.streams import MAIN, START

NAN = float("nan")
FAILS = "fails"
NONE, WARNING, SERIOUS, CRITICAL = Severity


@dataclass
class Example:
    """`fires`: seconds after the start, with the key where there is one; `levels` likewise.

    A level change ends with its severity, and True where the level cannot be judged.

    `scores` is what a job finds at each of its firings, in their order, or FAILS.
    """

    name: str
    rule: Rule
    feed: Sequence[Admitted]
    fires: list[Any] = field(default_factory=list)
    levels: list[Any] = field(default_factory=list)
    scores: Sequence[float | str | None] = ()


def at(seconds: float, topic: str = MAIN, late: bool = False, **fields: Any) -> Admitted:
    return Admitted(Event(topic, START + round(seconds * SECOND), fields, "sim"), late)


def xs(text: str, topic: str = MAIN) -> list[Admitted]:
    """`0:1 5:2 7:- 8:nan`: seconds and the value of x, `-` for an event without x."""
    found = []
    for part in text.split():
        seconds, value = part.split(":")
        event = at(float(seconds), topic)
        if value != "-":
            event = at(float(seconds), topic, x=NAN if value == "nan" else float(value))
        found.append(event)
    return found


def _trigger(kind: Any, settings: dict[str, Any]) -> Trigger:
    for name in ("where", "when", "clear", "by", "once_per"):
        if name in settings:
            settings[name] = Expr(settings[name])
    for name in ("hold", "clear_hold", "every", "stale_after", "within", "forget_after"):
        if name in settings:
            settings[name] = parse_duration(settings[name])
    return Trigger(kind, **settings)


def telemetry(topic: str = MAIN, **settings: Any) -> Rule:
    reads, let = settings.pop("reads", {}), settings.pop("let", {})
    return Rule("rule", _trigger("telemetry", {"topic": topic, **settings}), reads=reads, let=let)


def event(topic: str = MAIN, **settings: Any) -> Rule:
    return Rule("rule", _trigger("event", {"topic": topic, **settings}))


def sequence(*steps: tuple[str, str], **settings: Any) -> Rule:
    made = tuple(Step(topic, Expr(where)) for topic, where in steps)
    return Rule("rule", _trigger("sequence", {"steps": made, **settings}))


def level(when: str | None, hold: str = "", clear: str = "", clear_hold: str = "") -> LevelSpec:
    return LevelSpec(
        Expr(when) if when else None,
        parse_duration(hold) if hold else None,
        Expr(clear) if clear else None,
        parse_duration(clear_hold) if clear_hold else None,
    )


def alerting(rule: Rule, levels: dict[Severity, LevelSpec], per: str = "", lasts: str = "") -> Rule:
    spec = AlertSpec(
        levels, Expr(per) if per else None, lasts=parse_duration(lasts) if lasts else None
    )
    return replace(rule, alert=spec)


def judging(
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
