"""What a store can see of a `where`: which values every row that passes must have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from catcher.model.telemetry import Scalar, Where
from catcher.ports import Predicate


def narrowed(text: str, test: Predicate) -> Predicate:
    """The predicate of an expression with what a store may narrow by: its `name == value`."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return test
    parts = list(_conjuncts(tree))
    found = [_equality(part) for part in parts]
    equal = {one[0]: one[1] for one in found if one is not None}
    # `a == 1 and a == 2` passes nothing, of which a mapping would keep one half.
    exact = None not in found and len(equal) == len(parts)
    return Where(test, equal, frozenset(_names(tree)), exact)


def _conjuncts(tree: ast.expr) -> Iterator[ast.expr]:
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        for value in tree.values:
            yield from _conjuncts(value)
    else:
        yield tree


def _equality(tree: ast.expr) -> tuple[str, Scalar] | None:
    """Of `name == 301` the name and the value; truth values stand for numbers and are left."""
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


def _names(tree: ast.AST) -> Iterator[str]:
    """The fields that are looked at: of `site.dome.t` both `site` and `site.dome.t`."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if id(node) in called:
            continue
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)
