"""Rules and streams in few words, played through a network."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from catcher.evaluation import RuleEvaluator
from catcher.model.alert import LevelChange, Severity
from catcher.model.errors import SourceLocation
from catcher.model.event import AdmittedEvent, Event
from catcher.model.rule import AlertSpec, Expression, JobSpec, LevelSpec, Lookup, Rule, TriggerSpec
from catcher.model.run import Firing
from catcher.model.time import SECOND, parse_duration, parse_instant

WIND = "lsst.sal.ESS.airFlow"
Decision = Firing | LevelChange
Samples = Iterable[tuple[float, Any]]


def to_instant(seconds: float) -> int:
    """An instant, in seconds from the start of the stream."""
    return round(seconds * SECOND)


def create_expr(text: str) -> Expression:
    """An expression as it stands at line 4, column 9 of a file."""
    return Expression(text, SourceLocation("rules/test.yaml", 4, 9))


def create_trigger(kind: Any = "telemetry", topic: str = WIND, **settings: Any) -> TriggerSpec:
    """A trigger; texts become expressions and durations where they belong."""
    for name in ("where", "when", "clear", "by", "once_per"):
        if isinstance(settings.get(name), str):
            settings[name] = create_expr(settings[name])
    for name in ("hold", "clear_hold", "every", "stale_after", "forget_after", "within"):
        if isinstance(settings.get(name), str):
            settings[name] = parse_duration(settings[name])
    return TriggerSpec(kind, topic, **settings)


def create_level(
    when: str | None, hold: str = "", clear: str = "", clear_hold: str = ""
) -> LevelSpec:
    """A level; without `when` it is `always`."""
    return LevelSpec(
        create_expr(when) if when else None,
        parse_duration(hold) if hold else None,
        create_expr(clear) if clear else None,
        parse_duration(clear_hold) if clear_hold else None,
    )


def create_alert(per: str = "", **settings: Any) -> AlertSpec:
    """An alert with levels by name: `warning=level("x > 1")`."""
    levels = {
        Severity.parse(name): settings.pop(name)
        for name in ("warning", "serious", "critical")
        if name in settings
    }
    for name in ("expires", "lasts"):
        if isinstance(settings.get(name), str):
            settings[name] = parse_duration(settings[name])
    return AlertSpec(levels, per=create_expr(per) if per else None, **settings)


def create_rule(
    trigger: TriggerSpec, rule_id: str = "wind", job: bool = False, **settings: Any
) -> Rule:
    """A rule with a trigger."""
    reads = {
        name: Lookup(
            topic,
            create_expr(where) if where else None,
            parse_duration(max_age) if max_age else None,
        )
        for name, (topic, where, max_age) in settings.pop("reads", {}).items()
    }
    let = {name: create_expr(text) for name, text in settings.pop("let", {}).items()}
    spec = JobSpec("work", arguments=settings.pop("arguments", {})) if job else None
    return Rule(rule_id, trigger, reads=reads, let=let, job=spec, **settings)


def create_event(seconds: float, value: Any, topic: str = WIND, source: str = "efd") -> Event:
    """An event; a bare value is the field `speed`."""
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {"speed": value}
    return Event(topic, to_instant(seconds), fields, source)


def create_stream(samples: Samples, topic: str = WIND) -> list[AdmittedEvent]:
    """Samples as admitted events of one topic."""
    return [AdmittedEvent(create_event(seconds, value, topic)) for seconds, value in samples]


def merge_streams(*streams: Sequence[AdmittedEvent]) -> list[AdmittedEvent]:
    """Several streams in one order of time."""
    return sorted((item for stream in streams for item in stream), key=lambda item: item.event.time)


def run_rules(
    rules: Rule | Sequence[Rule], events: Sequence[AdmittedEvent], end: float | None = None
) -> list[Decision]:
    """Everything that is decided on a stream, up to its end or a later instant."""
    evaluator = RuleEvaluator([rules] if isinstance(rules, Rule) else rules)
    assert not evaluator.broken_rules, evaluator.broken_rules
    decisions = evaluator.process_events(events)
    last_time = max((item.event.time for item in events), default=0)
    return decisions + evaluator.run_remaining_timers(last_time if end is None else to_instant(end))


def list_firing_times(decisions: Iterable[Decision]) -> list[float]:
    """When rules fired, in seconds."""
    return [decision.time / SECOND for decision in decisions if isinstance(decision, Firing)]


def list_keyed_firings(decisions: Iterable[Decision]) -> list[tuple[str, float]]:
    """Key and time of each firing."""
    return [
        (decision.key, decision.time / SECOND)
        for decision in decisions
        if isinstance(decision, Firing)
    ]


def list_level_changes(decisions: Iterable[Decision]) -> list[tuple[float, str]]:
    """When alerts changed their severity, and to which; `?` marks the unknown."""
    return [
        (decision.time / SECOND, str(decision.severity).lower() + ("?" if decision.unknown else ""))
        for decision in decisions
        if isinstance(decision, LevelChange)
    ]


def read_recording(path: Path) -> list[Event]:
    """A recorded stream, in the order of its file."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    rows = [json.loads(line) for line in lines]
    return [Event(row["topic"], parse_instant(row["time"]), row["fields"], "efd") for row in rows]


def create_samples(*values: Any, step: float = 1, start: float = 0) -> list[tuple[float, Any]]:
    """Values at regular times."""
    return [(start + index * step, value) for index, value in enumerate(values)]
