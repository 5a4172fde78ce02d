"""YAML as a tree with source locations, and the collector of problems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.errors import Problem, SourceLocation

ScalarValue = str | int | float | bool | None

_INTEGER_PATTERN = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_NUMBER_PATTERN = re.compile(
    r"-?(?:0|[1-9]\d{0,307})(?:\.\d{1,400})?(?:[eE][+-]?\d{1,4})?", re.ASCII
)
_KEYWORD_VALUES: dict[str, ScalarValue] = {
    "true": True,
    "false": False,
    "null": None,
    "~": None,
    "": None,
}


@dataclass(frozen=True, slots=True)
class YamlScalar:
    """A single value. `text` is what was written, `value` what it means.
    If `is_secret`, it came from the environment or a file; no message ever shows it. One that is
    missing has the value None, and its problem is reported already.
    """

    value: ScalarValue = field(repr=False)
    text: str = field(repr=False)
    location: SourceLocation
    is_quoted: bool = False
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class YamlSequence:
    """A list."""

    items: tuple[YamlNode, ...]
    location: SourceLocation


@dataclass(frozen=True, slots=True)
class YamlEntry:
    """One key of a mapping with its value."""

    key: str
    location: SourceLocation
    node: YamlNode


@dataclass(frozen=True, slots=True)
class YamlMapping:
    """A mapping; its keys are unique texts."""

    entries: Mapping[str, YamlEntry]
    location: SourceLocation

    def get(self, key: str) -> YamlNode | None:
        """Returns the value of a key, None if it is absent."""
        entry = self.entries.get(key)
        return entry.node if entry else None


YamlNode = YamlScalar | YamlSequence | YamlMapping


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that must not be shown. `reveal()` returns it."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """Returns the value itself."""
        return self._value

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret(***)"


def parse_scalar(text: str) -> ScalarValue:
    """Parses a plain scalar: only JSON's numbers, `true`, `false`, `null`; `~` and nothing."""
    if text in _KEYWORD_VALUES:
        return _KEYWORD_VALUES[text]
    if _INTEGER_PATTERN.fullmatch(text):
        return int(text)
    if _NUMBER_PATTERN.fullmatch(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text


def node_to_value(node: YamlNode, wrap_secrets: bool = False) -> Any:
    """Returns the tree as JSON values; with `wrap_secrets` secrets become a `Secret`."""
    if isinstance(node, YamlMapping):
        return {
            entry.key: node_to_value(entry.node, wrap_secrets) for entry in node.entries.values()
        }
    if isinstance(node, YamlSequence):
        return [node_to_value(item, wrap_secrets) for item in node.items]
    return Secret(node.text) if wrap_secrets and node.is_secret else node.value


def iter_scalars(node: YamlNode) -> Iterator[YamlScalar]:
    """Yields every scalar of a tree."""
    if isinstance(node, YamlScalar):
        yield node
        return
    children = (
        (entry.node for entry in node.entries.values())
        if isinstance(node, YamlMapping)
        else node.items
    )
    for child in children:
        yield from iter_scalars(child)


def has_missing_secret(node: YamlNode) -> bool:
    """True if a secret in a tree could not be resolved."""
    return any(scalar.is_secret and scalar.value is None for scalar in iter_scalars(node))


def describe_node(node: YamlNode) -> str:
    """Describes a node for a message: short, and never a secret."""
    if isinstance(node, YamlMapping):
        return "a mapping"
    if isinstance(node, YamlSequence):
        return "a list"
    if node.is_secret:
        return "a secret"
    if node.value is None:
        return "nothing"
    return quote_text(node.text) if isinstance(node.value, str) else node.text[:40]


def quote_text(text: str) -> str:
    """Quotes a text for a message: on one line, printable, at most 60 characters."""
    shortened = text if len(text) <= 60 else text[:57] + "..."
    return "'" + "".join(char if char.isprintable() else " " for char in shortened) + "'"


class ProblemCollector:
    """Collects the problems of a file, in the order found; `rule` names the rule they concern."""

    def __init__(self, problems: list[Problem] | None = None, rule: str = "") -> None:
        self.problems: list[Problem] = [] if problems is None else problems
        self.rule = rule

    def for_rule(self, rule: str) -> ProblemCollector:
        """Returns a collector of the same list for the problems of one rule."""
        return ProblemCollector(self.problems, rule)

    def add_error(self, location: SourceLocation, message: str, hint: str = "") -> None:
        """Adds a problem that disables its rule or section."""
        self._add_problem(location, message, hint, "error")

    def add_warning(self, location: SourceLocation, message: str, hint: str = "") -> None:
        """Adds a problem that is only reported."""
        self._add_problem(location, message, hint, "warning")

    def _add_problem(
        self,
        location: SourceLocation,
        message: str,
        hint: str,
        severity: Literal["error", "warning"],
    ) -> None:
        self.problems.append(Problem(location, message, hint, severity, self.rule))

    def count_errors(self) -> int:
        """Returns the number of errors so far."""
        return sum(problem.severity == "error" for problem in self.problems)
