"""Reads the `tests:` of a rule: stored as they were written, once their shape is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catcher.model.time import parse_instant
from catcher.site.mapping_reader import MappingReader, node_to_plain_value
from catcher.site.yaml_tree import (
    YamlEntry,
    YamlMapping,
    YamlScalar,
    YamlSequence,
    describe_node,
    quote_text,
)

_EXPECT_HINT = "write it like expect: {alerts: [{at: 3m30s, severity: warning}]}"
_FEED_HINT = 'write it like feed: {TOPIC: "{speed: 5} x 300 @ 1s"}'
_ENTRY_KEYS: dict[str, tuple[str, ...]] = {
    "alerts": ("at", "within", "severity", "state", "key", "per", "message", "reason"),
    "firings": ("at", "within", "key", "reason"),
    "runs": ("at", "within", "key", "state", "metrics", "job"),
}
_SPAN_KEYS = ("at", "within")
_SEVERITIES = {word: word for word in ("none", "warning", "serious", "critical")}


def parse_rule_tests(rule_reader: MappingReader) -> tuple[Mapping[str, Any], ...]:
    """Reads the tests of a rule as plain mappings: name, start, feed, expect."""
    names: set[str] = set()
    return tuple(
        _parse_rule_test(reader, names)
        for reader in rule_reader.list_child_readers("tests", "the test")
    )


def _parse_rule_test(reader: MappingReader, names: set[str]) -> Mapping[str, Any]:
    if reader.require_key("name", "say in words what it shows"):
        name = reader.read_text("name")
        if name in names:
            message = f"two tests are named {quote_text(name)}"
            reader.collector.add_error(reader.value_location("name"), message, "rename one")
        names.add(name)
    _check_start_time(reader)
    if reader.require_key("feed", _FEED_HINT):
        feed_reader = reader.get_child_reader("feed", hint=_FEED_HINT)
        for entry in feed_reader.iter_entries() if feed_reader else ():
            _check_feed_entry(entry, reader)
    if reader.require_key("expect", _EXPECT_HINT) and (
        expect_reader := reader.get_child_reader("expect", hint=_EXPECT_HINT)
    ):
        for kind in _ENTRY_KEYS:
            _check_expected_entries(expect_reader, kind)
        expect_reader.check_keys()
    reader.check_keys()
    return node_to_plain_value(reader.node)  # type: ignore[no-any-return]


def _check_start_time(reader: MappingReader) -> None:
    text = reader.read_text("start")
    try:
        parse_instant(text or 0)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        reader.collector.add_error(reader.value_location("start"), message, hint)


def _check_feed_entry(entry: YamlEntry, reader: MappingReader) -> None:
    is_valid = isinstance(entry.node, YamlSequence) or (
        isinstance(entry.node, YamlScalar) and isinstance(entry.node.value, str)
    )
    if not is_valid:
        message = f"the feed of {quote_text(entry.key)} cannot be {describe_node(entry.node)}"
        reader.collector.add_error(entry.node.location, message, _FEED_HINT)


def _check_expected_entries(expect_reader: MappingReader, kind: str) -> None:
    node = expect_reader.get_node(kind)
    if isinstance(node, YamlScalar) and node.value is not None:
        expect_reader.read_integer(kind, 0, 1_000_000)
        return
    for child in expect_reader.list_child_readers(kind, f"an entry of {kind}"):
        for key in _ENTRY_KEYS[kind]:
            if key in _SPAN_KEYS:
                child.read_span(key)
            elif key == "severity":
                child.read_choice(key, _SEVERITIES, "none")
            elif isinstance(child.node.get(key), YamlMapping):
                child.get_node(key)
            else:
                child.read_text(key)
        child.check_keys()
