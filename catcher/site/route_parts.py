"""Reads the parts of a route: what it matches, when, and to whom it escalates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from catcher.alerting.limits import FlappingLimit, FloodLimit, NoiseLimits, RateLimit
from catcher.alerting.matchers import AlertMatcher, SeverityMatcher, SolarInterval
from catcher.alerting.time_intervals import RecurringInterval, parse_interval
from catcher.site.mapping_reader import MappingReader
from catcher.site.yaml_tree import YamlMapping, YamlScalar, YamlSequence

ESCALATION_HINT = "write it like {after: 5m, to: [console]}"
SINKS_HINT = "write it like to: [console]"
_NOISE_HINT = "write it like noise: {flood: {above: 10, below: 5, within: 10m}}"
ParsedT = TypeVar("ParsedT")


def parse_alert_matcher(reader: MappingReader, key: str) -> AlertMatcher | None:
    """Reads which alerts match."""
    child = reader.get_child_reader(
        key, hint="write it like match: {owner: tma, severity: '>= serious'}"
    )
    if child is None:
        return None
    severity = parse_each_text(child, "severity", SeverityMatcher.parse)
    unknown = child.read_bool("unknown", True)
    match = AlertMatcher(
        rule=child.read_text_list("rule"),
        severity=severity[0] if severity else None,
        owner=child.read_text_list("owner"),
        tags=child.read_text_list("tags"),
        labels=child.read_text_mapping("labels"),
        time_intervals=parse_time_intervals(child, "time"),
        unknown=unknown if child.has_any_key("unknown") else None,
        location=child.location,
    )
    child.check_keys()
    return match


def parse_time_intervals(reader: MappingReader, key: str) -> tuple[RecurringInterval, ...]:
    """Reads time intervals: hours, `day`, `night`, `sun < -12`."""
    return parse_each_text(reader, key, parse_interval)


def has_solar_interval(windows: tuple[RecurringInterval, ...]) -> bool:
    """True if one of the intervals depends on the elevation of the sun."""
    return any(isinstance(window, SolarInterval) for window in windows)


def parse_each_text(
    reader: MappingReader, key: str, parse: Callable[[str], ParsedT]
) -> tuple[ParsedT, ...]:
    """Reads the texts of a key, each parsed; reports those that cannot be."""
    values = []
    for text in reader.read_text_list(key):
        try:
            values.append(parse(text))
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            reader.collector.add_error(reader.value_location(key), message, hint)
    return tuple(values)


def parse_rate_limit(reader: MappingReader) -> RateLimit | None:
    """Reads `rate: 30 per 1m` of a sink."""
    rates = parse_each_text(reader, "rate", RateLimit.parse)
    return rates[0] if rates else None


def list_escalation_readers(reader: MappingReader, key: str) -> list[MappingReader]:
    """Reads the steps of an escalation: one mapping, or a list of them."""
    if isinstance(reader.get_node(key), YamlSequence):
        return reader.list_child_readers(key, f"`{key}`")
    child = reader.get_child_reader(key, hint=ESCALATION_HINT)
    return [child] if child is not None else []


def parse_noise_limits(reader: MappingReader) -> NoiseLimits:
    """Reads when an alert flaps and when alerts are a flood; `off` disables one of them."""
    child = reader.get_child_reader("noise", hint=_NOISE_HINT)
    if child is None:
        return NoiseLimits()
    noise = NoiseLimits(_parse_flapping_limit(child), _parse_flood_limit(child))
    child.check_keys()
    return noise


def _parse_flapping_limit(reader: MappingReader) -> FlappingLimit | None:
    bounds = _get_limit_reader(reader, "flapping")
    if not isinstance(bounds, MappingReader):
        return FlappingLimit() if bounds else None
    defaults = FlappingLimit()
    flapping = FlappingLimit(
        min_flaps=bounds.read_integer("swings", 2, 50) or defaults.min_flaps,
        within=bounds.read_positive_span("within") or defaults.within,
        calm_after=bounds.read_positive_span("calm") or defaults.calm_after,
    )
    bounds.check_keys()
    return flapping


def _parse_flood_limit(reader: MappingReader) -> FloodLimit | None:
    bounds = _get_limit_reader(reader, "flood")
    if not isinstance(bounds, MappingReader):
        return FloodLimit() if bounds else None
    defaults = FloodLimit()
    above = bounds.read_integer("above", 1, 10_000) or defaults.start_above
    below = bounds.read_integer("below", 1, 10_000) or min(defaults.end_below, above)
    within = bounds.read_positive_span("within") or defaults.within
    bounds.check_keys()
    if below > above:
        message = "a flood cannot end while it would begin anew"
        bounds.collector.add_error(
            bounds.value_location("below"), message, "`below` is at most `above`"
        )
        below = above
    return FloodLimit(above, below, within)


def _get_limit_reader(reader: MappingReader, key: str) -> MappingReader | bool:
    """Reads the mapping of a limit; False if it is `off`, True if it is absent."""
    node = reader.get_node(key)
    if node is None:
        return True
    if isinstance(node, YamlMapping):
        return reader.get_child_reader(key) or True
    if isinstance(node, YamlScalar) and node.text == "off":
        return False
    hint = f"write {key}: off, or a mapping"
    reader.collector.add_error(node.location, f"`{key}` takes a mapping or off", hint)
    return True
