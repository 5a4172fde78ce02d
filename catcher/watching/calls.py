"""The calls of an expression: each function with its own arguments."""

from __future__ import annotations

import ast
from typing import Protocol

from catcher.model.time import Span, parse_duration
from catcher.watching.errors import ExpressionError
from catcher.watching.tree import Node, Reach, make
from catcher.watching.vocabulary import FUNCTIONS, Function, suggestion

MOST_EVALUATIONS = 100_000


class Sight(Protocol):
    """What a scope allows."""

    @property
    def windows(self) -> bool: ...
    @property
    def what(self) -> str: ...


class Reading(Protocol):
    """The reader of the expression that a call stands in."""

    @property
    def scope(self) -> Sight: ...
    def read(self, tree: ast.expr) -> Node: ...
    def error(
        self, tree: ast.expr | ast.keyword, message: str, hint: str = ""
    ) -> ExpressionError: ...
    def offset(self, tree: ast.expr | ast.keyword) -> int: ...


def read_call(reader: Reading, tree: ast.Call) -> Node:
    """A call of one of the functions; anything else is refused."""
    if not isinstance(tree.func, ast.Name):
        raise reader.error(tree, "only a function can be called", "write abs(x)")
    function = FUNCTIONS.get(tree.func.id)
    if function is None:
        raise reader.error(tree, f"there is no function {tree.func.id}", suggestion(tree.func.id))
    for arg in tree.args:
        if isinstance(arg, ast.Starred):
            raise reader.error(arg, "* is not in the language", f"write {function.usage}")
    if function.kind == "time" or function.windowed:
        _check_window_allowed(reader, tree, function)
    if function.windowed:
        return _over(reader, tree, function)
    _refuse_keywords(reader, tree, function)
    if len(tree.args) not in range(function.arguments[0], function.arguments[1] + 1):
        raise _wrong_count(reader, tree, function)
    return _plain(reader, tree, function)


def _check_window_allowed(reader: Reading, tree: ast.Call, function: Function) -> None:
    if not reader.scope.windows:
        raise reader.error(
            tree,
            f"{function.name} looks back in time, but {reader.scope.what} sees one event only",
            "move it to `when`, or to a level of the alert",
        )


def _refuse_keywords(reader: Reading, tree: ast.Call, function: Function) -> None:
    if tree.keywords:
        raise reader.error(
            tree.keywords[0],
            f"{function.name} takes no {tree.keywords[0].arg or '**'}",
            f"write {function.usage}",
        )


def _wrong_count(reader: Reading, tree: ast.Call, function: Function) -> ExpressionError:
    low, high = function.arguments
    wanted = str(low) if low == high else f"{low} to {high}"
    plural = "argument" if wanted == "1" else "arguments"
    extra = ""
    if len(tree.args) == high + 1 and _is_text(tree.args[-1]):
        extra = ", and no window"
    message = f"{function.name} takes {wanted} {plural}{extra}, not {len(tree.args)}"
    return reader.error(tree, message, f"write {function.usage}")


def _is_text(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Constant) and isinstance(tree.value, str)


def _plain(reader: Reading, tree: ast.Call, function: Function) -> Node:
    at, name = reader.offset(tree), function.name
    if name == "packed":
        return _packed(reader, tree)
    args = tuple(reader.read(arg) for arg in tree.args)
    for arg, node in zip(tree.args, args, strict=True):
        if node.kind == "const" and isinstance(node.value, str):
            raise reader.error(arg, f"{name} takes no text", f"write {function.usage}")
        if node.kind == "packed" and function.kind != "array":
            hint = 'write mean(packed(angle, "1s"), "1m")'
            raise reader.error(arg, "packed stands only inside a function with a window", hint)
    text = f"{name}({', '.join(arg.text for arg in args)})"
    if name in ("previous", "changed", "streak"):
        return make("over", text, args, name=name, value=Reach(), at=at)
    if name == "age":
        return make("age", text, args, name=name, at=at)
    if name == "round" and len(args) == 2:
        _check_digits(reader, tree.args[1], args[1])
    kind = "reduce" if function.kind == "array" else "apply"
    return make("reduce" if kind == "reduce" else "apply", text, args, name=name, at=at)


def _check_digits(reader: Reading, tree: ast.expr, digits: Node) -> None:
    if digits.kind != "const" or type(digits.value) is not int or abs(digits.value) > 15:
        raise reader.error(tree, "round takes a whole number of digits", "write round(x, 2)")


def _packed(reader: Reading, tree: ast.Call) -> Node:
    array = reader.read(tree.args[0])
    if array.stateful:
        raise reader.error(tree.args[0], "packed takes a field", 'write packed(angle, "1s")')
    span = _span(reader, tree.args[1])
    text = f"packed({array.text}, {Reach(span)})"
    return make("packed", text, (array,), name="packed", value=span, at=reader.offset(tree))


def _over(reader: Reading, tree: ast.Call, function: Function) -> Node:
    args, reach = _reach(reader, tree, function)
    wanted = 2 if function.name == "percentile" else 1
    if len(args) != wanted:
        raise reader.error(
            tree,
            f"{function.name} takes {_counted(wanted)} and a window",
            f"write {function.usage}",
        )
    nodes = [reader.read(arg) for arg in args]
    if nodes[0].kind == "const":
        raise reader.error(args[0], f"{function.name} of a constant", f"write {function.usage}")
    extra = ""
    if function.name == "percentile":
        reach = Reach(reach.span, reach.last, _quantile(reader, args[1], nodes[1]))
        extra = f", {nodes[1].text}"
    text = f"{function.name}({nodes[0].text}{extra}, {reach})"
    return make("over", text, (nodes[0],), name=function.name, value=reach, at=reader.offset(tree))


def _counted(count: int) -> str:
    return "one value" if count == 1 else "a value, a percentage"


def _reach(reader: Reading, tree: ast.Call, function: Function) -> tuple[list[ast.expr], Reach]:
    """The arguments without the window, and the window."""
    texts = [arg for arg in tree.args if _is_text(arg)]
    last = [word for word in tree.keywords if word.arg == "last"]
    other = [word for word in tree.keywords if word.arg != "last"]
    if other:
        raise reader.error(
            other[0], f"{function.name} takes no {other[0].arg or '**'}", f"write {function.usage}"
        )
    if len(texts) + len(last) != 1:
        raise reader.error(
            tree,
            f"{function.name} needs {'one' if texts else 'a'} window",
            f'write {function.usage} or last=5 in place of "5m"',
        )
    args = [arg for arg in tree.args if not _is_text(arg)]
    if last:
        return args, Reach(last=_evaluations(reader, last[0].value))
    return args, Reach(_span(reader, texts[0]))


def _evaluations(reader: Reading, tree: ast.expr) -> int:
    value = tree.value if isinstance(tree, ast.Constant) else None
    if type(value) is not int or not 1 <= value <= MOST_EVALUATIONS:
        raise reader.error(
            tree, f"last takes a whole number from 1 to {MOST_EVALUATIONS}", "write last=5"
        )
    return value


def _span(reader: Reading, tree: ast.expr) -> Span:
    if not isinstance(tree, ast.Constant) or not isinstance(tree.value, str):
        raise reader.error(tree, "a window is a duration in quotes", 'write "5m"')
    try:
        span = parse_duration(tree.value)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise reader.error(tree, message, hint) from None
    if span == 0:
        raise reader.error(tree, "a window cannot be empty", 'write "5m"')
    return span


def _quantile(reader: Reading, tree: ast.expr, node: Node) -> float:
    value = node.value if node.kind == "const" else None
    if isinstance(value, bool | str) or value is None or not 0 <= value <= 100:
        raise reader.error(
            tree, "the percentage is a number from 0 to 100", 'write percentile(x, 95, "5m")'
        )
    return float(value)
