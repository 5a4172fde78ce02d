"""The `tests:` of a rule: kept as they were written, once their shape is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.time import parse_instant
from catcher.site.nodes import Branch, Entry, Items, Scalar, quoted, shown
from catcher.site.reader import Table, json_of

_EXPECT = "write it like expect: {alerts: [{at: 3m30s, severity: warning}]}"
_FEED = 'write it like feed: {TOPIC: "{speed: 5} x 300 @ 1s"}'
_ENTRY: dict[str, tuple[str, ...]] = {
    "alerts": ("at", "within", "severity", "state", "key", "per", "message", "reason"),
    "firings": ("at", "within", "key", "reason"),
    "runs": ("at", "within", "key", "state", "metrics", "job"),
}
_SPANS = ("at", "within")
_SEVERITIES = {word: word for word in ("none", "warning", "serious", "critical")}


def read_tests(rule: Table) -> tuple[Mapping[str, Any], ...]:
    """The tests of a rule as plain mappings: name, start, feed, expect."""
    names: set[str] = set()
    return tuple(_test(table, names) for table in rule.tables("tests", "the test"))


def _test(table: Table, names: set[str]) -> Mapping[str, Any]:
    if table.require("name", "say in words what it shows"):
        name = table.text("name")
        if name in names:
            message = f"two tests are named {quoted(name)}"
            table.report.error(table.place_of("name"), message, "rename one")
        names.add(name)
    _start(table)
    if table.require("feed", _FEED):
        feed = table.table("feed", hint=_FEED)
        for entry in feed.entries() if feed else ():
            _stream(entry, table)
    if table.require("expect", _EXPECT) and (expect := table.table("expect", hint=_EXPECT)):
        for kind in _ENTRY:
            _expected(expect, kind)
        expect.done()
    table.done()
    return json_of(table.node)  # type: ignore[no-any-return]


def _start(table: Table) -> None:
    text = table.text("start")
    try:
        parse_instant(text or 0)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        table.report.error(table.place_of("start"), message, hint)


def _stream(entry: Entry, table: Table) -> None:
    fine = isinstance(entry.node, Items) or (
        isinstance(entry.node, Scalar) and isinstance(entry.node.value, str)
    )
    if not fine:
        message = f"the feed of {quoted(entry.key)} cannot be {shown(entry.node)}"
        table.report.error(entry.node.place, message, _FEED)


def _expected(expect: Table, kind: str) -> None:
    node = expect.raw(kind)
    if isinstance(node, Scalar) and node.value is not None:
        expect.integer(kind, 0, 1_000_000)
        return
    for below in expect.tables(kind, f"an entry of {kind}"):
        for key in _ENTRY[kind]:
            if key in _SPANS:
                below.span(key)
            elif key == "severity":
                below.choice(key, _SEVERITIES, "none")
            elif isinstance(below.node.get(key), Branch):
                below.raw(key)
            else:
                below.text(key)
        below.done()
