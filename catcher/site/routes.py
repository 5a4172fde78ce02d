"""`alerts/routes.yaml`: the sinks, and the tree that says which alert goes to which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from catcher.alerting.routing import (
    NOT_YET,
    HandOn,
    Match,
    Route,
    RouteTree,
    SeverityTest,
    SinkSpec,
    TimeWindow,
)
from catcher.model.problem import Place
from catcher.site.adapters import SINKS, Adapters, fit, one_of
from catcher.site.binding import Section
from catcher.site.nodes import Branch, Entry, Items, Node, Report, Scalar, bare, quoted, shown
from catcher.site.reader import Table, table_of
from catcher.site.words import MOST_SUGGESTIONS, closest, suggestion

FILE = "alerts/routes.yaml"
ON_SHIFT = "on-shift"
_TREE = RouteTree()
_START = Place(FILE, 1, 1)
_CONSOLE = {"console": Section("console", _START, Branch({}, _START), "console")}
_TO = "write it like to: [console]"
_HAND_ON = "write it like {after: 5m, to: [console]}"

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Routes:
    """The tree with each sink's section.

    `declared` also names the sinks that are broken; None where the file cannot be read.
    """

    tree: RouteTree = _TREE
    sinks: Mapping[str, Section] = field(default_factory=lambda: dict(_CONSOLE))
    declared: frozenset[str] | None = frozenset(_TREE.sinks)


def read_routes(
    node: Node, report: Report, custom: Mapping[str, Path], adapters: Adapters
) -> Routes:
    """The routes of a document. A sink with a problem is left out of the tree."""
    table = table_of(node, FILE, report, "write `sinks:` and `route:`")
    if table is None:
        return Routes(declared=None)
    reader = _Reader(table, custom, adapters)
    route = reader.root()
    table.done()
    # An alert that no usable sink would get is told on the console.
    stand_in = {} if reader.sinks.keys() >= set(route.to) else _CONSOLE
    sinks = {**stand_in, **reader.sinks}
    specs = {
        name: SinkSpec(name, one.kind, bare(one.node), one.place) for name, one in sinks.items()
    }
    return Routes(RouteTree(specs, route), sinks, frozenset(reader.declared))


class _Reader:
    """Reads the sinks first, so that every route can be checked against them."""

    def __init__(self, table: Table, custom: Mapping[str, Path], adapters: Adapters) -> None:
        self._table = table
        later = tuple(kind for kind in SINKS.later if kind not in custom)
        here = (*SINKS.here, *custom)
        self._kinds = replace(SINKS, here=here, later=later, classes=adapters)
        below = table.table("sinks", hint="write it like sinks: {console: {}}")
        self.declared = [entry.key for entry in below.entries()] if below else ["console"]
        made = {entry.key: self._sink(entry, table) for entry in below.entries()} if below else {}
        self.sinks = {name: one for name, one in made.items() if one is not None}

    def _sink(self, entry: Entry, table: Table) -> Section | None:
        """`name: {}` is a sink of the kind that it is named after."""
        node, what = entry.node, f"the sink '{entry.key[:40]}'"
        if isinstance(node, Scalar) and node.value is None:
            node = Branch({}, entry.place)
        if isinstance(node, Branch) and not node.entries and entry.key in self._kinds.here:
            section = Section(entry.key, entry.place, node, entry.key)
            return fit(section, self._kinds, table.report)
        below = table_of(node, what, table.report, "write it like tma: {slack: {…}}")
        if below is None:
            return None
        made = one_of(below, self._kinds, entry.key)
        below.done()
        return made

    def root(self) -> Route:
        """The outermost route, which takes every alert."""
        hint = "write it like route: {to: [console]}"
        below = self._table.table("route", hint=hint)
        if below is None:
            if self._table.has("sinks") and not self._table.has("route"):
                self._table.require("route", hint)
            return _TREE.route
        if below.has("match"):
            message = "the outermost route takes every alert, so it has no `match`"
            below.report.error(below.key_place("match"), message, "put it in one below `routes:`")
        below.require("to", "say who hears of what no other route takes, like to: [console]")
        route = self._route(below)
        return route if route.to else replace(route, to=_TREE.route.to)

    def _route(self, table: Table) -> Route:
        for key in sorted(NOT_YET):
            if table.has(key):
                message = f"`{key}` has no effect in this version"
                table.report.warning(table.key_place(key), message, "each alert is told by itself")
        route = Route(
            match=_match(table, "match") or Match(),
            to=self._to(table, "to"),
            group_by=table.texts("group_by") if table.has("group_by") else None,
            group_wait=table.span("group_wait"),
            repeat=table.duration("repeat"),
            mute=_parsed(table, "mute", TimeWindow.parse),
            inhibit_if=_match(table, "inhibit_if"),
            escalate=self._hand_on(table, "escalate"),
            undelivered=self._hand_on(table, "undelivered"),
            continues=table.flag("continue", False),
            routes=tuple(self._route(below) for below in table.tables("routes", "the route")),
            place=table.place,
        )
        table.done()
        return route

    def _to(self, table: Table, key: str) -> tuple[str, ...]:
        return self._known(table, key, table.raw(key), table.texts(key))

    def _known(
        self, table: Table, key: str, node: Node | None, names: tuple[str, ...]
    ) -> tuple[str, ...]:
        items = node.items if isinstance(node, Items) else (node,) if node else ()
        for item in items:
            if isinstance(item, Scalar) and item.value is not None:
                self._check(table, key, item)
        usable = self.sinks or _TREE.sinks
        return tuple(name for name in names if name in usable)

    def _check(self, table: Table, key: str, item: Scalar) -> None:
        if item.text == ON_SHIFT and ON_SHIFT not in self.declared:
            message = "`on-shift` tells nobody: this version knows no shifts"
            table.report.warning(item.place, message, "name a sink as well")
        elif item.text not in self.declared:
            message = f"there is no sink {shown(item)}"
            table.report.error(item.place, message, suggestion(item.text, self.declared))

    def _hand_on(self, table: Table, key: str) -> HandOn | None:
        below = table.table(key, hint=_HAND_ON)
        if below is None:
            return None
        below.require("after", _HAND_ON)
        below.require("to", _TO)
        after, to = below.duration("after"), self._to(below, "to")
        below.done()
        return HandOn(after, to) if after and to else None


def _match(table: Table, key: str) -> Match | None:
    below = table.table(key, hint="write it like match: {owner: tma, severity: '>= serious'}")
    if below is None:
        return None
    severity = _parsed(below, "severity", SeverityTest.parse)
    match = Match(
        rule=below.texts("rule"),
        severity=severity[0] if severity else None,
        owner=below.texts("owner"),
        tags=below.texts("tags"),
        labels=below.labels("labels"),
        time=_parsed(below, "time", TimeWindow.parse),
        place=below.place,
    )
    below.done()
    return match


def _parsed(table: Table, key: str, parse: Callable[[str], Parsed]) -> tuple[Parsed, ...]:
    """The texts of a key, each parsed; what cannot be is a problem."""
    made = []
    for text in table.texts(key):
        try:
            made.append(parse(text))
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            table.report.error(table.place_of(key), message, hint)
    return tuple(made)


def rules_named(route: Route) -> list[tuple[Any, str]]:
    """Every plain rule name that a tree matches, with the place of its match."""
    matches = [match for match in (route.match, route.inhibit_if) if match is not None]
    found = [(match.place, name) for match in matches for name in match.rule]
    for below in route.routes:
        found += rules_named(below)
    return [(place, name) for place, name in found if not set(name) & set("*?[")]


def check_rules_named(tree: RouteTree, known: Sequence[str], report: Report) -> None:
    """Warns of a route for a rule that isn't there."""
    for number, (place, name) in enumerate(rules_named(tree.route)):
        if name not in known:
            best = closest(name, known) if number < MOST_SUGGESTIONS else ""
            hint = f"did you mean {quoted(best)}?" if best else "it will match nothing"
            report.warning(place, f"there is no rule {quoted(name)}", hint)
