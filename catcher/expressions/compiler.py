"""Compiles a checked tree into closures; functions over time become slots of a plan.

A closure takes the fields of the current event and the evaluation context, and returns a value,
None if it is unknown. Parsing never happens at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from catcher.expressions.ast import Node, WindowSpec
from catcher.expressions.context import (
    CompiledExpression,
    EvaluationContext,
    Fields,
    combine_and,
    combine_elementwise,
    combine_or,
    compile_array_path,
    compile_constant_comparison,
    compile_event_field,
    compile_scalar_path,
)
from catcher.expressions.errors import ExpressionError
from catcher.expressions.parser import Scope, parse_expression
from catcher.expressions.stateful_functions import FunctionState, LagState, Streak
from catcher.expressions.values import (
    COMPARISON_NAMES,
    REDUCERS,
    broadcast_function,
    equals_any,
    get_operation,
    is_contained,
    kleene_and,
    kleene_not,
    kleene_or,
    to_truth,
)
from catcher.expressions.window_shape import WindowShape
from catcher.expressions.windows import Window


@dataclass(slots=True)
class StateDescriptor:
    """One slot: the kind of state, and the expression whose samples it holds."""

    text: str
    expression: CompiledExpression
    shape: WindowShape | None
    kind: str
    functions: set[str] = field(default_factory=set)

    def create_state(self) -> FunctionState:
        """Returns a fresh slot."""
        if self.shape is None:
            return Streak() if self.kind == "streak" else LagState()
        shape = self.shape
        return Window(
            WindowShape(
                shape.span, shape.last, shape.is_counting, shape.packed, frozenset(self.functions)
            )
        )


class StatePlan:
    """All state of one sample stream: its slots in the order in which they are filled.

    The samples are those at which expressions are evaluated: the events of a trigger, the results
    that levels see, or the events of one read (`lookup` is its name then).
    """

    def __init__(self, lookup: str = "", reads: Mapping[str, StatePlan] | None = None) -> None:
        self.lookup = lookup
        self.reads = dict(reads or {})
        self.descriptors: list[StateDescriptor] = []
        self._slot_indexes: dict[tuple[Any, ...], int] = {}
        self._closures: dict[tuple[str, bool], CompiledExpression] = {}

    def create_states(self) -> list[FunctionState]:
        """Returns fresh slots for one key."""
        return [descriptor.create_state() for descriptor in self.descriptors]

    def add_sample(self, fields: Fields, context: EvaluationContext) -> None:
        """Adds a sample to every slot; `context.slots` are this plan's."""
        for descriptor, state in zip(self.descriptors, context.slots, strict=True):
            state.add_sample(context.now, descriptor.expression(fields, context))

    def compile_condition(self, node: Node) -> CompiledExpression:
        """Returns a closure for the truth of an expression: True, False or None."""
        return _coerce_to_truth(node, self.compile_node(node))

    def compile_node(self, node: Node, array: bool = False) -> CompiledExpression:
        """Returns the closure of a node; the same text gives the same closure."""
        key = (node.text, array)
        if key not in self._closures:
            self._closures[key] = _COMPILERS[node.kind](self, node, array)
        return self._closures[key]

    def ensure_slot(self, node: Node) -> int:
        """Returns the slot index of a function over time, creating the slot on first use."""
        window_spec: WindowSpec = node.value
        arg = node.args[0]
        shape, kind = None, "memory"
        if node.name == "streak":
            kind = "streak"
        elif window_spec.span is not None or window_spec.last is not None:
            kind = "count" if node.name in ("count", "rate") else "window"
            packed = arg.value if arg.kind == "packed" else None
            shape = WindowShape(window_spec.span, window_spec.last, kind == "count", packed)
        key = (arg.text, kind, window_spec.span, window_spec.last)
        if key not in self._slot_indexes:
            packed = arg.kind == "packed"
            expression = (
                self.compile_condition(arg) if kind == "streak" else self.compile_node(arg, packed)
            )
            self._slot_indexes[key] = len(self.descriptors)
            self.descriptors.append(StateDescriptor(arg.text, expression, shape, kind))
        index = self._slot_indexes[key]
        self.descriptors[index].functions.add(node.name)
        return index


def _coerce_to_truth(node: Node, evaluate: CompiledExpression) -> CompiledExpression:
    is_boolean = node.kind in ("and", "or", "not", "among", "in") or node.name in COMPARISON_NAMES
    if is_boolean:
        return evaluate
    return lambda fields, context: to_truth(evaluate(fields, context))


def _compile_constant(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    value = node.value
    if isinstance(value, tuple):
        if not array:
            raise ExpressionError("a list stands only after `in`", "write x in names", node.offset)
        value = list(value)
    return lambda fields, context: value


def _compile_field(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    path = node.value
    if node.lookup == plan.lookup and len(path) == 1 and not array:
        return compile_event_field(str(path[0]))
    get_value = compile_array_path(path) if array else compile_scalar_path(path)
    if node.lookup == plan.lookup:
        return lambda fields, context: get_value(fields)
    lookup = node.lookup

    def evaluate(fields: Fields, context: EvaluationContext) -> Any:
        latest_fields = context.reads[lookup].get_latest_fields(context.now)
        return None if latest_fields is None else get_value(latest_fields)

    return evaluate


def _reject_whole_event(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    raise ExpressionError(
        f"{node.text} is a whole event",
        f"write {node.text}.field, or age({node.text})",
        node.offset,
    )


def _is_constant(node: Node) -> bool:
    """True if it contains only literals, no lists."""
    if node.kind == "const":
        return not isinstance(node.value, tuple)
    return node.kind == "apply" and all(map(_is_constant, node.args))


def _compile_apply(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    operands = [plan.compile_node(arg, array) for arg in node.args]
    function = get_operation(node.name)
    if (
        _is_constant(node)
        and function(*[operand({}, EvaluationContext()) for operand in operands]) is None
    ):
        raise ExpressionError(
            f"{node.text} has no value", "write the number that is meant, such as 1e20", node.offset
        )
    if array:
        function = broadcast_function(function)
    if len(operands) == 1:
        single = operands[0]
        return lambda fields, context: function(single(fields, context))
    if len(operands) == 2:
        left, right = operands
        if not array and node.args[1].kind == "const" and node.name in COMPARISON_NAMES:
            return compile_constant_comparison(left, node.name, node.args[1].value)
        return lambda fields, context: function(left(fields, context), right(fields, context))
    return lambda fields, context: function(*[operand(fields, context) for operand in operands])


def _compile_and(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    if array:
        return combine_elementwise([plan.compile_node(arg, True) for arg in node.args], kleene_and)
    return combine_and([plan.compile_condition(arg) for arg in node.args])


def _compile_or(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    if array:
        return combine_elementwise([plan.compile_node(arg, True) for arg in node.args], kleene_or)
    return combine_or([plan.compile_condition(arg) for arg in node.args])


def _compile_not(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    operand = plan.compile_node(node.args[0], array)
    function = broadcast_function(kleene_not) if array else kleene_not
    return lambda fields, context: function(operand(fields, context))


def _compile_among(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    if array:
        return combine_elementwise([plan.compile_node(arg, True) for arg in node.args], equals_any)
    item, *choices = (plan.compile_node(arg) for arg in node.args)

    def evaluate(fields: Fields, context: EvaluationContext) -> bool | None:
        return equals_any(item(fields, context), *[choice(fields, context) for choice in choices])

    return evaluate


def _compile_in(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    item, container = plan.compile_node(node.args[0]), plan.compile_node(node.args[1], True)
    return lambda fields, context: is_contained(item(fields, context), container(fields, context))


def _compile_reduce(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    array_value = plan.compile_node(node.args[0], True)
    reducer = REDUCERS[node.name]
    return lambda fields, context: reducer(array_value(fields, context))


def _compile_packed(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    if not array:
        hint = 'write mean(packed(angle, "1s"), "1m")'
        raise ExpressionError(
            "packed stands only inside a function with a window", hint, node.offset
        )
    return plan.compile_node(node.args[0], True)


def _compile_age(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    argument = node.args[0]
    lookups = tuple(sorted(argument.lookups - {plan.lookup, ""}))
    get_value = None if argument.kind == "read" else plan.compile_node(argument)

    def evaluate(fields: Fields, context: EvaluationContext) -> float | None:
        if get_value is not None and get_value(fields, context) is None:
            return None
        ages = [context.reads[lookup].get_latest_age(context.now) for lookup in lookups]
        return None if None in ages else max((age for age in ages if age is not None), default=0.0)

    return evaluate


def _compile_window_function(plan: StatePlan, node: Node, array: bool) -> CompiledExpression:
    name, quantile, lookup = node.name, node.value.quantile, node.args[0].sample_lookup
    if lookup and lookup != plan.lookup:
        index = plan.reads[lookup].ensure_slot(node)

        def evaluate_lookup(fields: Fields, context: EvaluationContext) -> Any:
            return context.reads[lookup].compute_value(index, name, quantile, context.now)

        return evaluate_lookup
    index = plan.ensure_slot(node)

    def evaluate(fields: Fields, context: EvaluationContext) -> Any:
        return context.slots[index].compute_value(name, context.now, quantile)

    return evaluate


_COMPILERS: dict[str, Callable[[StatePlan, Node, bool], CompiledExpression]] = {
    "const": _compile_constant,
    "field": _compile_field,
    "read": _reject_whole_event,
    "apply": _compile_apply,
    "and": _compile_and,
    "or": _compile_or,
    "not": _compile_not,
    "among": _compile_among,
    "in": _compile_in,
    "reduce": _compile_reduce,
    "packed": _compile_packed,
    "age": _compile_age,
    "over": _compile_window_function,
}

_STATELESS_SCOPE = Scope(allows_windows=False, description="this expression")


class ExpressionCompiler:
    """Rule expressions for packages other than `evaluation`: stateless, compiled once, total."""

    def compile_predicate(self, text: str) -> Callable[[Fields], bool]:
        """Returns a predicate for rows of fields; unknown is False. Raises ExpressionError."""
        evaluate, context = self._compile_text(text), EvaluationContext()
        return lambda fields: to_truth(evaluate(fields, context)) is True

    def compile_value(self, text: str) -> Callable[[Fields], Any]:
        """Returns a function for the value at a row of fields; None if unknown.

        Raises ExpressionError.
        """
        evaluate, context = self._compile_text(text), EvaluationContext()
        return lambda fields: evaluate(fields, context)

    def _compile_text(self, text: str) -> CompiledExpression:
        return StatePlan().compile_node(parse_expression(text, _STATELESS_SCOPE))
