"""Three-valued truth, numbers and comparisons of single values and of arrays."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from typing import Any

from tests.oracle.functions import UNKNOWN, UnknownType


class Array(list[Any]):
    """A list inside a function over arrays."""


def to_known_value(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNKNOWN
    return value


def logical_not(value: bool | UnknownType) -> bool | UnknownType:
    return value if isinstance(value, UnknownType) else not value


def logical_and(parts: Sequence[bool | UnknownType]) -> bool | UnknownType:
    if any(part is False for part in parts):
        return False
    return True if all(part is True for part in parts) else UNKNOWN


def is_number(value: Any) -> bool:
    """Whether it can be reckoned with; true counts as 1 and false as 0."""
    return isinstance(value, int | float)


ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b,
}


def apply_numeric(function: Callable[..., Any], *values: Any) -> Any:
    """A function of numbers; UNKNOWN for anything else and where it has no finite value."""
    if any(isinstance(value, Array) for value in values):
        return apply_elementwise(lambda *elements: apply_numeric(function, *elements), values)
    if not all(is_number(value) for value in values):
        return UNKNOWN
    try:
        result = function(*values)
    except (ArithmeticError, ValueError):
        return UNKNOWN
    return to_known_value(result) if is_number(result) else UNKNOWN


def apply_elementwise(function: Callable[..., Any], values: Sequence[Any]) -> Any:
    """Arrays of one length, and single values beside each of their elements."""
    lengths = {len(value) for value in values if isinstance(value, Array)}
    if len(lengths) != 1:
        return UNKNOWN
    columns = [value if isinstance(value, Array) else [value] * max(lengths) for value in values]
    return Array(
        function(*map(to_known_value, elements)) for elements in zip(*columns, strict=True)
    )


def compare_values(operator: ast.cmpop, left: Any, right: Any) -> Any:
    """One comparison; of an array, a list of them."""
    if isinstance(operator, ast.In | ast.NotIn):
        if not isinstance(right, list):
            return UNKNOWN
        is_member = logical_not(
            logical_and([logical_not(compare_values(ast.Eq(), left, item)) for item in right])
        )
        return is_member if isinstance(operator, ast.In) else logical_not(is_member)
    if isinstance(left, Array) or isinstance(right, Array):
        return apply_elementwise(lambda a, b: compare_values(operator, a, b), [left, right])
    are_numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if not are_numbers and not (isinstance(left, str) and isinstance(right, str)):
        return UNKNOWN
    match operator:
        case ast.Eq():
            return bool(left == right)
        case ast.NotEq():
            return bool(left != right)
        case ast.Lt():
            return bool(left < right)
        case ast.LtE():
            return bool(left <= right)
        case ast.Gt():
            return bool(left > right)
        case ast.GtE():
            return bool(left >= right)
    raise NotImplementedError(ast.dump(operator))
