"""Reads the sections `heartbeat:` and `announce:` of `catcher.yaml`: targets and interval."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from catcher.model.errors import SourceLocation
from catcher.model.time import MINUTE, SECOND, Span
from catcher.site.adapters import (
    ANNOUNCEMENT_KINDS,
    HEARTBEAT_KINDS,
    AdapterKinds,
    Adapters,
    validate_section,
)
from catcher.site.mapping_reader import MappingReader
from catcher.site.settings_binding import AdapterSection
from catcher.site.suggestions import find_closest_name
from catcher.site.yaml_tree import ProblemCollector, YamlMapping, has_missing_secret, quote_text

DEFAULT_INTERVAL = 10 * SECOND
MIN_INTERVAL, MAX_INTERVAL = SECOND, 10 * MINUTE
_DECLARE_HINT = "declare one: sinks: {love: {love: {url: …}}}"
_HEARTBEAT_HINT = "write it like heartbeat: {every: 10s, mqtt: {host: broker.example}}"


@dataclass(frozen=True, slots=True)
class HeartbeatSettings:
    """How often the engine sends a heartbeat, and its targets by kind."""

    every: Span = DEFAULT_INTERVAL
    targets: tuple[AdapterSection, ...] = ()
    location: SourceLocation = field(default=SourceLocation(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain values, to see whether they were edited."""
        return {"every": self.every, **{target.kind: target.to_dict() for target in self.targets}}


def parse_heartbeat(reader: MappingReader, adapters: Adapters) -> HeartbeatSettings:
    """Reads the valid part of the section; without one, no heartbeat is sent."""
    child = reader.get_child_reader("heartbeat", hint=_HEARTBEAT_HINT)
    if child is None:
        return HeartbeatSettings()
    every = child.read_positive_span("every") or DEFAULT_INTERVAL
    if not MIN_INTERVAL <= every <= MAX_INTERVAL:
        message = "a heartbeat comes every second at most, and every 10 minutes at least"
        child.collector.add_error(
            child.value_location("every"), message, "write it like every: 10s"
        )
        every = DEFAULT_INTERVAL
    targets = parse_targets(child, replace(HEARTBEAT_KINDS, settings_classes=adapters))
    child.check_keys()
    return HeartbeatSettings(every, targets, child.location)


def parse_announcements(reader: MappingReader, adapters: Adapters) -> tuple[AdapterSection, ...]:
    """Reads the section `announce:`: where results are announced, and by which transport."""
    child = reader.get_child_reader(
        "announce", hint="write it like announce: {mqtt: {host: broker.example}}"
    )
    if child is None:
        return ()
    targets = parse_targets(child, replace(ANNOUNCEMENT_KINDS, settings_classes=adapters))
    child.check_keys()
    return targets


def parse_targets(reader: MappingReader, kinds: AdapterKinds) -> tuple[AdapterSection, ...]:
    """Reads the kinds that a mapping names, at least one, as far as their settings are valid."""
    targets: list[AdapterSection] = []
    for kind in kinds.available:
        node = reader.get_node(kind)
        if node is None or has_missing_secret(node):
            continue
        section_reader = reader.get_child_reader(kind, hint=f"write it like {kind}: {{key: value}}")
        if section_reader is not None:
            target = AdapterSection(kind, reader.key_location(kind), section_reader.node, kind)
            targets += (
                [validated]
                if (validated := validate_section(target, kinds, reader.collector))
                else []
            )
    if not any(map(reader.has_any_key, kinds.available)):
        message = f"{reader.title} does not say where to"
        reader.collector.add_error(
            reader.location, message, f"add one of {', '.join(kinds.available)}"
        )
    return tuple(targets)


def check_heartbeat_sinks(
    heartbeat: HeartbeatSettings, love_sinks: Collection[str] | None, collector: ProblemCollector
) -> None:
    """Reports a heartbeat whose sink does not exist or is no sink to LOVE.
    `love_sinks` are the names of the sinks to LOVE; None if the routes cannot be read.
    """
    for target in heartbeat.targets:
        entry = target.node.entries.get("sink") if isinstance(target.node, YamlMapping) else None
        name = str(target.to_dict().get("sink", ""))
        if target.kind != "love" or entry is None or love_sinks is None or name in love_sinks:
            continue
        match = find_closest_name(name, sorted(love_sinks))
        hint = f"did you mean {quote_text(match)}?" if match else _DECLARE_HINT
        message = f"there is no sink to LOVE named {quote_text(name)} in alerts/routes.yaml"
        collector.add_error(entry.node.location, message, hint)
