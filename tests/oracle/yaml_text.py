"""Rules as the YAML that a site would hold, streams as the JSON Lines that `record` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from catcher.model.event import Admitted
from catcher.model.rule import AlertSpec, Expr, LevelSpec, Read, Rule, Step, Trigger
from catcher.model.time import MINUTE, format_duration, format_instant

OWN_NAMES = {"hold": "for", "clear_hold": "clear_for", "stale_after": "stale_after"}
SPANS = ("hold", "clear_hold", "every", "forget_after", "within")
EXPRESSIONS = ("where", "when", "clear", "by", "once_per")


def as_text(rule: Rule, admitted: Sequence[Admitted]) -> str:
    """A rule and a stream for a report, ready to be tried by hand."""
    return f"\n{as_yaml(rule)}\n{as_jsonl(admitted)}"


def as_yaml(rule: Rule) -> str:
    """One document that loads as this rule."""
    document: dict[str, Any] = {"rule": rule.id, "trigger": _trigger(rule.trigger)}
    if rule.reads:
        document["reads"] = {name: _read(read) for name, read in rule.reads.items()}
    if rule.let:
        document["let"] = {name: expr.text for name, expr in rule.let.items()}
    if rule.job:
        document["job"] = {"run": rule.job.run}
    if rule.alert:
        document["alert"] = _alert(rule.alert)
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def as_jsonl(admitted: Sequence[Admitted]) -> str:
    """A recorded stream: one event a line (a value that JSON lacks stands as NaN, Infinity)."""
    rows = (
        {"topic": e.topic, "time": format_instant(e.time), "fields": e.fields}
        | ({"late": True} if late else {})
        for e, late in admitted
    )
    return "\n".join(json.dumps(row) for row in rows)


def _trigger(trigger: Trigger) -> dict[str, Any]:
    found: dict[str, Any] = {}
    match trigger.kind:
        case "result":
            found["result"] = trigger.topic.removeprefix("catcher.")
        case "http":
            found["http"] = trigger.topic.removeprefix("catcher.http.")
        case "absent":
            assert trigger.hold is not None
            found["absent"] = {"topic": trigger.topic, "for": format_duration(trigger.hold)}
        case "sequence":
            found["sequence"] = [_step(step) for step in trigger.steps]
        case "schedule":
            found |= {"schedule": trigger.schedule, "zone": trigger.zone}
            found["catch_up"] = trigger.catch_up
        case "every":
            found["catch_up"] = trigger.catch_up
        case "any":
            found["any"] = [_trigger(part) for part in trigger.any]
        case "event" | "telemetry":
            found[trigger.kind] = trigger.topic
    return found | _settings(trigger)


def _settings(trigger: Trigger) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in EXPRESSIONS:
        if (expr := getattr(trigger, name)) is not None:
            found[name] = expr.text
    for name in SPANS:
        span = getattr(trigger, name)
        if span is not None and not (trigger.kind == "absent" and name == "hold"):
            found[OWN_NAMES.get(name, name)] = format_duration(span)
    if trigger.stale_after != MINUTE:
        found["stale_after"] = format_duration(trigger.stale_after)
    if trigger.on_recovery != "ignore":
        found["on_recovery"] = trigger.on_recovery
    return found


def _step(step: Step) -> dict[str, Any]:
    return {"event": step.topic} | ({"where": step.where.text} if step.where else {})


def _read(read: Read) -> dict[str, Any]:
    found = {"topic": read.topic} | ({"where": read.where.text} if read.where else {})
    return found | ({"max_age": format_duration(read.max_age)} if read.max_age else {})


def _alert(alert: AlertSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"per": alert.per.text} if alert.per else {}
    for severity, level in alert.levels.items():
        found[severity.name.lower()] = _level(level)
    for name in ("expires", "lasts"):
        if (span := getattr(alert, name)) is not None:
            found[name] = format_duration(span)
    if alert.failed is not None:
        found["failed"] = alert.failed.name.lower()
    return found


def _level(level: LevelSpec) -> Any:
    def text(expr: Expr | None) -> str | None:
        return expr.text if expr else None

    if level.when is None:
        return "always"
    parts = {
        "when": text(level.when),
        "for": format_duration(level.hold) if level.hold is not None else None,
        "clear": text(level.clear),
        "clear_for": format_duration(level.clear_hold) if level.clear_hold is not None else None,
    }
    return {name: part for name, part in parts.items() if part is not None}
