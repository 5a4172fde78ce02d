"""Predicate pushdown: the values that every row must have to pass a `where`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from catcher.model.telemetry import PushdownPredicate, Scalar
from catcher.ports import Predicate


def add_pushdown(text: str, predicate: Predicate) -> Predicate:
    """Returns an expression's predicate with what a store may filter by: its `name == value`."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return predicate
    conjuncts = list(_split_conjuncts(tree))
    equalities = [_parse_equality(conjunct) for conjunct in conjuncts]
    equal_values = {equality[0]: equality[1] for equality in equalities if equality is not None}
    # `a == 1 and a == 2` passes nothing, but the mapping has only one of the two.
    is_exact = None not in equalities and len(equal_values) == len(conjuncts)
    return PushdownPredicate(predicate, equal_values, frozenset(_list_field_names(tree)), is_exact)


def _split_conjuncts(tree: ast.expr) -> Iterator[ast.expr]:
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        for value in tree.values:
            yield from _split_conjuncts(value)
    else:
        yield tree


def _parse_equality(tree: ast.expr) -> tuple[str, Scalar] | None:
    """Returns name and value of `name == 301`; not for booleans, which also equal numbers."""
    if (
        not isinstance(tree, ast.Compare)
        or len(tree.ops) != 1
        or not isinstance(tree.ops[0], ast.Eq)
    ):
        return None
    left, right = tree.left, tree.comparators[0]
    if isinstance(left, ast.Constant):
        left, right = right, left
    if not isinstance(left, ast.Name) or not isinstance(right, ast.Constant):
        return None
    value = right.value
    return (left.id, value) if type(value) in (int, str) else None  # type: ignore[return-value]


def _list_field_names(tree: ast.AST) -> Iterator[str]:
    """Yields the fields that are read: of `site.dome.t` both `site` and `site.dome.t`."""
    call_targets = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if id(node) in call_targets:
            continue
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)
