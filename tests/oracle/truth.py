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
    NUMERIC,
    OVER_ARRAYS,
    OVER_TIME,
    PLAIN,
    UNKNOWN,
    Unknown,
    over_array,
    reduced,
)
from tests.oracle.moments import Feed, Moment, Sample, part_of
from tests.oracle.values import (
    ARITHMETIC,
    compared,
    conjunction,
    is_number,
    known,
    negated,
    numeric,
)


def truth(text: str, moment: Moment) -> bool | Unknown:
    """True, False or UNKNOWN."""
    value = evaluate(text, moment)
    return value if isinstance(value, bool) else UNKNOWN


def calls_over_time(text: str) -> bool:
    """Whether an expression looks at more than one event."""
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return any(isinstance(c.func, ast.Name) and c.func.id in OVER_TIME for c in calls)


def evaluate(text: str, moment: Moment) -> Any:
    """The value of an expression at a moment, UNKNOWN where it has none."""
    return _value(
        _parsed(text, tuple((n, e.text) for n, e in moment.feed.rule.let.items())), moment
    )


def stateless(text: str, fields: Mapping[str, Any], rule: Rule) -> Any:
    """The value of an expression that knows nothing but one event's fields."""
    bare = Rule(rule.id, rule.trigger, job=rule.job)
    return evaluate(text, Moment(Feed(bare, []), Sample(0, 0, fields)))


@cache
def _parsed(text: str, let: tuple[tuple[str, str], ...]) -> ast.expr:
    bodies: dict[str, ast.expr] = {}
    for name, body in let:
        bodies[name] = _Substitution(bodies).visit(ast.parse(body, mode="eval").body)
    tree: ast.expr = _Substitution(bodies).visit(ast.parse(text, mode="eval").body)
    return tree


class _Substitution(ast.NodeTransformer):
    def __init__(self, bodies: Mapping[str, ast.expr]) -> None:
        self.bodies = bodies

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.bodies.get(node.id, node)


def _value(node: ast.expr, now: Moment) -> Any:
    match node:
        case ast.Constant(value=value):
            return known(value)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, now) for item in items]
        case ast.Name(id=name):
            return known(now.lookup(name))
        case ast.Attribute(value=inner, attr=name):
            outer = _value(inner, now)
            return (
                known(part_of(outer, name, now.arrays)) if isinstance(outer, Mapping) else UNKNOWN
            )
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int(place))):
            return known(now.element(name, place))
        case ast.BoolOp(op=ast.And(), values=parts):
            return conjunction([_truth(part, now) for part in parts])
        case ast.BoolOp(op=ast.Or(), values=parts):
            return negated(conjunction([negated(_truth(part, now)) for part in parts]))
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return negated(_truth(part, now))
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return numeric(lambda number: -number, _value(part, now))
        case ast.BinOp(left=left, op=operator, right=right):
            return numeric(ARITHMETIC[type(operator)], _value(left, now), _value(right, now))
        case ast.Compare(left=left, ops=operators, comparators=others):
            values = [_value(part, now) for part in (left, *others)]
            pairs = zip(operators, values[:-1], values[1:], strict=True)
            found = [compared(operator, *pair) for operator, *pair in pairs]
            return found[0] if len(found) == 1 else conjunction(found)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            return _called(name, args, {str(k.arg): k.value for k in keywords}, now)
    raise NotImplementedError(ast.dump(node))


def _truth(node: ast.expr, now: Moment) -> bool | Unknown:
    value = _value(node, now)
    return value if isinstance(value, bool) else UNKNOWN


def _called(
    name: str, args: Sequence[ast.expr], keywords: Mapping[str, ast.expr], now: Moment
) -> Any:
    if name in PLAIN:
        return numeric(PLAIN[name], *(_value(arg, now) for arg in args))
    if name in OVER_ARRAYS:
        return _finite(over_array(name, _value(args[0], replace(now, arrays=True))))
    if name == "packed":
        return _value(args[0], replace(now, arrays=True))
    if name == "age":
        return _age(args[0], now)
    if not _is_present(args[0], now):
        return UNKNOWN
    if _is_packed(args[0]):
        return _over_window(name, args, keywords, now)
    present = _value(args[0], now)
    if not isinstance(present, int | float | str) or (name in NUMERIC and not is_number(present)):
        return UNKNOWN
    if name == "previous":
        earlier = _known_points(args[0], now)[:-1]
        return earlier[-1][1] if earlier else UNKNOWN
    if name == "changed":
        earlier = _known_points(args[0], now)
        return earlier[-1][1] != earlier[-2][1] if len(earlier) > 1 else UNKNOWN
    if name == "streak":
        return _streak([value for _, value in _known_points(args[0], now)])
    return _over_window(name, args, keywords, now)


def _age(node: ast.expr, now: Moment) -> Any:
    """Seconds since the event that a value comes from; unknown where the value is."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    reads = names & set(now.feed.rule.reads)
    value = True if isinstance(node, ast.Name) and reads else _value(node, now)
    latest = [now.latest(read) for read in reads]
    if not isinstance(value, int | float | str) or None in latest:
        return UNKNOWN
    return max((float(Fraction(now.time - one.time, SECOND)) for one in latest if one), default=0)


def _is_packed(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (node.func.id == "packed")
    )


def _is_present(node: ast.expr, now: Moment) -> bool:
    """Whether what a function runs over is known at this very sample."""
    if _is_packed(node):
        return bool(_unpacked(node, now))
    return isinstance(_value(node, now), int | float | str)


def _unpacked(node: ast.expr, moment: Moment) -> list[tuple[int, Any]]:
    """The samples of a packed array: evenly over the span that ends with its event."""
    assert isinstance(node, ast.Call) and isinstance(node.args[1], ast.Constant)
    span = parse_duration(str(node.args[1].value))
    values = _value(node, moment)
    if not isinstance(values, list):
        return []
    count = len(values)
    spread = [(moment.time - span + span * n // count, v) for n, v in enumerate(values, 1)]
    return [(time, v) for time, v in spread if isinstance(known(v), int | float | str)]


def _known_points(node: ast.expr, now: Moment) -> list[tuple[int, Any]]:
    """Every known value up to now, oldest first."""
    if _is_packed(node):
        return [sample for moment in now.history(node) for sample in _unpacked(node, moment)]
    values = ((moment.time, _value(node, moment)) for moment in now.history(node))
    return [(time, value) for time, value in values if isinstance(value, int | float | str)]


def _numbers_now(node: ast.expr, now: Moment) -> bool:
    return any(is_number(value) for _, value in _unpacked(node, now))


def _streak(truths: Sequence[Any]) -> int:
    return next((i for i, value in enumerate(reversed(truths)) if value is not True), len(truths))


def _over_window(
    name: str, args: Sequence[ast.expr], keywords: Mapping[str, ast.expr], now: Moment
) -> Any:
    past = _known_points(args[0], now)
    if name in NUMERIC:
        past = [point for point in past if is_number(point[1])]
        if not past or (_is_packed(args[0]) and not _numbers_now(args[0], now)):
            return UNKNOWN
    # What is packed over more than its cadence overlaps; a series goes forward all the same.
    latest = accumulate((time for time, _ in past), max)
    past = [(time, value) for time, (_, value) in zip(latest, past, strict=True)]
    rest = [_value(arg, now) for arg in args[1:]]
    if "last" in keywords:
        number = _value(keywords["last"], now)
        if len(past) < number:
            return UNKNOWN
        points = past[-number:]
        span = points[-1][0] - points[0][0]
    else:
        span = parse_duration(rest.pop())
        if now.time < past[0][0] + span:
            return UNKNOWN
        points = [(time, value) for time, value in past if now.time - span < time <= now.time]
    return _finite(reduced(name, points, rest, span, counted="last" in keywords))


def _finite(value: Any) -> Any:
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    return known(value)
