"""The `job:` of a rule: what to run, on what, and under which promises."""

from __future__ import annotations

import re
from typing import Any

from catcher.model.rule import DETECTOR, Gather, Input, JobSpec, Overlap
from catcher.model.time import MINUTE, Span, parse_duration, to_seconds
from catcher.site.nodes import Branch, Entry, Items, Node, Scalar, quoted
from catcher.site.reader import LONGEST, Table
from catcher.site.words import suggestion

_PARALLEL = re.compile(r"parallel\((\d{1,4})\)", re.ASCII)
_HINT = "write it like job: {run: name_of_the_job}"
_INPUT = "write it like wind: {topic: TOPIC, last: 30m}"
_WAYS = ("topic", "metric", "image")


def read_job(rule: Table) -> JobSpec | None:
    """The job of a rule; a bare text is the name of a job without inputs."""
    node = rule.raw("job")
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return JobSpec(run=node.text, place=node.place)
    table = rule.table("job", hint=_HINT)
    if table is None:
        return None
    table.require("run", "name the function, for instance run: wind_extrapolation")
    spec = JobSpec(
        run=table.text("run"),
        inputs=table.named("inputs", "the input", _input, _INPUT),
        arguments=_arguments(table, "with"),
        timeout=table.duration("timeout") or MINUTE,
        retry=table.integer("retry", 0, 100) or 0,
        overlap=_overlap(table),
        deadline=table.duration("deadline"),
        critical=table.flag("critical", False),
        priority=table.integer("priority", -100, 100) or 0,
        memory=table.size("memory"),
        each=table.text("each"),
        last=_last(table),
        gather=_gather(table),
        degraded=_degraded(table),
        keep_inputs=table.flag("keep_inputs", False),
        place=table.place_of("run"),
    )
    table.done()
    return spec


def _input(entry: Entry, table: Table) -> Input | None:
    ways = [way for way in _WAYS if table.has(way)]
    if len(ways) != 1:
        found = f"both `{ways[0]}` and `{ways[1]}`" if ways else "no topic, metric or image"
        hint = _INPUT if not ways else "keep one of them"
        table.report.error(table.place, f"{table.what} has {found}", hint)
        for way in ways:
            table.raw(way)
        return None
    made = {"topic": _telemetry, "metric": _metric, "image": _image}[ways[0]](table)
    table.done()
    return made


def _telemetry(table: Table) -> Input:
    made = Input(
        topic=table.text("topic"),
        fields=table.texts("fields"),
        where=table.expression("where"),
        last=table.duration("last"),
        during=table.text("during"),
        start=table.expression("from"),
        end=table.expression("to"),
        packed=table.text("packed"),
        patience=table.span("patience"),
    )
    if made.packed and not made.fields:
        hint = "name them without their numbers: fields: [angle]"
        table.report.error(table.place_of("packed"), "`packed` needs the packed `fields`", hint)
    asked = [table.has("last"), table.has("during"), table.has("from", "to")]
    if sum(asked) != 1:
        hint = "give one of last: 30m, during: exposure, or from: and to:"
        what = "several spans of time" if any(asked) else "no span of time"
        table.report.error(table.place, f"{table.what} has {what}", hint)
    elif asked[2] and not (table.has("from") and table.has("to")):
        table.report.error(table.place, f"{table.what} has only one end", "give from: and to:")
    return made


def _metric(table: Table) -> Input:
    table.require("of", "name the rule whose metric it is, for instance of: images")
    table.require("last", "say how far back, for instance last: 2h")
    return Input(
        metric=table.text("metric"),
        of=table.text("of"),
        last=table.duration("last"),
        where=table.expression("where"),
    )


def _image(table: Table) -> Input:
    return Input(image=table.text("image"))


def _overlap(table: Table) -> Overlap:
    word = table.text("overlap", "queue").replace(" ", "")
    if word in ("queue", "latest", "skip"):
        return Overlap(word)  # type: ignore[arg-type]
    match = _PARALLEL.fullmatch(word)
    if match and int(match[1]) > 0:
        return Overlap("parallel", int(match[1]))
    options = ("queue", "latest", "skip", "parallel(4)")
    message = f"`overlap` cannot be {quoted(word)}"
    table.report.error(table.place_of("overlap"), message, suggestion(word, options))
    return Overlap()


def _gather(table: Table) -> Gather | None:
    hint = "write it like gather: {run: visit_summary, patience: 20s}"
    below = table.table("gather", hint=hint)
    if below is None:
        return None
    below.require("run", hint)
    made = Gather(below.text("run"), below.duration("patience"), _arguments(below, "with"))
    below.done()
    return made


def _last(table: Table) -> Span | None:
    """How far back the observations of `each` may have begun."""
    last = table.duration("last")
    if table.has("last") and table.text("each") in ("", DETECTOR):
        message = "`last` belongs to an `each` over observations"
        hint = "write it like each: exposure, or give it to an input"
        table.report.error(table.key_place("last"), message, hint)
    return last


def _degraded(table: Table) -> dict[str, tuple[str, ...]]:
    """What is done while the cluster is away: which detectors and metrics, and what of the rest."""
    hint = "write it like degraded: {detectors: [R22_S11], rest: wait}"
    below = table.table("degraded", hint=hint)
    if below is None:
        return {}
    made = {key: below.texts(key) for key in ("detectors", "metrics") if below.has(key)}
    if below.has("rest"):
        made["rest"] = (below.choice("rest", {"wait": "wait", "skip": "skip"}, "wait"),)
    below.done()
    return made


def _arguments(table: Table, key: str) -> dict[str, Any]:
    below = table.table(key, hint="write it like with: {threshold: 15}")
    return {entry.key: in_seconds(entry.node) for entry in below.entries()} if below else {}


def in_seconds(node: Node) -> Any:
    """The plain value of an argument; a text that is a duration becomes seconds."""
    if isinstance(node, Branch):
        return {entry.key: in_seconds(entry.node) for entry in node.entries.values()}
    if isinstance(node, Items):
        return [in_seconds(item) for item in node.items]
    if not isinstance(node.value, str):
        return node.value
    try:
        span = parse_duration(node.value)
    except ValueError:
        return node.value
    return to_seconds(span) if span <= LONGEST else node.value
