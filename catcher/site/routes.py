"""`alerts/routes.yaml`: the sinks, and the tree that says which alert goes to which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from catcher.alerting.rota import ON_SHIFT
from catcher.alerting.routing import HandOn, Match, Route, RouteTree, SinkSpec
from catcher.alerting.sun import Ground
from catcher.model.problem import Place
from catcher.site.adapters import SINKS, Adapters, fit, one_of
from catcher.site.binding import Section
from catcher.site.nodes import Branch, Entry, Items, Node, Report, Scalar, bare, quoted, shown
from catcher.site.reader import Table, table_of
from catcher.site.route_parts import (
    HAND_ON,
    TO,
    by_the_sun,
    hand_ons,
    read_match,
    read_noise,
    read_rate,
    windows,
)
from catcher.site.words import MOST_SUGGESTIONS, closest, suggestion

FILE = "alerts/routes.yaml"
OF_ANY_SINK = ("rate", "each")
"""Keys that stand beside the kind of a sink."""
_TREE = RouteTree()
_START = Place(FILE, 1, 1)
_CONSOLE = {"console": Section("console", _START, Branch({}, _START), "console")}


@dataclass(frozen=True, slots=True)
class Routes:
    """The tree with each sink's section.

    `declared` also names the sinks that are broken; None where the file cannot be read.
    """

    tree: RouteTree = _TREE
    sinks: Mapping[str, Section] = field(default_factory=lambda: dict(_CONSOLE))
    declared: frozenset[str] | None = frozenset(_TREE.sinks)


def read_routes(
    node: Node,
    report: Report,
    custom: Mapping[str, Path],
    adapters: Adapters,
    ground: Ground | None = None,
) -> Routes:
    """The routes of a document. A sink with a problem is left out of the tree.

    `ground` is where the site is; without it nothing can go by the sun.
    """
    table = table_of(node, FILE, report, "write `sinks:` and `route:`")
    if table is None:
        return Routes(declared=None)
    reader = _Reader(table, custom, adapters, ground)
    route, noise = reader.root(), read_noise(table)
    table.done()
    # An alert that no usable sink would get is told on the console.
    stand_in = {} if reader.sinks.keys() >= set(route.to) - {ON_SHIFT} else _CONSOLE
    sinks = {**stand_in, **reader.sinks}
    specs = {
        name: replace(
            reader.specs.get(name, SinkSpec(name, one.kind)),
            settings=bare(one.node), place=one.place,
        )
        for name, one in sinks.items()
    }  # fmt: skip
    tree = RouteTree(specs, route, reader.people, noise, ground)
    on_shift = [ON_SHIFT] if reader.people else []
    return Routes(tree, sinks, frozenset([*reader.declared, *on_shift]))


class _Reader:
    """Reads the sinks first, so that every route can be checked against them."""

    def __init__(
        self, table: Table, custom: Mapping[str, Path], adapters: Adapters, ground: Ground | None
    ) -> None:
        self._table, self._ground = table, ground
        later = tuple(kind for kind in SINKS.later if kind not in custom)
        here = (*SINKS.here, *custom)
        self._kinds = replace(SINKS, here=here, later=later, classes=adapters)
        self.specs: dict[str, SinkSpec] = {}
        below = table.table("sinks", hint="write it like sinks: {console: {}}")
        self.declared = [entry.key for entry in below.entries()] if below else ["console"]
        made = {entry.key: self._sink(entry, table) for entry in below.entries()} if below else {}
        self.sinks = {name: one for name, one in made.items() if one is not None}
        self.people: dict[str, tuple[str, ...]] = {}
        self.people = self._people()

    def _sink(self, entry: Entry, table: Table) -> Section | None:
        """`name: {}` is a sink of the kind that it is named after."""
        node, what = entry.node, f"the sink '{entry.key[:40]}'"
        if isinstance(node, Scalar) and node.value is None:
            node = Branch({}, entry.place)
        below = table_of(node, what, table.report, "write it like tma: {slack: {…}}")
        if below is None:
            return None
        rate = read_rate(below)
        each = below.flag("each", True) if below.raw("each") else None
        if not set(below.node.entries) - set(OF_ANY_SINK) and entry.key in self._kinds.here:
            section = Section(entry.key, entry.place, Branch({}, entry.place), entry.key)
            made = fit(section, self._kinds, table.report)
        else:
            made = one_of(below, self._kinds, entry.key)
            below.done()
        if made is not None:
            self.specs[entry.key] = SinkSpec(entry.key, made.kind, rate=rate, each=each)
        return made

    def _people(self) -> dict[str, tuple[str, ...]]:
        """Who may be on shift, and how to reach each."""
        below = self._table.table("people", hint="write it like people: {ana: [ana-phone]}")
        return {entry.key: self._to(below, entry.key) for entry in below.entries()} if below else {}

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
        route = Route(
            match=read_match(table, "match") or Match(),
            to=self._to(table, "to"),
            group_by=table.texts("group_by") if table.has("group_by") else None,
            group_wait=table.span("group_wait"),
            repeat=table.duration("repeat"),
            mute=windows(table, "mute"),
            inhibit_if=read_match(table, "inhibit_if"),
            escalate=self._escalation(table),
            undelivered=self._hand_on(table.table("undelivered", hint=HAND_ON)),
            acknowledge=table.duration("auto_acknowledge"),
            remind=table.duration("reminder"),
            continues=table.flag("continue", False),
            routes=tuple(self._route(below) for below in table.tables("routes", "the route")),
            place=table.place,
        )
        self._check_sun(table, route)
        table.done()
        return route

    def _check_sun(self, table: Table, route: Route) -> None:
        if self._ground is None and by_the_sun((*route.mute, *route.match.time)):
            message = "this route goes by the sun, and nobody says where the site is"
            hint = "write location: {latitude: …, longitude: …} into catcher.yaml"
            table.report.error(table.place, message, hint)

    def _to(self, table: Table, key: str) -> tuple[str, ...]:
        node = table.raw(key)
        items = node.items if isinstance(node, Items) else (node,) if node else ()
        for item in items:
            if isinstance(item, Scalar) and item.value is not None:
                self._check(table, item)
        usable = self.sinks or _TREE.sinks
        names = table.texts(key)
        return tuple(name for name in names if name in usable or self._on_shift(name))

    def _on_shift(self, name: str) -> bool:
        """Whether a name stands for whoever is on shift. The people themselves have sinks."""
        return name == ON_SHIFT and bool(self.people)

    def _check(self, table: Table, item: Scalar) -> None:
        if self._on_shift(item.text):
            return
        if item.text == ON_SHIFT and ON_SHIFT not in self.declared:
            message = "`on-shift` tells nobody: no people are named"
            hint = "name them and their sinks, like people: {ana: [ana-phone]}"
            table.report.warning(item.place, message, hint)
        elif item.text not in self.declared:
            message = f"there is no sink {shown(item)}"
            table.report.error(item.place, message, suggestion(item.text, self.declared))

    def _escalation(self, table: Table) -> HandOn | None:
        """The steps one after the other; each later than the one before."""
        chain: HandOn | None = None
        for below in reversed(hand_ons(table, "escalate")):
            step = self._hand_on(below)
            if step is None:
                continue
            if chain is not None and step.after >= chain.after:
                message = "the steps of `escalate` are not one after the other"
                hint = "each `after` counts from the beginning: 5m, then 15m"
                below.report.error(below.place, message, hint)
                continue
            chain = replace(step, then=chain)
        return chain

    def _hand_on(self, below: Table | None) -> HandOn | None:
        if below is None:
            return None
        below.require("after", HAND_ON)
        below.require("to", TO)
        after, to = below.duration("after"), self._to(below, "to")
        below.done()
        return HandOn(after, to) if after and to else None


def rules_named(route: Route) -> Iterator[tuple[Any, str]]:
    """Every plain rule name that a tree matches, with the place of its match."""
    for match in (route.match, route.inhibit_if):
        for name in match.rule if match is not None else ():
            if match is not None and not set(name) & set("*?["):
                yield match.place, name
    for below in route.routes:
        yield from rules_named(below)


def check_rules_named(tree: RouteTree, known: Sequence[str], report: Report) -> None:
    """Warns of a route for a rule that isn't there."""
    for number, (place, name) in enumerate(rules_named(tree.route)):
        if name not in known:
            best = closest(name, known) if number < MOST_SUGGESTIONS else ""
            hint = f"did you mean {quoted(best)}?" if best else "it will match nothing"
            report.warning(place, f"there is no rule {quoted(name)}", hint)
