"""Rules and streams in few words, played through a network."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from catcher.model.alert import LevelChange, Severity
from catcher.model.event import Admitted, Event
from catcher.model.problem import Place
from catcher.model.rule import AlertSpec, Expr, JobSpec, LevelSpec, Read, Rule, Trigger
from catcher.model.run import Firing
from catcher.model.time import SECOND, parse_duration, parse_instant
from catcher.watching import Network

WIND = "lsst.sal.ESS.airFlow"
Decision = Firing | LevelChange
Samples = Iterable[tuple[float, Any]]


def at(seconds: float) -> int:
    """An instant, in seconds from the start of the stream."""
    return round(seconds * SECOND)


def expr(text: str) -> Expr:
    """An expression as it stands at line 4, column 9 of a file."""
    return Expr(text, Place("rules/test.yaml", 4, 9))


def trigger(kind: Any = "telemetry", topic: str = WIND, **given: Any) -> Trigger:
    """A trigger; texts become expressions and durations where they belong."""
    for name in ("where", "when", "clear", "by", "once_per"):
        if isinstance(given.get(name), str):
            given[name] = expr(given[name])
    for name in ("hold", "clear_hold", "every", "stale_after", "forget_after", "within"):
        if isinstance(given.get(name), str):
            given[name] = parse_duration(given[name])
    return Trigger(kind, topic, **given)


def level(when: str | None, hold: str = "", clear: str = "", clear_hold: str = "") -> LevelSpec:
    """A level; without `when` it is `always`."""
    return LevelSpec(
        expr(when) if when else None,
        parse_duration(hold) if hold else None,
        expr(clear) if clear else None,
        parse_duration(clear_hold) if clear_hold else None,
    )


def alert(per: str = "", **given: Any) -> AlertSpec:
    """An alert with levels by name: `warning=level("x > 1")`."""
    levels = {
        Severity.parse(name): given.pop(name)
        for name in ("warning", "serious", "critical")
        if name in given
    }
    for name in ("expires", "lasts"):
        if isinstance(given.get(name), str):
            given[name] = parse_duration(given[name])
    return AlertSpec(levels, per=expr(per) if per else None, **given)


def rule(what: Trigger, id: str = "wind", job: bool = False, **given: Any) -> Rule:
    """A rule with a trigger."""
    reads = {
        name: Read(topic, expr(where) if where else None, parse_duration(age) if age else None)
        for name, (topic, where, age) in given.pop("reads", {}).items()
    }
    let = {name: expr(text) for name, text in given.pop("let", {}).items()}
    spec = JobSpec("work", arguments=given.pop("arguments", {})) if job else None
    return Rule(id, what, reads=reads, let=let, job=spec, **given)


def event(seconds: float, value: Any, topic: str = WIND, source: str = "efd") -> Event:
    """An event; a bare value is the field `speed`."""
    fields: Mapping[str, Any] = value if isinstance(value, dict) else {"speed": value}
    return Event(topic, at(seconds), fields, source)


def stream(samples: Samples, topic: str = WIND) -> list[Admitted]:
    """Samples as admitted events of one topic."""
    return [Admitted(event(seconds, value, topic)) for seconds, value in samples]


def merged(*streams: Sequence[Admitted]) -> list[Admitted]:
    """Several streams in one order of time."""
    return sorted((one for each in streams for one in each), key=lambda one: one.event.time)


def play(
    rules: Rule | Sequence[Rule], events: Sequence[Admitted], end: float | None = None
) -> list[Decision]:
    """Everything that is decided on a stream, up to its end or a later instant."""
    network = Network([rules] if isinstance(rules, Rule) else rules)
    assert not network.broken, network.broken
    decisions = network.feed(events)
    last = max((one.event.time for one in events), default=0)
    return decisions + network.finish(last if end is None else at(end))


def fired(decisions: Iterable[Decision]) -> list[float]:
    """When rules fired, in seconds."""
    return [one.time / SECOND for one in decisions if isinstance(one, Firing)]


def fired_by_key(decisions: Iterable[Decision]) -> list[tuple[str, float]]:
    """Key and time of each firing."""
    return [(one.key, one.time / SECOND) for one in decisions if isinstance(one, Firing)]


def levels(decisions: Iterable[Decision]) -> list[tuple[float, str]]:
    """When alerts changed their severity, and to which; `?` marks the unknown."""
    return [
        (one.time / SECOND, str(one.severity).lower() + ("?" if one.unknown else ""))
        for one in decisions
        if isinstance(one, LevelChange)
    ]


def recorded(path: Path) -> list[Event]:
    """A recorded stream, in the order of its file."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    rows = [json.loads(line) for line in lines]
    return [Event(one["topic"], parse_instant(one["time"]), one["fields"], "efd") for one in rows]


def times(*values: Any, step: float = 1, start: float = 0) -> list[tuple[float, Any]]:
    """Values at regular times."""
    return [(start + index * step, value) for index, value in enumerate(values)]
