"""Reads a mapping by a grammar: each key is read by name and kind, and the rest are refused.
A method that cannot read its key reports why, where and how to fix it, and returns what an absent
key would give, so that one pass finds every problem of a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from catcher.model.alert import Severity
from catcher.model.errors import SourceLocation
from catcher.model.rule import Expression
from catcher.model.time import DAY, Span, parse_duration
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
    parse_scalar,
    quote_text,
)

MAX_SPAN: Span = 36_525 * DAY
MAX_EXACT_INTEGER = 2.0**53
MAX_ENTRIES = 1_000

ChoiceT = TypeVar("ChoiceT", bound=str)
ItemT = TypeVar("ItemT")

_SIZE_PATTERN = re.compile(r"(\d{1,12}(?:\.\d{1,3})?) ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?")
_SIZE_UNITS = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


class MappingReader:
    """A mapping being read. `title` is its name in messages, as in `trigger has no key 'wen'`."""

    def __init__(self, node: YamlMapping, collector: ProblemCollector, title: str) -> None:
        self.node, self.collector, self.title = node, collector, title
        self._known_keys: list[str] = []
        self._missing_keys: dict[str, str] = {}

    @property
    def location(self) -> SourceLocation:
        """Where the mapping begins."""
        return self.node.location

    def has_any_key(self, *keys: str) -> bool:
        """True if one of the keys is present."""
        return any(key in self.node.entries for key in keys)

    def value_location(self, key: str) -> SourceLocation:
        """Returns the location of a key's value, or of the mapping if it is absent."""
        node = self.node.get(key)
        return node.location if node else self.location

    def key_location(self, key: str) -> SourceLocation:
        """Returns the location of a key itself, or of the mapping if it is absent."""
        entry = self.node.entries.get(key)
        return entry.location if entry else self.location

    def require_key(self, key: str, hint: str) -> bool:
        """True if a key is present; `check_keys` reports its lack, unless it was only misspelt."""
        if self.has_any_key(key):
            return True
        self._known_keys.append(key)
        self._missing_keys[key] = hint
        return False

    def get_node(self, key: str) -> YamlNode | None:
        """Returns a key's node, of any kind; None if it is absent."""
        self._known_keys.append(key)
        return self.node.get(key)

    def read_text(self, key: str, default: str = "") -> str:
        """Reads a text; a number or truth value counts as it is written."""
        node = self._get_scalar(key, "a text")
        return node.text.strip("\n") if node else default

    def read_choice(self, key: str, options: Mapping[str, ChoiceT], default: ChoiceT) -> ChoiceT:
        """Reads one of several words."""
        node = self._get_scalar(key, "one of " + ", ".join(options))
        if node is None:
            return default
        if node.text in options:
            return options[node.text]
        message = f"`{key}` cannot be {describe_node(node)}"
        self.collector.add_error(node.location, message, format_suggestion(node.text, options))
        return default

    def read_severity(self, key: str, default: Severity | None = None) -> Severity | None:
        """Reads `warning`, `serious` or `critical`."""
        names = {str(level).lower(): str(level) for level in Severity if level > Severity.NONE}
        severity_name = self.read_choice(key, names, str(default) if default else "")
        return Severity.parse(severity_name) if severity_name else None

    def read_positive_span(self, key: str) -> Span | None:
        """Reads a span such as `30s`, above 0."""
        span = self.read_span(key)
        if span == 0:
            self.collector.add_error(
                self.value_location(key), f"`{key}` cannot be nought", "write it like 30s"
            )
            return None
        return span

    def read_span(self, key: str) -> Span | None:
        """Reads a span such as `30s`, or 0."""
        node = self._get_scalar(key, "a duration", "write it like 30s, 5m, 1h30m or 2d")
        return parse_span(node, key, self.collector) if node else None

    def read_size(self, key: str) -> int | None:
        """Reads a number of bytes such as `512 MB`."""
        node = self._get_scalar(key, "a size", "write it like 512MB or 2GiB")
        if node is None:
            return None
        match = _SIZE_PATTERN.fullmatch(node.text)
        if (
            match is None
            or (byte_count := int(float(match[1]) * _SIZE_UNITS[match[2] or "B"])) <= 0
        ):
            message = f"`{key}` takes a size, not {describe_node(node)}"
            self.collector.add_error(node.location, message, "write it like 512MB or 2GiB")
            return None
        return byte_count

    def read_expression(self, key: str) -> Expression | None:
        """Reads an expression with the location of its first character."""
        node = self._get_scalar(key, "an expression", "write it like speed > 10")
        return parse_expression(node, key, self.collector) if node else None

    def read_integer(self, key: str, low: int, high: int) -> int | None:
        """Reads an integer from `low` to `high`."""
        number = self._read_number(key, "a whole number", low, high, is_whole=True)
        return None if number is None else int(number)

    def read_number(self, key: str, low: float, high: float) -> float | None:
        """Reads a number from `low` to `high`."""
        return self._read_number(key, "a number", low, high)

    def _read_number(
        self, key: str, noun: str, low: float, high: float, is_whole: bool = False
    ) -> float | None:
        node = self._get_scalar(key, noun)
        if node is None:
            return None
        value = scalar_to_number(node)
        if value is None or not low <= value <= high or (is_whole and value != int(value)):
            limits = f" from {low:g} to {high:g}" if high < MAX_EXACT_INTEGER else ""
            message = f"`{key}` takes {noun}{limits}, not {describe_node(node)}"
            hint = "write the number without quotes" if node.is_quoted else ""
            self.collector.add_error(node.location, message, hint)
            return None
        return value

    def read_bool(self, key: str, default: bool) -> bool:
        """Reads `true` or `false`."""
        node = self._get_scalar(key, "true or false")
        if node is None:
            return default
        value = {"true": True, "false": False}.get(node.text)
        if value is None:
            hint = "write true or false, in small letters"
            self.collector.add_error(
                node.location, f"`{key}` is true or false, not {describe_node(node)}", hint
            )
            return default
        return value

    def read_text_list(self, key: str) -> tuple[str, ...]:
        """Reads a list of texts; a single text is a list of one."""
        node = self._get_nonempty_node(key, "a list of texts", "write it like [a, b]")
        return parse_text_list(node, key, self.collector) if node else ()

    def read_text_mapping(self, key: str) -> dict[str, str]:
        """Reads a mapping of texts to texts."""
        reader = self.get_child_reader(key)
        return (
            {entry.key: reader.read_text(entry.key) for entry in reader.iter_entries()}
            if reader
            else {}
        )

    def get_child_reader(self, key: str, title: str = "", hint: str = "") -> MappingReader | None:
        """Reads a mapping below a key."""
        node = self._get_nonempty_node(key, "a mapping", hint)
        return create_reader(node, title or f"`{key}`", self.collector, hint) if node else None

    def list_child_readers(self, key: str, title: str = "") -> list[MappingReader]:
        """Reads a list of mappings below a key."""
        node = self._get_nonempty_node(key, "a list", "start each entry with `- `")
        if node is None:
            return []
        if not isinstance(node, YamlSequence):
            message = f"`{key}` takes a list, not {describe_node(node)}"
            self.collector.add_error(node.location, message, "start each entry with `- `")
            return []
        readers = (
            create_reader(item, title or f"an entry of `{key}`", self.collector)
            for item in node.items
        )
        return [reader for reader in readers if reader is not None]

    def iter_entries(self) -> Iterator[YamlEntry]:
        """Yields all keys with their values, for a mapping whose keys are user-defined names."""
        self._known_keys += self.node.entries
        for index, entry in enumerate(self.node.entries.values()):
            if index == MAX_ENTRIES:
                message = f"{self.title} has more than {MAX_ENTRIES} entries"
                self.collector.add_error(
                    entry.location, message, "nobody can read so many; take fewer"
                )
                return
            yield entry

    def build_named_items(
        self,
        key: str,
        title: str,
        build: Callable[[YamlEntry, MappingReader], ItemT | None],
        hint: str = "",
    ) -> dict[str, ItemT]:
        """Reads mappings under user-defined names, and builds an item of each."""
        reader, items = self.get_child_reader(key, hint=hint), {}
        for entry in reader.iter_entries() if reader else ():
            child = create_reader(entry.node, f"{title} '{entry.key[:40]}'", self.collector, hint)
            item = build(entry, child) if child else None
            if item is not None:
                items[entry.key] = item
        return items

    def check_keys(self) -> bool:
        """Reports every key that was never read and every required one that is missing.
        Returns True if all keys were known.
        """
        known_keys = dict.fromkeys(self._known_keys)
        unknown = [
            candidate for candidate in self.node.entries.values() if candidate.key not in known_keys
        ]
        for index, entry in enumerate(unknown):
            message = f"{self.title} has no key {quote_text(entry.key)}"
            hint = (
                format_suggestion(entry.key, known_keys) if index < MAX_SUGGESTIONS else "delete it"
            )
            self.collector.add_error(entry.location, message, hint)
        suggested_keys = {
            find_closest_name(entry.key, list(known_keys)) for entry in unknown[:MAX_SUGGESTIONS]
        }
        for key, hint in self._missing_keys.items():
            if key not in suggested_keys:
                self.collector.add_error(self.location, f"{self.title} lacks `{key}`", hint)
        return not unknown

    def _get_nonempty_node(self, key: str, noun: str, hint: str = "") -> YamlNode | None:
        node = self.get_node(key)
        if node is None or not (isinstance(node, YamlScalar) and node.value is None):
            return node
        if node.is_secret:
            return None
        comment = "a # starts a comment unless it is in quotes"
        hint = hint or f"write {noun} after `{key}:` ({comment})"
        self.collector.add_error(node.location, f"`{key}` is empty", hint)
        return None

    def _get_scalar(self, key: str, noun: str, hint: str = "") -> YamlScalar | None:
        node = self._get_nonempty_node(key, noun, hint)
        if node is None or isinstance(node, YamlScalar):
            return node
        hint = hint or "put a text that starts with { or [ in quotes"
        self.collector.add_error(
            node.location, f"`{key}` takes {noun}, not {describe_node(node)}", hint
        )
        return None


def create_reader(
    node: YamlNode, title: str, collector: ProblemCollector, hint: str = ""
) -> MappingReader | None:
    """Returns a reader of a node; reports a problem and returns None if it is no mapping."""
    if isinstance(node, YamlMapping):
        return MappingReader(node, collector, title)
    hint = hint or "write it as `key: value` on lines of its own, indented"
    collector.add_error(node.location, f"{title} takes a mapping, not {describe_node(node)}", hint)
    return None


def parse_span(node: YamlScalar, key: str, collector: ProblemCollector) -> Span | None:
    """Parses a span from a scalar."""
    try:
        span = parse_duration(node.text)
        if span <= MAX_SPAN:
            return span
        collector.add_error(
            node.location, f"`{key}` is longer than 100 years", "write a shorter one"
        )
        return None
    except ValueError:
        is_plain_number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        hint = (
            f"did you mean {node.text[:20]}s?" if is_plain_number else "write it like 30s or 1h30m"
        )
        collector.add_error(
            node.location, f"`{key}` takes a duration, not {describe_node(node)}", hint
        )
        return None


def parse_expression(node: YamlScalar, key: str, collector: ProblemCollector) -> Expression | None:
    """Parses an expression from a scalar; line breaks in it count as spaces."""
    if isinstance(node.value, bool) or not node.text.strip():
        message = f"`{key}` takes an expression, not {describe_node(node)}"
        collector.add_error(node.location, message, "write it like speed > 10, or leave it out")
        return None
    return Expression(node.text.rstrip().replace("\n", " "), node.location)


def parse_text_list(node: YamlNode, key: str, collector: ProblemCollector) -> tuple[str, ...]:
    """Parses texts from a list, or from a single one."""
    items = node.items if isinstance(node, YamlSequence) else (node,)
    texts = []
    for item in items:
        if isinstance(item, YamlScalar) and item.value is not None:
            texts.append(item.text)
        else:
            message = f"`{key}` takes a list of texts, not {describe_node(item)}"
            collector.add_error(item.location, message, "write it like [a, b]")
    return tuple(texts)


def scalar_to_number(node: YamlScalar) -> float | None:
    """Returns the number of a scalar; that of a secret counts too, for `port: ${PORT}`."""
    value = parse_scalar(node.text) if node.is_secret else node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def node_to_plain_value(node: YamlNode) -> Any:
    """Returns the plain values of a node."""
    return node_to_value(node)
