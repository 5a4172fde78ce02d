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
FieldPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class WindowSpec:
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

    `name` is the operator or function; `value` the constant, the path of a field or the window
    spec; `lookup` the read that a field belongs to, empty for the event itself.
    """

    kind: NodeKind
    text: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: Any = None
    lookup: str = ""
    offset: int = field(default=0, compare=False)
    size: int = field(default=1, compare=False)
    lookups: frozenset[str] = field(default=frozenset(), compare=False)
    stateful: bool = field(default=False, compare=False)

    @property
    def sample_lookup(self) -> str:
        """Whose samples a function over this holds: one read's, or the event's own (empty)."""
        return next(iter(self.lookups)) if len(self.lookups) == 1 else ""

    def iter_nodes(self) -> Iterator[Node]:
        """Yields this node and all below it, parents first."""
        yield self
        for arg in self.args:
            yield from arg.iter_nodes()


def build_node(
    kind: NodeKind,
    text: str,
    args: tuple[Node, ...] = (),
    *,
    name: str = "",
    value: Any = None,
    offset: int = 0,
) -> Node:
    """Returns a node over others; size, lookups and statefulness follow from them."""
    lookups = frozenset[str]().union(*(arg.lookups for arg in args))
    stateful = kind == "over" or any(arg.stateful for arg in args)
    size = 1 + sum(arg.size for arg in args)
    return Node(kind, text, args, name, value, "", offset, size, lookups, stateful)


def build_constant(value: Any, offset: int = 0) -> Node:
    """Returns a literal, or the value of a `with` name."""
    return Node("const", repr(value), value=value, offset=offset)


def parenthesize_if_needed(node: Node) -> str:
    """Returns the node's text, in parentheses if an operator needs them."""
    is_atomic = node.kind in ("const", "field", "read", "reduce", "over", "age", "packed")
    return (
        node.text
        if is_atomic or (node.kind == "apply" and _char_after_name(node) == "(")
        else _wrap_in_parentheses(node)
    )


def _char_after_name(node: Node) -> str:
    return node.text[len(node.name) : len(node.name) + 1] if node.text.startswith(node.name) else ""


def _wrap_in_parentheses(node: Node) -> str:
    return f"({node.text})"
