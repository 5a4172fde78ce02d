"""Parses the function calls of an expression: each function with its own arguments."""

from __future__ import annotations

import ast
from typing import Protocol

from catcher.expressions.ast import Node, WindowSpec, build_node
from catcher.expressions.errors import ExpressionError
from catcher.expressions.functions import FUNCTIONS, Function, suggest_function
from catcher.model.time import Span, parse_duration

MAX_EVALUATIONS = 100_000


class CallScope(Protocol):
    """What a scope allows."""

    @property
    def allows_windows(self) -> bool: ...
    @property
    def description(self) -> str: ...


class ParserContext(Protocol):
    """The parser of the expression that a call is in."""

    @property
    def scope(self) -> CallScope: ...
    def parse_node(self, tree: ast.expr) -> Node: ...
    def create_error(
        self, tree: ast.expr | ast.keyword, message: str, hint: str = ""
    ) -> ExpressionError: ...
    def get_offset(self, tree: ast.expr | ast.keyword) -> int: ...


def parse_call(parser: ParserContext, tree: ast.Call) -> Node:
    """Parses a call of one of the functions; raises ExpressionError for anything else."""
    if not isinstance(tree.func, ast.Name):
        raise parser.create_error(tree, "only a function can be called", "write abs(x)")
    function = FUNCTIONS.get(tree.func.id)
    if function is None:
        raise parser.create_error(
            tree, f"there is no function {tree.func.id}", suggest_function(tree.func.id)
        )
    for arg in tree.args:
        if isinstance(arg, ast.Starred):
            raise parser.create_error(arg, "* is not in the language", f"write {function.usage}")
    if function.kind == "time" or function.is_windowed:
        _check_window_allowed(parser, tree, function)
    if function.is_windowed:
        return _parse_window_call(parser, tree, function)
    _reject_keywords(parser, tree, function)
    if len(tree.args) not in range(function.arity[0], function.arity[1] + 1):
        raise _create_arity_error(parser, tree, function)
    return _parse_plain_call(parser, tree, function)


def _check_window_allowed(parser: ParserContext, tree: ast.Call, function: Function) -> None:
    if not parser.scope.allows_windows:
        raise parser.create_error(
            tree,
            f"{function.name} looks back in time, but "
            f"{parser.scope.description} sees one event only",
            "move it to `when`, or to a level of the alert",
        )


def _reject_keywords(parser: ParserContext, tree: ast.Call, function: Function) -> None:
    if tree.keywords:
        raise parser.create_error(
            tree.keywords[0],
            f"{function.name} takes no {tree.keywords[0].arg or '**'}",
            f"write {function.usage}",
        )


def _create_arity_error(
    parser: ParserContext, tree: ast.Call, function: Function
) -> ExpressionError:
    low, high = function.arity
    expected = str(low) if low == high else f"{low} to {high}"
    plural = "argument" if expected == "1" else "arguments"
    suffix = ""
    if len(tree.args) == high + 1 and _is_text_literal(tree.args[-1]):
        suffix = ", and no window"
    message = f"{function.name} takes {expected} {plural}{suffix}, not {len(tree.args)}"
    return parser.create_error(tree, message, f"write {function.usage}")


def _is_text_literal(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant) and isinstance(tree.value, str)


def _parse_plain_call(parser: ParserContext, tree: ast.Call, function: Function) -> Node:
    offset, name = parser.get_offset(tree), function.name
    if name == "packed":
        return _parse_packed(parser, tree)
    args = tuple(parser.parse_node(arg) for arg in tree.args)
    for arg, node in zip(tree.args, args, strict=True):
        if node.kind == "const" and isinstance(node.value, str):
            raise parser.create_error(arg, f"{name} takes no text", f"write {function.usage}")
        if node.kind == "packed" and function.kind != "array":
            hint = 'write mean(packed(angle, "1s"), "1m")'
            raise parser.create_error(
                arg, "packed stands only inside a function with a window", hint
            )
    text = f"{name}({', '.join(arg.text for arg in args)})"
    if name in ("previous", "changed", "streak"):
        return build_node("over", text, args, name=name, value=WindowSpec(), offset=offset)
    if name == "age":
        return build_node("age", text, args, name=name, offset=offset)
    if name == "round" and len(args) == 2:
        _check_round_digits(parser, tree.args[1], args[1])
    kind = "reduce" if function.kind == "array" else "apply"
    return build_node(
        "reduce" if kind == "reduce" else "apply", text, args, name=name, offset=offset
    )


def _check_round_digits(parser: ParserContext, tree: ast.expr, digits: Node) -> None:
    if digits.kind != "const" or type(digits.value) is not int or abs(digits.value) > 15:
        raise parser.create_error(tree, "round takes a whole number of digits", "write round(x, 2)")


def _parse_packed(parser: ParserContext, tree: ast.Call) -> Node:
    array = parser.parse_node(tree.args[0])
    if array.stateful:
        raise parser.create_error(tree.args[0], "packed takes a field", 'write packed(angle, "1s")')
    span = _parse_span(parser, tree.args[1])
    text = f"packed({array.text}, {WindowSpec(span)})"
    return build_node(
        "packed", text, (array,), name="packed", value=span, offset=parser.get_offset(tree)
    )


def _parse_window_call(parser: ParserContext, tree: ast.Call, function: Function) -> Node:
    args, window_spec = _parse_window_spec(parser, tree, function)
    expected = 2 if function.name == "percentile" else 1
    if len(args) != expected:
        raise parser.create_error(
            tree,
            f"{function.name} takes {_describe_expected_arguments(expected)} and a window",
            f"write {function.usage}",
        )
    nodes = [parser.parse_node(arg) for arg in args]
    if nodes[0].kind == "const":
        raise parser.create_error(
            args[0], f"{function.name} of a constant", f"write {function.usage}"
        )
    suffix = ""
    if function.name == "percentile":
        window_spec = WindowSpec(
            window_spec.span, window_spec.last, _parse_quantile(parser, args[1], nodes[1])
        )
        suffix = f", {nodes[1].text}"
    text = f"{function.name}({nodes[0].text}{suffix}, {window_spec})"
    return build_node(
        "over",
        text,
        (nodes[0],),
        name=function.name,
        value=window_spec,
        offset=parser.get_offset(tree),
    )


def _describe_expected_arguments(count: int) -> str:
    return "one value" if count == 1 else "a value, a percentage"


def _parse_window_spec(
    parser: ParserContext, tree: ast.Call, function: Function
) -> tuple[list[ast.expr], WindowSpec]:
    """Returns the arguments without the window, and the window."""
    window_texts = [arg for arg in tree.args if _is_text_literal(arg)]
    last_keywords = [keyword for keyword in tree.keywords if keyword.arg == "last"]
    other_keywords = [keyword for keyword in tree.keywords if keyword.arg != "last"]
    if other_keywords:
        raise parser.create_error(
            other_keywords[0],
            f"{function.name} takes no {other_keywords[0].arg or '**'}",
            f"write {function.usage}",
        )
    if len(window_texts) + len(last_keywords) != 1:
        raise parser.create_error(
            tree,
            f"{function.name} needs {'one' if window_texts else 'a'} window",
            f'write {function.usage} or last=5 in place of "5m"',
        )
    args = [arg for arg in tree.args if not _is_text_literal(arg)]
    if last_keywords:
        return args, WindowSpec(last=_parse_evaluation_count(parser, last_keywords[0].value))
    return args, WindowSpec(_parse_span(parser, window_texts[0]))


def _parse_evaluation_count(parser: ParserContext, tree: ast.expr) -> int:
    value = tree.value if isinstance(tree, ast.Constant) else None
    if type(value) is not int or not 1 <= value <= MAX_EVALUATIONS:
        raise parser.create_error(
            tree, f"last takes a whole number from 1 to {MAX_EVALUATIONS}", "write last=5"
        )
    return value


def _parse_span(parser: ParserContext, tree: ast.expr) -> Span:
    if not isinstance(tree, ast.Constant) or not isinstance(tree.value, str):
        raise parser.create_error(tree, "a window is a duration in quotes", 'write "5m"')
    try:
        span = parse_duration(tree.value)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise parser.create_error(tree, message, hint) from None
    if span == 0:
        raise parser.create_error(tree, "a window cannot be empty", 'write "5m"')
    return span


def _parse_quantile(parser: ParserContext, tree: ast.expr, node: Node) -> float:
    value = node.value if node.kind == "const" else None
    if isinstance(value, bool | str) or value is None or not 0 <= value <= 100:
        raise parser.create_error(
            tree, "the percentage is a number from 0 to 100", 'write percentile(x, 95, "5m")'
        )
    return float(value)
