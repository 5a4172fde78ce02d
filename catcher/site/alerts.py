"""The `alert:` of a rule: whom to tell, how loud, in which words."""

from __future__ import annotations

import re

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, LevelSpec, UnknownSpec
from catcher.site.nodes import Branch, Scalar, quoted
from catcher.site.reader import Table

FORMS = ("json", "npz", "parquet", "csv", "png", "svg", "html", "fits", "txt")
_FILE = re.compile(rf"[A-Za-z0-9_][\w.-]{{0,99}}\.(?:{'|'.join(FORMS)})", re.ASCII)
_LEVELS = tuple(level for level in Severity if level > Severity.NONE)
_LEVEL = "write an expression, `always`, or {when: …, for: …, clear: …}"


def read_alert(rule: Table, has_job: bool) -> AlertSpec | None:
    """The alert of a rule."""
    table = rule.table("alert", hint="write it like alert: {warning: speed > 10}")
    if table is None:
        return None
    spec = AlertSpec(
        levels=_levels(table),
        per=table.expression("per"),
        message=table.text("message"),
        message_place=table.place_of("message"),
        attach=_attach(table),
        expires=table.duration("expires"),
        lasts=table.duration("lasts"),
        latch=table.severity("latch") or Severity.SERIOUS,
        failed=table.severity("failed"),
        unknown=_unknown(table),
        to=table.texts("to"),
        labels=table.labels("labels"),
        owner=table.text("owner"),
    )
    known = table.done()
    _check(table, has_job, known)
    return spec


def _check(table: Table, has_job: bool, known: bool) -> None:
    if known and not table.has("warning", "serious", "critical", "failed", "unknown"):
        hint = "add one, for instance warning: speed > 10"
        message = "the alert has no level: warning, serious or critical"
        table.report.error(table.place, message, hint)
    for key, use in (("expires", "use `lasts`"), ("failed", "delete it"), ("attach", "delete it")):
        if table.has(key) and not has_job:
            message = f"`{key}` speaks of a job, and this rule has none"
            table.report.error(table.key_place(key), message, f"{use}, or give the rule a job")


def _levels(table: Table) -> dict[Severity, LevelSpec]:
    made = {level: _level(table, str(level).lower()) for level in _LEVELS}
    return {level: spec for level, spec in made.items() if spec is not None}


def _level(table: Table, key: str) -> LevelSpec | None:
    node = table.raw(key)
    if node is None:
        return None
    if isinstance(node, Branch):
        return _full_level(table, key)
    if isinstance(node, Scalar) and node.text.strip() == "always":
        return LevelSpec(when=None)
    if isinstance(node, Scalar) and node.value is True:
        message = f"`{key}` takes an expression, not {node.text}"
        table.report.error(node.place, message, "write `always` for every firing")
        return None
    when = table.expression(key)
    return LevelSpec(when) if when else None


def _full_level(table: Table, key: str) -> LevelSpec | None:
    below = table.table(key, hint=_LEVEL)
    if below is None:
        return None
    below.require("when", _LEVEL)
    when = below.expression("when")
    spec = LevelSpec(
        when=None if when and when.text.strip() == "always" else when,
        hold=below.duration("for"),
        clear=below.expression("clear"),
        clear_hold=below.duration("clear_for"),
    )
    below.done()
    if spec.when is None and when and (spec.hold or spec.clear or spec.clear_hold):
        message = "`always` takes neither `for`, `clear` nor `clear_for`"
        below.report.error(below.place, message, f"write {key}: always")
    return spec


def _attach(table: Table) -> str:
    name = table.text("attach")
    if name and not _FILE.fullmatch(name):
        message = f"`attach` cannot be {quoted(name)}"
        hint = f"name an artifact of the job, ending in .{', .'.join(FORMS)}"
        table.report.error(table.place_of("attach"), message, hint)
    return name


def _unknown(table: Table) -> UnknownSpec | None:
    if not isinstance(table.raw("unknown"), Branch):
        severity = table.severity("unknown")
        return UnknownSpec(severity) if severity else None
    below = table.table("unknown")
    if below is None:
        return None
    below.require("severity", "write it like unknown: {severity: warning, for: 5m}")
    severity = below.severity("severity")
    after = below.span("for") or 0
    below.done()
    return UnknownSpec(severity, after) if severity else None
