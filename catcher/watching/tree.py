"""The checked form of an expression: a small tree with a canonical text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from catcher.model.time import Span, format_duration

NodeKind = Literal[
    "const", "field", "read", "apply", "and", "or", "not", "in", "among", "reduce", "over", "age",
    "packed",
]  # fmt: skip
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back a function over time looks: a span, or a number of evaluations."""

    span: Span | None = None
    last: int | None = None
    quantile: float = 50.0

    def __str__(self) -> str:
        if self.span is not None:
            return f'"{format_duration(self.span)}"'
        return f"last={self.last}"


@dataclass(frozen=True, slots=True)
class Node:
    """One part of an expression. Two nodes of one rule with the same `text` mean the same.

    `name` is the operator or function; `value` the constant, the path of a field or the reach
    of a window; `root` the read that a field belongs to, empty for the event itself.
    """

    kind: NodeKind
    text: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: Any = None
    root: str = ""
    at: int = field(default=0, compare=False)
    size: int = field(default=1, compare=False)
    roots: frozenset[str] = field(default=frozenset(), compare=False)
    stateful: bool = field(default=False, compare=False)

    @property
    def home(self) -> str:
        """Whose samples a function over this holds: one read's, or the event's own (empty)."""
        return next(iter(self.roots)) if len(self.roots) == 1 else ""

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents first."""
        yield self
        for arg in self.args:
            yield from arg.walk()


def make(
    kind: NodeKind,
    text: str,
    args: tuple[Node, ...] = (),
    *,
    name: str = "",
    value: Any = None,
    at: int = 0,
) -> Node:
    """A node over others; size, roots and statefulness follow from them."""
    roots = frozenset[str]().union(*(arg.roots for arg in args))
    stateful = kind == "over" or any(arg.stateful for arg in args)
    size = 1 + sum(arg.size for arg in args)
    return Node(kind, text, args, name, value, "", at, size, roots, stateful)


def constant(value: Any, at: int = 0) -> Node:
    """A literal, or the value of a `with` name."""
    return Node("const", repr(value), value=value, at=at)


def bracketed(node: Node) -> str:
    """The node's text, in brackets where an operator needs them."""
    plain = node.kind in ("const", "field", "read", "reduce", "over", "age", "packed")
    return node.text if plain or (node.kind == "apply" and _opening(node) == "(") else _in(node)


def _opening(node: Node) -> str:
    return node.text[len(node.name) : len(node.name) + 1] if node.text.startswith(node.name) else ""


def _in(node: Node) -> str:
    return f"({node.text})"
