"""Rules as the YAML that a site would hold, streams as the JSON Lines that `record` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from catcher.model.event import AdmittedEvent
from catcher.model.rule import (
    AlertSpec,
    Expression,
    LevelSpec,
    Lookup,
    Rule,
    SequenceStep,
    TriggerSpec,
)
from catcher.model.time import MINUTE, format_duration, format_instant

YAML_KEYS = {"hold": "for", "clear_hold": "clear_for", "stale_after": "stale_after"}
DURATION_SETTINGS = ("hold", "clear_hold", "every", "forget_after", "within")
EXPRESSION_SETTINGS = ("where", "when", "clear", "by", "once_per")


def format_report(rule: Rule, events: Sequence[AdmittedEvent]) -> str:
    """A rule and a stream for a report, ready to be tried by hand."""
    return f"\n{rule_to_yaml(rule)}\n{stream_to_jsonl(events)}"


def rule_to_yaml(rule: Rule) -> str:
    """One document that loads as this rule."""
    document: dict[str, Any] = {"rule": rule.id, "trigger": _trigger_to_dict(rule.trigger)}
    if rule.reads:
        document["reads"] = {name: _read_to_dict(read) for name, read in rule.reads.items()}
    if rule.let:
        document["let"] = {name: expr.text for name, expr in rule.let.items()}
    if rule.job:
        document["job"] = {"run": rule.job.run}
    if rule.alert:
        document["alert"] = _alert_to_dict(rule.alert)
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def stream_to_jsonl(events: Sequence[AdmittedEvent]) -> str:
    """A recorded stream: one event a line (a value that JSON lacks stands as NaN, Infinity)."""
    rows = (
        {"topic": event.topic, "time": format_instant(event.time), "fields": event.fields}
        | ({"late": True} if is_late else {})
        for event, is_late in events
    )
    return "\n".join(json.dumps(row) for row in rows)


def _trigger_to_dict(trigger: TriggerSpec) -> dict[str, Any]:
    document: dict[str, Any] = {}
    match trigger.kind:
        case "result":
            document["result"] = trigger.topic.removeprefix("catcher.")
        case "http":
            document["http"] = trigger.topic.removeprefix("catcher.http.")
        case "absent":
            assert trigger.hold is not None
            document["absent"] = {"topic": trigger.topic, "for": format_duration(trigger.hold)}
        case "sequence":
            document["sequence"] = [_step_to_dict(step) for step in trigger.steps]
        case "schedule":
            document |= {"schedule": trigger.schedule, "zone": trigger.zone}
            document["catch_up"] = trigger.catch_up
        case "every":
            document["catch_up"] = trigger.catch_up
        case "any":
            document["any"] = [_trigger_to_dict(part) for part in trigger.any]
        case "event" | "telemetry":
            document[trigger.kind] = trigger.topic
    return document | _settings_to_dict(trigger)


def _settings_to_dict(trigger: TriggerSpec) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name in EXPRESSION_SETTINGS:
        if (expr := getattr(trigger, name)) is not None:
            document[name] = expr.text
    for name in DURATION_SETTINGS:
        duration = getattr(trigger, name)
        if duration is not None and not (trigger.kind == "absent" and name == "hold"):
            document[YAML_KEYS.get(name, name)] = format_duration(duration)
    if trigger.stale_after != MINUTE:
        document["stale_after"] = format_duration(trigger.stale_after)
    if trigger.on_recovery != "ignore":
        document["on_recovery"] = trigger.on_recovery
    return document


def _step_to_dict(step: SequenceStep) -> dict[str, Any]:
    return {"event": step.topic} | ({"where": step.where.text} if step.where else {})


def _read_to_dict(read: Lookup) -> dict[str, Any]:
    document = {"topic": read.topic} | ({"where": read.where.text} if read.where else {})
    return document | ({"max_age": format_duration(read.max_age)} if read.max_age else {})


def _alert_to_dict(alert: AlertSpec) -> dict[str, Any]:
    document: dict[str, Any] = {"per": alert.per.text} if alert.per else {}
    for severity, level in alert.levels.items():
        document[severity.name.lower()] = _level_to_value(level)
    for name in ("expires", "lasts"):
        if (duration := getattr(alert, name)) is not None:
            document[name] = format_duration(duration)
    if alert.failed is not None:
        document["failed"] = alert.failed.name.lower()
    return document


def _level_to_value(level: LevelSpec) -> Any:
    def get_text(expr: Expression | None) -> str | None:
        return expr.text if expr else None

    if level.when is None:
        return "always"
    parts = {
        "when": get_text(level.when),
        "for": format_duration(level.hold) if level.hold is not None else None,
        "clear": get_text(level.clear),
        "clear_for": format_duration(level.clear_hold) if level.clear_hold is not None else None,
    }
    return {name: part for name, part in parts.items() if part is not None}
