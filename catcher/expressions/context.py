"""The context of an evaluation, and closures over it and the current event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from catcher.expressions.ast import FieldPath
from catcher.expressions.stateful_functions import FunctionState
from catcher.expressions.values import (
    BINARY_OPERATORS,
    COMPARISON_OPERATORS,
    MAX_FLOAT,
    broadcast_function,
    to_elements,
    to_scalar,
)
from catcher.model.time import Instant

# Fields of an event are found by name, through dots and indices, or gathered by number.


Fields = Mapping[str, Any]
MAX_ELEMENTS = 100_000


def compile_path(path: FieldPath) -> Callable[[Fields], Any]:
    """Returns a function for the raw value at a path; None if there is none."""
    first = str(path[0])
    if len(path) == 1:
        return lambda fields: fields.get(first)

    def find_value(fields: Fields) -> Any:
        current: Any = fields
        index = 0
        while index < len(path):
            step = path[index]
            value = _get_child(current, step)
            if value is None and index + 1 < len(path) and isinstance(path[index + 1], int):
                index += 1
                value = _get_child(current, f"{step}{path[index]}")
            current = value
            index += 1
        return current

    return find_value


def _get_child(container: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return container.get(step) if isinstance(container, Mapping) else None
    if isinstance(container, list | tuple) and -len(container) <= step < len(container):
        return container[step]
    return None


def compile_scalar_path(path: FieldPath) -> Callable[[Fields], Any]:
    """Returns a function for the known scalar at a path; None for all else."""
    if len(path) == 1:
        name = str(path[0])
        return lambda fields: to_scalar(fields.get(name))
    get_value = compile_path(path)
    return lambda fields: to_scalar(get_value(fields))


def compile_array_path(path: FieldPath) -> Callable[[Fields], Any]:
    """Returns a function for the array at a path as a list, or else the scalar.

    A flattened array is gathered by number.
    """
    get_value, get_parent = compile_path(path), compile_path(path[:-1]) if len(path) > 1 else None
    last = path[-1]

    def collect_elements(fields: Fields) -> Any:
        value = get_value(fields)
        if value is not None or not isinstance(last, str):
            items = to_elements(value)
            return to_scalar(value) if items is None else items
        return _collect_numbered(get_parent(fields) if get_parent else fields, last)

    return collect_elements


def _collect_numbered(container: Any, name: str) -> list[Any] | None:
    if not isinstance(container, Mapping) or f"{name}0" not in container:
        return None
    items: list[Any] = []
    while len(items) < MAX_ELEMENTS and (key := f"{name}{len(items)}") in container:
        items.append(to_scalar(container[key]))
    return items


class LookupView(Protocol):
    """A read as closures see it: its latest event and its functions over time, as of now."""

    def get_latest_fields(self, now: Instant) -> Fields | None: ...
    def get_latest_age(self, now: Instant) -> float | None: ...
    def compute_value(self, slot: int, function: str, quantile: float, now: Instant) -> Any: ...


@dataclass(slots=True)
class EvaluationContext:
    """The state that an evaluation sees: now, the slots of the sample stream, the reads by name."""

    now: Instant = 0
    slots: list[FunctionState] = field(default_factory=list)
    reads: Mapping[str, LookupView] = field(default_factory=dict)


CompiledExpression = Callable[[Fields, EvaluationContext], Any]


def compile_event_field(name: str) -> CompiledExpression:
    """Returns a closure for a field of the current event, the most common value."""

    def evaluate(fields: Fields, context: EvaluationContext) -> Any:
        value = fields.get(name)
        return (
            value if type(value) is float and -MAX_FLOAT <= value <= MAX_FLOAT else to_scalar(value)
        )

    return evaluate


def compile_constant_comparison(
    left: CompiledExpression, name: str, limit: Any
) -> CompiledExpression:
    """Returns a comparison with a constant, the most common condition."""
    if type(limit) is str:
        compare = BINARY_OPERATORS[name]
        return lambda fields, context: compare(left(fields, context), limit)
    function = COMPARISON_OPERATORS[name]

    def evaluate(fields: Fields, context: EvaluationContext) -> Any:
        value = left(fields, context)
        if value is None or type(value) is str:
            return None
        return function(value, limit)

    return evaluate


def combine_and(operands: Sequence[CompiledExpression]) -> CompiledExpression:
    """Returns Kleene's `and` of truths, which stops at the first false one."""

    def evaluate(fields: Fields, context: EvaluationContext) -> bool | None:
        result: bool | None = True
        for operand in operands:
            value = operand(fields, context)
            if value is False:
                return False
            if value is None:
                result = None
        return result

    return evaluate


def combine_or(operands: Sequence[CompiledExpression]) -> CompiledExpression:
    """Returns Kleene's `or` of truths, which stops at the first true one."""

    def evaluate(fields: Fields, context: EvaluationContext) -> bool | None:
        result: bool | None = False
        for operand in operands:
            value = operand(fields, context)
            if value is True:
                return True
            if value is None:
                result = None
        return result

    return evaluate


def combine_elementwise(
    operands: Sequence[CompiledExpression], function: Callable[..., Any]
) -> CompiledExpression:
    """Returns a function of values, applied element by element to arrays."""
    elementwise = broadcast_function(function)
    return lambda fields, context: elementwise(*[operand(fields, context) for operand in operands])
