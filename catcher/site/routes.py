"""Reads `alerts/routes.yaml`: the sinks, and the tree that routes alerts to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from catcher.alerting.on_call import ON_SHIFT
from catcher.alerting.route_tree import AlertMatcher, Escalation, Route, RouteTree, SinkSpec
from catcher.alerting.solar import GeoLocation
from catcher.model.errors import SourceLocation
from catcher.site.adapters import SINK_KINDS, Adapters, parse_adapter_mapping, validate_section
from catcher.site.mapping_reader import MappingReader, create_reader
from catcher.site.route_parts import (
    ESCALATION_HINT,
    SINKS_HINT,
    has_solar_interval,
    list_escalation_readers,
    parse_alert_matcher,
    parse_noise_limits,
    parse_rate_limit,
    parse_time_intervals,
)
from catcher.site.settings_binding import AdapterSection
from catcher.site.suggestions import MAX_SUGGESTIONS, find_closest_name, format_suggestion
from catcher.site.yaml_tree import (
    ProblemCollector,
    YamlEntry,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    describe_node,
    node_to_value,
    quote_text,
)

ROUTES_FILE = "alerts/routes.yaml"
COMMON_SINK_KEYS = ("rate", "each")
"""Keys beside the kind of a sink."""
_DEFAULT_TREE = RouteTree()
_START_LOCATION = SourceLocation(ROUTES_FILE, 1, 1)
_CONSOLE_SINKS = {
    "console": AdapterSection(
        "console", _START_LOCATION, YamlMapping({}, _START_LOCATION), "console"
    )
}


@dataclass(frozen=True, slots=True)
class Routes:
    """The routing tree with each sink's section.
    `declared_sinks` also names the sinks that are broken; None if the file cannot be read.
    """

    tree: RouteTree = _DEFAULT_TREE
    sinks: Mapping[str, AdapterSection] = field(default_factory=lambda: dict(_CONSOLE_SINKS))
    declared_sinks: frozenset[str] | None = frozenset(_DEFAULT_TREE.sinks)


def parse_routes(
    node: YamlNode,
    collector: ProblemCollector,
    custom_sinks: Mapping[str, Path],
    adapters: Adapters,
    geo_location: GeoLocation | None = None,
) -> Routes:
    """Reads the routes of a document. A sink with a problem is left out of the tree.
    `geo_location` is where the site is; without it nothing can depend on the sun.
    """
    reader = create_reader(node, ROUTES_FILE, collector, "write `sinks:` and `route:`")
    if reader is None:
        return Routes(declared_sinks=None)
    routes_reader = _RoutesReader(reader, custom_sinks, adapters, geo_location)
    route, noise = routes_reader.parse_root_route(), parse_noise_limits(reader)
    reader.check_keys()
    # An alert that no usable sink would get goes to the console.
    fallback_sinks = (
        {} if routes_reader.sinks.keys() >= set(route.to) - {ON_SHIFT} else _CONSOLE_SINKS
    )
    sinks = {**fallback_sinks, **routes_reader.sinks}
    specs = {
        name: replace(
            routes_reader.specs.get(name, SinkSpec(name, section.kind)),
            settings=node_to_value(section.node), location=section.location,
        )
        for name, section in sinks.items()
    }  # fmt: skip
    tree = RouteTree(specs, route, routes_reader.people, noise, geo_location)
    on_shift = [ON_SHIFT] if routes_reader.people else []
    return Routes(tree, sinks, frozenset([*routes_reader.declared_sinks, *on_shift]))


class _RoutesReader:
    """Reads the sinks first, so that every route can be checked against them."""

    def __init__(
        self,
        reader: MappingReader,
        custom_sinks: Mapping[str, Path],
        adapters: Adapters,
        geo_location: GeoLocation | None,
    ) -> None:
        self._reader, self._geo_location = reader, geo_location
        planned = tuple(kind for kind in SINK_KINDS.planned if kind not in custom_sinks)
        available = (*SINK_KINDS.available, *custom_sinks)
        self._kinds = replace(
            SINK_KINDS, available=available, planned=planned, settings_classes=adapters
        )
        self.specs: dict[str, SinkSpec] = {}
        child = reader.get_child_reader("sinks", hint="write it like sinks: {console: {}}")
        self.declared_sinks = (
            [entry.key for entry in child.iter_entries()] if child else ["console"]
        )
        sections = (
            {entry.key: self._parse_sink(entry, reader) for entry in child.iter_entries()}
            if child
            else {}
        )
        self.sinks = {name: section for name, section in sections.items() if section is not None}
        self.people: dict[str, tuple[str, ...]] = {}
        self.people = self._parse_people()

    def _parse_sink(self, entry: YamlEntry, reader: MappingReader) -> AdapterSection | None:
        """Reads a sink; `name: {}` is a sink of the kind that it is named after."""
        node, title = entry.node, f"the sink '{entry.key[:40]}'"
        if isinstance(node, YamlScalar) and node.value is None:
            node = YamlMapping({}, entry.location)
        child = create_reader(node, title, reader.collector, "write it like tma: {slack: {…}}")
        if child is None:
            return None
        rate = parse_rate_limit(child)
        each = child.read_bool("each", True) if child.get_node("each") else None
        if (
            not set(child.node.entries) - set(COMMON_SINK_KEYS)
            and entry.key in self._kinds.available
        ):
            section = AdapterSection(
                entry.key, entry.location, YamlMapping({}, entry.location), entry.key
            )
            sink_section = validate_section(section, self._kinds, reader.collector)
        else:
            sink_section = parse_adapter_mapping(child, self._kinds, entry.key)
            child.check_keys()
        if sink_section is not None:
            self.specs[entry.key] = SinkSpec(
                entry.key, sink_section.kind, rate_limit=rate, ungrouped=each
            )
        return sink_section

    def _parse_people(self) -> dict[str, tuple[str, ...]]:
        """Reads who may be on shift, and how to reach each."""
        child = self._reader.get_child_reader(
            "people", hint="write it like people: {ana: [ana-phone]}"
        )
        return (
            {entry.key: self._parse_sink_names(child, entry.key) for entry in child.iter_entries()}
            if child
            else {}
        )

    def parse_root_route(self) -> Route:
        """Reads the root route, which takes every alert."""
        hint = "write it like route: {to: [console]}"
        child = self._reader.get_child_reader("route", hint=hint)
        if child is None:
            if self._reader.has_any_key("sinks") and not self._reader.has_any_key("route"):
                self._reader.require_key("route", hint)
            return _DEFAULT_TREE.route
        if child.has_any_key("match"):
            message = "the outermost route takes every alert, so it has no `match`"
            child.collector.add_error(
                child.key_location("match"), message, "put it in one below `routes:`"
            )
        child.require_key("to", "say who hears of what no other route takes, like to: [console]")
        route = self._parse_route(child)
        return route if route.to else replace(route, to=_DEFAULT_TREE.route.to)

    def _parse_route(self, reader: MappingReader) -> Route:
        route = Route(
            matcher=parse_alert_matcher(reader, "match") or AlertMatcher(),
            to=self._parse_sink_names(reader, "to"),
            group_by=reader.read_text_list("group_by") if reader.has_any_key("group_by") else None,
            group_wait=reader.read_span("group_wait"),
            repeat=reader.read_positive_span("repeat"),
            mute=parse_time_intervals(reader, "mute"),
            inhibit_if=parse_alert_matcher(reader, "inhibit_if"),
            escalate=self._parse_escalation(reader),
            undelivered=self._parse_escalation_step(
                reader.get_child_reader("undelivered", hint=ESCALATION_HINT)
            ),
            acknowledge=reader.read_positive_span("auto_acknowledge"),
            remind=reader.read_positive_span("reminder"),
            continues=reader.read_bool("continue", False),
            routes=tuple(
                self._parse_route(child)
                for child in reader.list_child_readers("routes", "the route")
            ),
            location=reader.location,
        )
        self._check_solar_location(reader, route)
        reader.check_keys()
        return route

    def _check_solar_location(self, reader: MappingReader, route: Route) -> None:
        if self._geo_location is None and has_solar_interval(
            (*route.mute, *route.matcher.time_intervals)
        ):
            message = "this route goes by the sun, and nobody says where the site is"
            hint = "write location: {latitude: …, longitude: …} into catcher.yaml"
            reader.collector.add_error(reader.location, message, hint)

    def _parse_sink_names(self, reader: MappingReader, key: str) -> tuple[str, ...]:
        node = reader.get_node(key)
        items = node.items if isinstance(node, YamlSequence) else (node,) if node else ()
        for item in items:
            if isinstance(item, YamlScalar) and item.value is not None:
                self._check_sink_name(reader, item)
        usable_sinks = self.sinks or _DEFAULT_TREE.sinks
        names = reader.read_text_list(key)
        return tuple(name for name in names if name in usable_sinks or self._is_on_shift(name))

    def _is_on_shift(self, name: str) -> bool:
        """True if a name stands for the person on shift. The people themselves have sinks."""
        return name == ON_SHIFT and bool(self.people)

    def _check_sink_name(self, reader: MappingReader, item: YamlScalar) -> None:
        if self._is_on_shift(item.text):
            return
        if item.text == ON_SHIFT and ON_SHIFT not in self.declared_sinks:
            message = "`on-shift` tells nobody: no people are named"
            hint = "name them and their sinks, like people: {ana: [ana-phone]}"
            reader.collector.add_warning(item.location, message, hint)
        elif item.text not in self.declared_sinks:
            message = f"there is no sink {describe_node(item)}"
            reader.collector.add_error(
                item.location, message, format_suggestion(item.text, self.declared_sinks)
            )

    def _parse_escalation(self, reader: MappingReader) -> Escalation | None:
        """Reads the steps in order; each is later than the one before."""
        chain: Escalation | None = None
        for child in reversed(list_escalation_readers(reader, "escalate")):
            step = self._parse_escalation_step(child)
            if step is None:
                continue
            if chain is not None and step.after >= chain.after:
                message = "the steps of `escalate` are not one after the other"
                hint = "each `after` counts from the beginning: 5m, then 15m"
                child.collector.add_error(child.location, message, hint)
                continue
            chain = replace(step, next_step=chain)
        return chain

    def _parse_escalation_step(self, child: MappingReader | None) -> Escalation | None:
        if child is None:
            return None
        child.require_key("after", ESCALATION_HINT)
        child.require_key("to", SINKS_HINT)
        after, sink_names = child.read_positive_span("after"), self._parse_sink_names(child, "to")
        child.check_keys()
        return Escalation(after, sink_names) if after and sink_names else None


def iter_literal_rule_names(route: Route) -> Iterator[tuple[Any, str]]:
    """Yields every literal rule name that a tree matches, with the location of its match."""
    for match in (route.matcher, route.inhibit_if):
        for name in match.rule if match is not None else ():
            if match is not None and not set(name) & set("*?["):
                yield match.location, name
    for child_route in route.routes:
        yield from iter_literal_rule_names(child_route)


def check_routed_rule_names(
    tree: RouteTree, known_rules: Sequence[str], collector: ProblemCollector
) -> None:
    """Warns of a route for a rule that does not exist."""
    for index, (location, name) in enumerate(iter_literal_rule_names(tree.route)):
        if name not in known_rules:
            match = find_closest_name(name, known_rules) if index < MAX_SUGGESTIONS else ""
            hint = f"did you mean {quote_text(match)}?" if match else "it will match nothing"
            collector.add_warning(location, f"there is no rule {quote_text(name)}", hint)
