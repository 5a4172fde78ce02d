"""YAML as a tree that remembers where everything was written, and the list of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.problem import Place, Problem

Plain = str | int | float | bool | None

_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,307})(?:\.\d{1,400})?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_WORDS: dict[str, Plain] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `text` is what was written, `value` what it means.

    A `secret` one came from the environment or a file; no message ever shows it. One that could
    not be had has the value None, and its problem is reported already.
    """

    value: Plain = field(repr=False)
    text: str = field(repr=False)
    place: Place
    quoted: bool = False
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping with its value."""

    key: str
    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class Branch:
    """A mapping; its keys are unique texts."""

    entries: Mapping[str, Entry]
    place: Place

    def get(self, key: str) -> Node | None:
        """The value of a key, None where it is absent."""
        entry = self.entries.get(key)
        return entry.node if entry else None


Node = Scalar | Items | Branch


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that must not be shown. `reveal()` gives it to whoever needs it."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Secret(***)"


def typed(text: str) -> Plain:
    """What a plain scalar means: only JSON's numbers, `true`, `false`, `null`; `~` and nothing."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text


def bare(node: Node, wrap: bool = False) -> Any:
    """The tree without its places, as JSON values; with `wrap` secrets are a `Secret`."""
    if isinstance(node, Branch):
        return {entry.key: bare(entry.node, wrap) for entry in node.entries.values()}
    if isinstance(node, Items):
        return [bare(item, wrap) for item in node.items]
    return Secret(node.text) if wrap and node.secret else node.value


def scalars(node: Node) -> Iterator[Scalar]:
    """Every single value of a tree."""
    if isinstance(node, Scalar):
        yield node
        return
    children = (
        (entry.node for entry in node.entries.values()) if isinstance(node, Branch) else node.items
    )
    for child in children:
        yield from scalars(child)


def lost(node: Node) -> bool:
    """Whether a secret in a tree could not be had."""
    return any(one.secret and one.value is None for one in scalars(node))


def shown(node: Node) -> str:
    """A node in words, for a message: short, and never a secret."""
    if isinstance(node, Branch):
        return "a mapping"
    if isinstance(node, Items):
        return "a list"
    if node.secret:
        return "a secret"
    if node.value is None:
        return "nothing"
    return quoted(node.text) if isinstance(node.value, str) else node.text[:40]


def quoted(text: str) -> str:
    """A text in quotes as a message shows it: on one line, printable, at most 60 characters."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return "'" + "".join(char if char.isprintable() else " " for char in short) + "'"


class Report:
    """What is wrong with a file, in the order found. `about` names the rule that it concerns."""

    def __init__(self, problems: list[Problem] | None = None, rule: str = "") -> None:
        self.problems: list[Problem] = [] if problems is None else problems
        self.rule = rule

    def about(self, rule: str) -> Report:
        """The same report, for the problems of one rule."""
        return Report(self.problems, rule)

    def error(self, place: Place, message: str, hint: str = "") -> None:
        """Adds a problem that sets its rule or section aside."""
        self._add(place, message, hint, "error")

    def warning(self, place: Place, message: str, hint: str = "") -> None:
        """Adds a problem that is only told."""
        self._add(place, message, hint, "warning")

    def _add(
        self, place: Place, message: str, hint: str, severity: Literal["error", "warning"]
    ) -> None:
        self.problems.append(Problem(place, message, hint, severity, self.rule))

    def errors(self) -> int:
        """How many errors there are by now."""
        return sum(problem.severity == "error" for problem in self.problems)
