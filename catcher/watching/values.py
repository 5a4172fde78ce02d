"""Known and unknown: what becomes of values. None is the unknown; nothing here raises."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

LARGEST = 1.7976931348623157e308

Binary = Callable[[Any, Any], Any]


def scalar(value: Any) -> Any:
    """A known number, truth value or text as it is; None for all else."""
    kind = type(value)
    if kind is float or kind is int:
        return value if -LARGEST <= value <= LARGEST else None
    if kind is str or kind is bool:
        return value
    return _unusual(value)


def _unusual(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Real):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return number if -LARGEST <= number <= LARGEST else None
    return None


def number(value: Any) -> float | int | None:
    """A known number (truth values count as 1 and 0); None for all else."""
    kind = type(value)
    if kind is float or kind is int:
        return value if -LARGEST <= value <= LARGEST else None
    if kind is bool:
        return 1 if value else 0
    return None


def truth(value: Any) -> bool | None:
    """The truth of a value: a number is true unless it is 0, text is neither."""
    if value is True or value is False:
        return bool(value)
    if type(value) is int or type(value) is float:
        return bool(value != 0)
    return None


def elements(value: Any) -> list[Any] | None:
    """The elements of an array, each known or None; None where it is no array."""
    if isinstance(value, list | tuple):
        return [scalar(one) for one in value]
    return None


def text_of(value: Any) -> str | None:
    """A key as text: `301`, `true`, `r`; a whole float without its `.0`; None if unknown."""
    known = scalar(value)
    if known is None:
        return None
    if known is True or known is False:
        return "true" if known else "false"
    if isinstance(known, float) and known.is_integer() and abs(known) < 1e16:
        return str(int(known))
    return str(known)


def arithmetic(operate: Binary) -> Binary:
    """A total form of an operator on numbers."""

    def total(a: Any, b: Any) -> Any:
        if a is None or b is None or type(a) is str or type(b) is str:
            return None
        try:
            result = operate(a, b)
            return result if -LARGEST <= result <= LARGEST else None
        except (ArithmeticError, ValueError, TypeError):
            return None

    return total


def comparison(operate: Binary) -> Binary:
    """A total form of a comparison: numbers with numbers, text with text."""

    def total(a: Any, b: Any) -> Any:
        if a is None or b is None or (type(a) is str) is not (type(b) is str):
            return None
        return operate(a, b)

    return total


def _power(a: float, b: float) -> float:
    return math.pow(a, b)


def _angle_diff(a: float, b: float) -> float:
    return (a - b + 180.0) % 360.0 - 180.0


ORDERINGS: dict[str, Binary] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

BINARY: dict[str, Binary] = {
    "+": arithmetic(operator.add),
    "-": arithmetic(operator.sub),
    "*": arithmetic(operator.mul),
    "/": arithmetic(operator.truediv),
    "//": arithmetic(operator.floordiv),
    "%": arithmetic(operator.mod),
    "**": arithmetic(_power),
    **{sign: comparison(operate) for sign, operate in ORDERINGS.items()},
}

COMPARISONS = frozenset(ORDERINGS)

_PLAIN: dict[str, Callable[..., Any]] = {
    **BINARY,
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


def operation(name: str) -> Callable[..., Any]:
    """The total form of an operator or function of scalars, by its name."""
    return BINARY[name] if name in BINARY else _total(_PLAIN[name])


def _total(function: Callable[..., Any]) -> Callable[..., Any]:
    def total(*values: Any) -> Any:
        for value in values:
            if value is None or type(value) is str:
                return None
        try:
            result = function(*values)
            return result if -LARGEST <= result <= LARGEST else None
        except (ArithmeticError, ValueError, TypeError):
            return None

    return total


def broadcast(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function element by element, where any argument is a list."""

    def spread(*values: Any) -> Any:
        lengths = {len(value) for value in values if type(value) is list}
        if not lengths:
            return function(*values)
        if len(lengths) > 1:
            return None
        count = lengths.pop()
        columns = [value if type(value) is list else [value] * count for value in values]
        return [function(*row) for row in zip(*columns, strict=True)]

    return spread


def every(*values: Any) -> bool | None:
    """Kleene's `and`."""
    known: bool | None = True
    for value in map(truth, values):
        if value is False:
            return False
        if value is None:
            known = None
    return known


def some(*values: Any) -> bool | None:
    """Kleene's `or`."""
    known: bool | None = False
    for value in map(truth, values):
        if value is True:
            return True
        if value is None:
            known = None
    return known


def negation(value: Any) -> bool | None:
    """Kleene's `not`."""
    known = truth(value)
    return None if known is None else not known


def among(item: Any, *choices: Any) -> bool | None:
    """Whether a value equals one of some."""
    equal = BINARY["=="]
    return some(*(equal(item, choice) for choice in choices))


def contained(item: Any, box: Any) -> bool | None:
    """Whether a value is an element of a list, or a text part of a text."""
    if item is None or box is None:
        return None
    if type(box) is list:
        return among(item, *box)
    if type(item) is str and type(box) is str:
        return item in box
    return None


def numbers_of(values: Sequence[Any]) -> list[float | int]:
    """The known numbers among some values."""
    return [known for known in map(number, values) if known is not None]
