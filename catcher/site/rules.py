"""One YAML document becomes one rule, or problems with their places."""

from __future__ import annotations

import re
from typing import Any

from catcher.model.event import RESULT_PREFIX, is_result
from catcher.model.rule import Expr, JobSpec, Read, Rule, Trigger
from catcher.site.alerts import read_alert
from catcher.site.jobs import read_job
from catcher.site.nodes import Branch, Entry, Node, Report, Scalar, quoted, shown
from catcher.site.reader import Table, expression_of, number_of, table_of
from catcher.site.trials import read_tests
from catcher.site.triggers import read_trigger

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", re.ASCII)
_START = "a rule starts with `rule: its-name` in the first line"


def read_rule(node: Node, report: Report) -> Rule | None:
    """The rule of a document, None where it is no mapping.

    Where the report has errors the rule is as much of it as could be read, for further checks.
    """
    name = rule_id(node)
    table = table_of(node, "a rule", report.about(name), _START)
    if table is None:
        return None
    table.what = "the rule"
    rule = _rule(table, name)
    table.done()
    return rule


def rule_id(node: Node | None) -> str:
    """The id that a document claims, empty where it has none."""
    named = node.get("rule") if isinstance(node, Branch) else None
    return named.text[:100] if isinstance(named, Scalar) else ""


def _rule(table: Table, name: str) -> Rule:
    _check_id(table)
    job = read_job(table) if table.has("job") else None
    table.raw("job")
    alert = read_alert(table, job is not None or table.has("job")) if table.has("alert") else None
    table.raw("alert")
    return Rule(
        id=name,
        trigger=_trigger(table),
        about=table.text("about"),
        owner=table.text("owner"),
        runbook=table.text("runbook"),
        tags=table.texts("tags"),
        enabled=table.flag("enabled", True),
        shadow=table.flag("shadow", False),
        reads=table.named("reads", "the read", _read, "write it like wind: {topic: …}"),
        let=_let(table),
        job=job if isinstance(job, JobSpec) else None,
        alert=alert,
        expect=_expect(table),
        tests=read_tests(table),
        place=table.place_of("rule"),
    )


def _check_id(table: Table) -> None:
    if not table.require("rule", _START):
        return
    name = table.text("rule")
    node = table.raw("rule")
    if isinstance(node, Scalar) and node.value is not None and not _ID.fullmatch(name):
        message = f"{quoted(name)} cannot be the name of a rule"
        table.report.error(node.place, message, "use letters, digits, - and _, at most 100")
    elif isinstance(node, Scalar) and not is_result(RESULT_PREFIX + name):
        message = f"{quoted(name)} cannot be the name of a rule: the topic is Catcher's own"
        table.report.error(node.place, message, "choose another")


def _trigger(table: Table) -> Trigger:
    hint = "say when it fires, for instance trigger: {event: TOPIC}"
    if not table.require("trigger", hint):
        return Trigger("event")
    below = table.table("trigger", "trigger", "write it like trigger: {event: TOPIC}")
    return read_trigger(below) if below else Trigger("event")


def check_name(entry: Entry, what: str, report: Report) -> None:
    """Reports a name that expressions or jobs could not use."""
    if not NAME.fullmatch(entry.key):
        message = f"{quoted(entry.key)} cannot be the name of {what}"
        report.error(entry.place, message, "use letters, digits and _, not a digit first")


def _read(entry: Entry, table: Table) -> Read:
    check_name(entry, "a read", table.report)
    table.require("topic", "name the topic to read")
    read = Read(table.text("topic"), table.expression("where"), table.duration("max_age"))
    table.done()
    return read


def _let(table: Table) -> dict[str, Expr]:
    below = table.table("let", hint='write it like gust: max_over(speed, "1m")')
    made: dict[str, Expr] = {}
    for entry in below.entries() if below else ():
        check_name(entry, "a sub-expression", table.report)
        if not isinstance(entry.node, Scalar):
            message = f"`{entry.key[:40]}` takes an expression, not {shown(entry.node)}"
            table.report.error(entry.node.place, message, "write it like speed > 10")
        elif expr := expression_of(entry.node, entry.key[:40], table.report):
            made[entry.key] = expr
    return made


def _expect(table: Table) -> dict[str, tuple[float, float]]:
    below = table.table("expect", hint="write it like image_impact_rms: [0, 0.05]")
    made: dict[str, tuple[float, float]] = {}
    for entry in below.entries() if below else ():
        limits = _limits(entry.node)
        if limits is None or limits[0] > limits[1]:
            message = f"`{entry.key[:40]}` takes its lowest and highest good value"
            table.report.error(entry.node.place, message, "write it like [0, 0.05]")
        else:
            made[entry.key] = limits
    return made


def _limits(node: Any) -> tuple[float, float] | None:
    items = getattr(node, "items", ())
    if isinstance(node, Branch) or len(items) != 2:
        return None
    low, high = (number_of(item) if isinstance(item, Scalar) else None for item in items)
    return None if low is None or high is None else (float(low), float(high))
