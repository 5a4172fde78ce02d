"""Operations on known and unknown values. None means unknown; nothing here raises."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from catcher.expressions.aggregates import ExactMoments

MAX_FLOAT = 1.7976931348623157e308

BinaryOperator = Callable[[Any, Any], Any]


def to_scalar(value: Any) -> Any:
    """Returns a known number, truth value or text as it is; None for all else."""
    kind = type(value)
    if kind is float or kind is int:
        return value if -MAX_FLOAT <= value <= MAX_FLOAT else None
    if kind is str or kind is bool:
        return value
    return _convert_other_scalar(value)


def _convert_other_scalar(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Real):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if -MAX_FLOAT <= number <= MAX_FLOAT else None
    return None


def to_number(value: Any) -> float | int | None:
    """Returns a known number (truth values count as 1 and 0); None for all else."""
    kind = type(value)
    if kind is float or kind is int:
        return value if -MAX_FLOAT <= value <= MAX_FLOAT else None
    if kind is bool:
        return 1 if value else 0
    return None


def to_truth(value: Any) -> bool | None:
    """Returns the truth of a value: a number is true unless it is 0, text is neither."""
    if value is True or value is False:
        return bool(value)
    if type(value) is int or type(value) is float:
        return bool(value != 0)
    return None


def to_elements(value: Any) -> list[Any] | None:
    """Returns the elements of an array, each known or None; None if it is no array."""
    if isinstance(value, list | tuple):
        return [to_scalar(element) for element in value]
    return None


def to_key_text(value: Any) -> str | None:
    """Returns a key as text: `301`, `true`, `r`; a whole float without `.0`; None if unknown."""
    plain_value = to_scalar(value)
    if plain_value is None:
        return None
    if plain_value is True or plain_value is False:
        return "true" if plain_value else "false"
    if isinstance(plain_value, float) and plain_value.is_integer() and abs(plain_value) < 1e16:
        return str(int(plain_value))
    return str(plain_value)


def wrap_arithmetic(function: BinaryOperator) -> BinaryOperator:
    """Returns a total form of an operator on numbers."""

    def apply_arithmetic(a: Any, b: Any) -> Any:
        if a is None or b is None or type(a) is str or type(b) is str:
            return None
        try:
            result = function(a, b)
            return result if -MAX_FLOAT <= result <= MAX_FLOAT else None
        except (ArithmeticError, ValueError, TypeError):
            return None

    return apply_arithmetic


def wrap_comparison(function: BinaryOperator) -> BinaryOperator:
    """Returns a total form of a comparison: numbers with numbers, text with text."""

    def apply_comparison(a: Any, b: Any) -> Any:
        if a is None or b is None or (type(a) is str) is not (type(b) is str):
            return None
        return function(a, b)

    return apply_comparison


def _raise_to_power(a: float, b: float) -> float:
    return math.pow(a, b)


def _angle_diff(a: float, b: float) -> float:
    return (a - b + 180.0) % 360.0 - 180.0


COMPARISON_OPERATORS: dict[str, BinaryOperator] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

BINARY_OPERATORS: dict[str, BinaryOperator] = {
    "+": wrap_arithmetic(operator.add),
    "-": wrap_arithmetic(operator.sub),
    "*": wrap_arithmetic(operator.mul),
    "/": wrap_arithmetic(operator.truediv),
    "//": wrap_arithmetic(operator.floordiv),
    "%": wrap_arithmetic(operator.mod),
    "**": wrap_arithmetic(_raise_to_power),
    **{sign: wrap_comparison(operate) for sign, operate in COMPARISON_OPERATORS.items()},
}

COMPARISON_NAMES = frozenset(COMPARISON_OPERATORS)

_SCALAR_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **BINARY_OPERATORS,
    "neg": operator.neg,
    "abs": abs,
    "sqrt": math.sqrt,
    "hypot": math.hypot,
    "exp": math.exp,
    "log": math.log,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "atan2": math.atan2,
    "radians": math.radians,
    "degrees": math.degrees,
    "floor": math.floor,
    "round": round,
    "clip": lambda x, low, high: max(low, min(x, high)),
    "angle_diff": _angle_diff,
}


def get_operation(name: str) -> Callable[..., Any]:
    """Returns the total form of an operator or function of scalars, by its name."""
    return (
        BINARY_OPERATORS[name]
        if name in BINARY_OPERATORS
        else _wrap_scalar_function(_SCALAR_FUNCTIONS[name])
    )


def _wrap_scalar_function(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply_function(*values: Any) -> Any:
        for value in values:
            if value is None or type(value) is str:
                return None
        try:
            result = function(*values)
            return result if -MAX_FLOAT <= result <= MAX_FLOAT else None
        except (ArithmeticError, ValueError, TypeError):
            return None

    return apply_function


def broadcast_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the same function element by element, if any argument is a list."""

    def apply_elementwise(*values: Any) -> Any:
        lengths = {len(value) for value in values if type(value) is list}
        if not lengths:
            return function(*values)
        if len(lengths) > 1:
            return None
        count = lengths.pop()
        columns = [value if type(value) is list else [value] * count for value in values]
        return [function(*row) for row in zip(*columns, strict=True)]

    return apply_elementwise


def kleene_and(*values: Any) -> bool | None:
    """Returns Kleene's `and`."""
    result: bool | None = True
    for value in map(to_truth, values):
        if value is False:
            return False
        if value is None:
            result = None
    return result


def kleene_or(*values: Any) -> bool | None:
    """Returns Kleene's `or`."""
    result: bool | None = False
    for value in map(to_truth, values):
        if value is True:
            return True
        if value is None:
            result = None
    return result


def kleene_not(value: Any) -> bool | None:
    """Returns Kleene's `not`."""
    result = to_truth(value)
    return None if result is None else not result


def equals_any(item: Any, *choices: Any) -> bool | None:
    """True if a value equals one of some; None if that is unknown."""
    is_equal = BINARY_OPERATORS["=="]
    return kleene_or(*(is_equal(item, choice) for choice in choices))


def is_contained(item: Any, container: Any) -> bool | None:
    """True if a value is an element of a list, or a text part of a text; None if unknown."""
    if item is None or container is None:
        return None
    if type(container) is list:
        return equals_any(item, *container)
    if type(item) is str and type(container) is str:
        return item in container
    return None


def select_numbers(values: Sequence[Any]) -> list[float | int]:
    """Returns the known numbers among some values."""
    return [item for item in map(to_number, values) if item is not None]


# Functions over the elements of an array: unknown elements are skipped.


def _select_numeric_elements(value: Any) -> list[float | int]:
    return select_numbers(value) if type(value) is list else []


def _mean_of(value: Any) -> float | None:
    return ExactMoments(_select_numeric_elements(value)).mean()


def _std_of(value: Any) -> float | None:
    return ExactMoments(_select_numeric_elements(value)).std()


def _max_of(value: Any) -> float | int | None:
    return max(_select_numeric_elements(value), default=None)


def _min_of(value: Any) -> float | int | None:
    return min(_select_numeric_elements(value), default=None)


def _any_of(value: Any) -> bool | None:
    flags = _select_truths(value)
    return any(flags) if flags else None


def _count_of(value: Any) -> int | None:
    if type(value) is not list:
        return None
    known_elements = [element for element in value if element is not None]
    return sum(element is not False for element in known_elements) if known_elements else None


def _select_truths(value: Any) -> list[bool]:
    if type(value) is not list:
        return []
    return [flag for flag in map(to_truth, value) if flag is not None]


REDUCERS: dict[str, Callable[[Any], Any]] = {
    "mean_of": _mean_of,
    "max_of": _max_of,
    "min_of": _min_of,
    "std_of": _std_of,
    "any_of": _any_of,
    "count_of": _count_of,
}
"""The reducers by the name of the function."""
