"""What an expression says at one sample, found by looking through the whole history each time.

Slow on purpose: nothing is kept from one sample to the next. A window is a list that is
searched, a nested function is evaluated again at each sample that its window holds.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import accumulate
from typing import Any

from catcher.model.rule import Rule
from catcher.model.time import SECOND, parse_duration
from tests.oracle.functions import (
    ARRAY_FUNCTIONS,
    NUMERIC_FUNCTIONS,
    SCALAR_FUNCTIONS,
    TIME_FUNCTIONS,
    UNKNOWN,
    UnknownType,
    reduce_array,
    reduce_window,
)
from tests.oracle.sample_context import KeyHistory, Sample, SampleContext, get_field
from tests.oracle.values import (
    ARITHMETIC,
    apply_numeric,
    compare_values,
    is_number,
    logical_and,
    logical_not,
    to_known_value,
)


def evaluate_truth(text: str, context: SampleContext) -> bool | UnknownType:
    """True, False or UNKNOWN."""
    value = evaluate_text(text, context)
    return value if isinstance(value, bool) else UNKNOWN


def has_time_functions(text: str) -> bool:
    """Whether an expression looks at more than one event."""
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return any(isinstance(call.func, ast.Name) and call.func.id in TIME_FUNCTIONS for call in calls)


def evaluate_text(text: str, context: SampleContext) -> Any:
    """The value of an expression at a moment, UNKNOWN where it has none."""
    return _evaluate_node(
        _parse_expression(
            text, tuple((name, expr.text) for name, expr in context.history.rule.let.items())
        ),
        context,
    )


def evaluate_stateless(text: str, fields: Mapping[str, Any], rule: Rule) -> Any:
    """The value of an expression that knows nothing but one event's fields."""
    bare_rule = Rule(rule.id, rule.trigger, job=rule.job)
    return evaluate_text(text, SampleContext(KeyHistory(bare_rule, []), Sample(0, 0, fields)))


@cache
def _parse_expression(text: str, let: tuple[tuple[str, str], ...]) -> ast.expr:
    bodies: dict[str, ast.expr] = {}
    for name, body in let:
        bodies[name] = _LetSubstitution(bodies).visit(ast.parse(body, mode="eval").body)
    tree: ast.expr = _LetSubstitution(bodies).visit(ast.parse(text, mode="eval").body)
    return tree


class _LetSubstitution(ast.NodeTransformer):
    def __init__(self, bodies: Mapping[str, ast.expr]) -> None:
        self.bodies = bodies

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.bodies.get(node.id, node)


def _evaluate_node(node: ast.expr, context: SampleContext) -> Any:
    match node:
        case ast.Constant(value=value):
            return to_known_value(value)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_evaluate_node(item, context) for item in items]
        case ast.Name(id=name):
            return to_known_value(context.get_value(name))
        case ast.Attribute(value=node_value, attr=name):
            container = _evaluate_node(node_value, context)
            return (
                to_known_value(get_field(container, name, context.uses_arrays))
                if isinstance(container, Mapping)
                else UNKNOWN
            )
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int(place))):
            return to_known_value(context.get_element(name, place))
        case ast.BoolOp(op=ast.And(), values=parts):
            return logical_and([_evaluate_condition(part, context) for part in parts])
        case ast.BoolOp(op=ast.Or(), values=parts):
            return logical_not(
                logical_and([logical_not(_evaluate_condition(part, context)) for part in parts])
            )
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return logical_not(_evaluate_condition(part, context))
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return apply_numeric(lambda number: -number, _evaluate_node(part, context))
        case ast.BinOp(left=left, op=operator, right=right):
            return apply_numeric(
                ARITHMETIC[type(operator)],
                _evaluate_node(left, context),
                _evaluate_node(right, context),
            )
        case ast.Compare(left=left, ops=operators, comparators=comparators):
            values = [_evaluate_node(part, context) for part in (left, *comparators)]
            pairs = zip(operators, values[:-1], values[1:], strict=True)
            comparisons = [compare_values(operator, *pair) for operator, *pair in pairs]
            return comparisons[0] if len(comparisons) == 1 else logical_and(comparisons)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            return _evaluate_call(name, args, {str(k.arg): k.value for k in keywords}, context)
    raise NotImplementedError(ast.dump(node))


def _evaluate_condition(node: ast.expr, context: SampleContext) -> bool | UnknownType:
    value = _evaluate_node(node, context)
    return value if isinstance(value, bool) else UNKNOWN


def _evaluate_call(
    name: str, args: Sequence[ast.expr], keywords: Mapping[str, ast.expr], context: SampleContext
) -> Any:
    if name in SCALAR_FUNCTIONS:
        return apply_numeric(
            SCALAR_FUNCTIONS[name], *(_evaluate_node(arg, context) for arg in args)
        )
    if name in ARRAY_FUNCTIONS:
        return _to_finite_value(
            reduce_array(name, _evaluate_node(args[0], replace(context, uses_arrays=True)))
        )
    if name == "packed":
        return _evaluate_node(args[0], replace(context, uses_arrays=True))
    if name == "age":
        return _compute_age(args[0], context)
    if not _is_present(args[0], context):
        return UNKNOWN
    if _is_packed(args[0]):
        return _evaluate_window(name, args, keywords, context)
    current_value = _evaluate_node(args[0], context)
    if not isinstance(current_value, int | float | str) or (
        name in NUMERIC_FUNCTIONS and not is_number(current_value)
    ):
        return UNKNOWN
    if name == "previous":
        points = _list_known_points(args[0], context)[:-1]
        return points[-1][1] if points else UNKNOWN
    if name == "changed":
        points = _list_known_points(args[0], context)
        return points[-1][1] != points[-2][1] if len(points) > 1 else UNKNOWN
    if name == "streak":
        return _count_streak([value for _, value in _list_known_points(args[0], context)])
    return _evaluate_window(name, args, keywords, context)


def _compute_age(node: ast.expr, context: SampleContext) -> Any:
    """Seconds since the event that a value comes from; unknown where the value is."""
    names = {name_node.id for name_node in ast.walk(node) if isinstance(name_node, ast.Name)}
    reads = names & set(context.history.rule.reads)
    value = True if isinstance(node, ast.Name) and reads else _evaluate_node(node, context)
    latest = [context.find_latest(read) for read in reads]
    if not isinstance(value, int | float | str) or None in latest:
        return UNKNOWN
    return max(
        (float(Fraction(context.time - sample.time, SECOND)) for sample in latest if sample),
        default=0,
    )


def _is_packed(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (node.func.id == "packed")
    )


def _is_present(node: ast.expr, context: SampleContext) -> bool:
    """Whether what a function runs over is known at this very sample."""
    if _is_packed(node):
        return bool(_unpack_samples(node, context))
    return isinstance(_evaluate_node(node, context), int | float | str)


def _unpack_samples(node: ast.expr, context: SampleContext) -> list[tuple[int, Any]]:
    """The samples of a packed array: evenly over the span that ends with its event."""
    assert isinstance(node, ast.Call) and isinstance(node.args[1], ast.Constant)
    span = parse_duration(str(node.args[1].value))
    values = _evaluate_node(node, context)
    if not isinstance(values, list):
        return []
    count = len(values)
    timed_values = [
        (context.time - span + span * number // count, value)
        for number, value in enumerate(values, 1)
    ]
    return [
        (time, value)
        for time, value in timed_values
        if isinstance(to_known_value(value), int | float | str)
    ]


def _list_known_points(node: ast.expr, context: SampleContext) -> list[tuple[int, Any]]:
    """Every known value up to now, oldest first."""
    if _is_packed(node):
        return [
            sample
            for past_context in context.list_past_contexts(node)
            for sample in _unpack_samples(node, past_context)
        ]
    values = (
        (past_context.time, _evaluate_node(node, past_context))
        for past_context in context.list_past_contexts(node)
    )
    return [(time, value) for time, value in values if isinstance(value, int | float | str)]


def _has_current_numbers(node: ast.expr, context: SampleContext) -> bool:
    return any(is_number(value) for _, value in _unpack_samples(node, context))


def _count_streak(values: Sequence[Any]) -> int:
    return next(
        (length for length, value in enumerate(reversed(values)) if value is not True), len(values)
    )


def _evaluate_window(
    name: str, args: Sequence[ast.expr], keywords: Mapping[str, ast.expr], context: SampleContext
) -> Any:
    known_points = _list_known_points(args[0], context)
    if name in NUMERIC_FUNCTIONS:
        known_points = [point for point in known_points if is_number(point[1])]
        if not known_points or (_is_packed(args[0]) and not _has_current_numbers(args[0], context)):
            return UNKNOWN
    # What is packed over more than its cadence overlaps; a series goes forward all the same.
    running_times = accumulate((time for time, _ in known_points), max)
    known_points = [
        (time, value) for time, (_, value) in zip(running_times, known_points, strict=True)
    ]
    arguments = [_evaluate_node(arg, context) for arg in args[1:]]
    if "last" in keywords:
        count = _evaluate_node(keywords["last"], context)
        if len(known_points) < count:
            return UNKNOWN
        points = known_points[-count:]
        span = points[-1][0] - points[0][0]
    else:
        span = parse_duration(arguments.pop())
        if context.time < known_points[0][0] + span:
            return UNKNOWN
        points = [
            (time, value)
            for time, value in known_points
            if context.time - span < time <= context.time
        ]
    return _to_finite_value(
        reduce_window(name, points, arguments, span, is_count_based="last" in keywords)
    )


def _to_finite_value(value: Any) -> Any:
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    return to_known_value(value)
