"""Parses the text of an expression into a checked tree; only allowed syntax gets through."""

from __future__ import annotations

import ast
import keyword
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from catcher.expressions.ast import Node, build_constant, build_node, parenthesize_if_needed
from catcher.expressions.errors import ExpressionError
from catcher.expressions.function_calls import parse_call

# Python parses the text of an expression; its syntax errors are translated into our messages.


MAX_EXPRESSION_LENGTH = 4_000


def parse_python_syntax(text: str) -> tuple[ast.expr, int]:
    """Returns Python's tree of a text, and how many blanks came before it.

    Raises ExpressionError if it cannot be parsed.
    """
    if len(text) > MAX_EXPRESSION_LENGTH:
        raise ExpressionError(
            f"the expression has {len(text)} characters, {MAX_EXPRESSION_LENGTH} are allowed",
            "name its parts with `let`",
        )
    line = text.translate({10: " ", 13: " ", 9: " "})
    indent = len(line) - len(line.lstrip(" "))
    if not line.strip():
        raise ExpressionError("the expression is empty", "write a condition such as speed > 10")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(line[indent:], mode="eval").body
    except SyntaxError as error:
        raise _translate_syntax_error(line, error, indent) from None
    except (ValueError, RecursionError, MemoryError, OverflowError):
        raise ExpressionError(
            "the expression cannot be read", "it nests too deeply or holds odd characters"
        ) from None
    if "#" in line and not _is_hash_quoted(body, line):
        raise ExpressionError(
            "a # starts a comment, which an expression cannot hold",
            "leave it out, or put the text in quotes",
            line.index("#"),
        )
    return body, indent


def _is_hash_quoted(body: ast.expr, line: str) -> bool:
    quoted_count = sum(
        node.value.count("#")
        for node in ast.walk(body)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return quoted_count >= line.count("#")


def _translate_syntax_error(line: str, error: SyntaxError, indent: int) -> ExpressionError:
    end = max(len(line) - 1, 0)
    offset = min(error.offset - 1 + indent, end) if error.offset else end
    for symbol, replacement in (("&&", "and"), ("||", "or")):
        if symbol in line:
            return ExpressionError(
                f"{symbol} is no operator", f"write {replacement}", line.index(symbol)
            )
    remaining = line[offset:].lstrip()
    if remaining.startswith("=") or "=" in (error.msg or ""):
        return ExpressionError("= does not compare", "write ==", offset)
    if remaining.startswith("!"):
        return ExpressionError("! is no operator", "write not", offset)
    message = (error.msg or "it cannot be read").rstrip(".")
    if len(line) > 60 and "nested" in message:
        return ExpressionError("the expression nests too deeply", "name its parts with `let`", 0)
    return ExpressionError(
        f"this is no expression: {message}", "docs/functions.md shows the language", offset
    )


MAX_NODES = 5_000
MAX_DEPTH = 40
MAX_INTEGER = 2**63
MAX_INDEX = 1_000_000

_BINARY_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**",
}  # fmt: skip
_COMPARISON_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_BOOLEAN_LITERALS: Mapping[str, bool] = {"true": True, "false": False}


@dataclass(frozen=True)
class Scope:
    """What a name may mean: a read, or a name of `let` or `with`; all others are fields.

    `allows_windows` says whether functions over time are allowed, `has_event` whether there is an
    event whose fields may be named.
    """

    reads: frozenset[str] = frozenset()
    names: Mapping[str, Node] = field(default_factory=dict)
    allows_windows: bool = True
    has_event: bool = True
    description: str = "an expression"


def parse_expression(text: str, scope: Scope) -> Node:
    """Returns the checked tree of an expression; raises ExpressionError with the offset."""
    tree, indent = parse_python_syntax(text)
    return ExpressionParser(text, scope, indent).parse_node(tree)


class ExpressionParser:
    """Walks Python's tree and accepts only what the language has."""

    def __init__(self, text: str, scope: Scope, indent: int) -> None:
        self.scope = scope
        self._text = text[indent:]
        self._indent = indent
        self._depth = 0

    def parse_node(self, tree: ast.expr) -> Node:
        """Returns one node with all below it."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.create_error(
                tree, "the expression nests too deeply", "name its parts with `let`"
            )
        node = self._parse_by_type(tree)
        self._depth -= 1
        if node.size > MAX_NODES:
            raise self.create_error(
                tree, "the expression is too large", "use fewer or smaller `let`s"
            )
        return node

    def create_error(
        self, tree: ast.expr | ast.keyword, message: str, hint: str = ""
    ) -> ExpressionError:
        """Returns an error at a position in the text."""
        return ExpressionError(message, hint, self.get_offset(tree))

    def get_offset(self, tree: ast.expr | ast.keyword) -> int:
        """Returns where a part starts, in characters (Python counts bytes)."""
        prefix = self._text.encode("utf-8", "replace")[: tree.col_offset]
        return self._indent + len(prefix.decode("utf-8", "ignore"))

    def _parse_by_type(self, tree: ast.expr) -> Node:
        match tree:
            case ast.Constant():
                return self._parse_constant(tree)
            case ast.Name():
                return self._parse_name(tree)
            case ast.Attribute() | ast.Subscript():
                return self._parse_field(tree)
            case ast.UnaryOp():
                return self._parse_unary(tree)
            case ast.BinOp():
                return self._parse_binary(tree)
            case ast.BoolOp():
                parts = tuple(self.parse_node(value) for value in tree.values)
                return self._build_logic_node(
                    "and" if isinstance(tree.op, ast.And) else "or", parts, tree
                )
            case ast.Compare():
                return self._parse_comparison_chain(tree)
            case ast.Call():
                return parse_call(self, tree)
            case _:
                raise self._create_unsupported_error(tree)

    def _parse_constant(self, tree: ast.Constant) -> Node:
        value = tree.value
        if value is None:
            raise self.create_error(
                tree, "None compares with nothing", "a missing value is unknown"
            )
        if isinstance(value, bool | str):
            return build_constant(value, self.get_offset(tree))
        if isinstance(value, int) and abs(value) >= MAX_INTEGER:
            raise self.create_error(tree, "the number is too large", "write it like 1e20")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.create_error(
                tree, "the number is too large", "the greatest is about 1.8e308"
            )
        if isinstance(value, int | float):
            return build_constant(value, self.get_offset(tree))
        hint = "write a number, a text in quotes, true or false"
        value_text = repr(value)[:40]
        raise self.create_error(
            tree, f"{value_text} is neither a number, a text nor a truth value", hint
        )

    def _parse_name(self, tree: ast.Name) -> Node:
        offset, name = self.get_offset(tree), tree.id
        self._reject_dunder_name(tree, name)
        if name in self.scope.names:
            node = self.scope.names[name]
            if node.stateful and not self.scope.allows_windows:
                message = f"{name} looks back in time, but {self.scope.description} cannot"
                raise self.create_error(
                    tree, message, "move it to `when`, or to a level of the alert"
                )
            return node
        if name in self.scope.reads:
            return Node("read", name, lookup=name, offset=offset, lookups=frozenset((name,)))
        if name in _BOOLEAN_LITERALS:
            return build_constant(_BOOLEAN_LITERALS[name], offset)
        return self._build_event_field(tree, (name,), name)

    def _build_event_field(self, tree: ast.expr, path: tuple[str | int, ...], text: str) -> Node:
        if not self.scope.has_event:
            raise self.create_error(
                tree,
                f"{path[0]} is unknown, for there is no event here",
                "name another topic's event under `reads`",
            )
        return Node(
            "field", text, value=path, offset=self.get_offset(tree), lookups=frozenset(("",))
        )

    def _parse_field(self, tree: ast.Attribute | ast.Subscript) -> Node:
        path: list[str | int] = []
        inner: ast.expr = tree
        while isinstance(inner, ast.Attribute | ast.Subscript):
            path.append(self._parse_path_step(inner))
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise self.create_error(tree, "only a field has parts", "write name.part or name[0]")
        self._reject_dunder_name(inner, inner.id)
        steps = tuple(reversed(path))
        suffix = "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in steps)
        if inner.id in self.scope.reads:
            if not isinstance(steps[0], str):
                raise self.create_error(tree, f"{inner.id} is a read", f"write {inner.id}.field")
            return Node(
                "field",
                inner.id + suffix,
                value=steps,
                lookup=inner.id,
                offset=self.get_offset(tree),
                lookups=frozenset((inner.id,)),
            )
        if inner.id in self.scope.names:
            raise self.create_error(
                tree, f"{inner.id} has no parts", "it is a name of `let` or `with`"
            )
        return self._build_event_field(tree, (inner.id, *steps), inner.id + suffix)

    def _parse_path_step(self, tree: ast.Attribute | ast.Subscript) -> str | int:
        if isinstance(tree, ast.Attribute):
            self._reject_dunder_name(tree, tree.attr)
            return tree.attr
        index: Any = tree.slice
        if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub):
            inner = index.operand
            if isinstance(inner, ast.Constant) and _is_valid_index(inner.value):
                return -int(inner.value)
        value = index.value if isinstance(index, ast.Constant) else None
        if isinstance(value, str):
            self._reject_dunder_name(tree, value)
        if isinstance(value, str) or _is_valid_index(value):
            return value
        raise self.create_error(tree, "an index is a whole number", "write name[0]")

    def _reject_dunder_name(self, tree: ast.expr, name: str) -> None:
        if name.startswith("__"):
            raise self.create_error(
                tree, f"{name} is no field", "names with two underscores are refused"
            )

    def _parse_unary(self, tree: ast.UnaryOp) -> Node:
        operand = self.parse_node(tree.operand)
        offset = self.get_offset(tree)
        if isinstance(tree.op, ast.Not):
            return build_node(
                "not", f"not {parenthesize_if_needed(operand)}", (operand,), offset=offset
            )
        if isinstance(tree.op, ast.Invert):
            raise self.create_error(tree, "~ is no operator", "write not")
        self._reject_text_operand(tree.operand, operand)
        if isinstance(tree.op, ast.UAdd):
            return operand
        if operand.kind == "const" and not isinstance(operand.value, bool | str | tuple):
            return build_constant(-operand.value, offset)
        return build_node(
            "apply", f"-{parenthesize_if_needed(operand)}", (operand,), name="neg", offset=offset
        )

    def _parse_binary(self, tree: ast.BinOp) -> Node:
        symbol = _BINARY_OPERATORS.get(type(tree.op))
        if symbol is None:
            raise self.create_error(
                tree, "this operator is not in the language", "write and, or, not for conditions"
            )
        left, right = self.parse_node(tree.left), self.parse_node(tree.right)
        self._reject_text_operand(tree.left, left)
        self._reject_text_operand(tree.right, right)
        text = f"{parenthesize_if_needed(left)} {symbol} {parenthesize_if_needed(right)}"
        return build_node("apply", text, (left, right), name=symbol, offset=self.get_offset(tree))

    def _reject_text_operand(self, tree: ast.expr, node: Node) -> None:
        if node.kind == "const" and isinstance(node.value, str | tuple):
            raise self.create_error(
                tree, "there is no arithmetic with text", "compare it with == or in"
            )

    def _build_logic_node(self, operator: str, operands: tuple[Node, ...], tree: ast.expr) -> Node:
        text = f" {operator} ".join(parenthesize_if_needed(operand) for operand in operands)
        return build_node(
            "and" if operator == "and" else "or", text, operands, offset=self.get_offset(tree)
        )

    def _parse_comparison_chain(self, tree: ast.Compare) -> Node:
        comparisons: list[Node] = []
        left = tree.left
        for operator, right in zip(tree.ops, tree.comparators, strict=True):
            comparisons.append(self._parse_comparison(left, operator, right))
            left = right
        return (
            comparisons[0]
            if len(comparisons) == 1
            else self._build_logic_node("and", tuple(comparisons), tree)
        )

    def _parse_comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Node:
        if isinstance(operator, ast.Is | ast.IsNot):
            raise self.create_error(right, "`is` does not compare", "write == or !=")
        if isinstance(operator, ast.In | ast.NotIn):
            membership = self._parse_membership(left, right)
            negated = isinstance(operator, ast.NotIn)
            return (
                build_node(
                    "not", f"not ({membership.text})", (membership,), offset=membership.offset
                )
                if negated
                else membership
            )
        left_node, right_node = self.parse_node(left), self.parse_node(right)
        name = _COMPARISON_OPERATORS[type(operator)]
        text = f"{parenthesize_if_needed(left_node)} {name} {parenthesize_if_needed(right_node)}"
        return build_node(
            "apply", text, (left_node, right_node), name=name, offset=self.get_offset(left)
        )

    def _parse_membership(self, left: ast.expr, right: ast.expr) -> Node:
        item = self.parse_node(left)
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            choices = tuple(self.parse_node(element) for element in right.elts)
            text = (
                f"{parenthesize_if_needed(item)} in "
                f"({', '.join(choice.text for choice in choices)})"
            )
            return build_node("among", text, (item, *choices), offset=self.get_offset(left))
        container = self.parse_node(right)
        if container.kind == "const" and not isinstance(container.value, str | tuple):
            raise self.create_error(right, "`in` needs a list or a text", "write x in (1, 2, 3)")
        text = f"{parenthesize_if_needed(item)} in {parenthesize_if_needed(container)}"
        return build_node("in", text, (item, container), offset=self.get_offset(left))

    def _create_unsupported_error(self, tree: ast.expr) -> ExpressionError:
        names = {
            ast.IfExp: "if ... else", ast.Lambda: "lambda", ast.ListComp: "a comprehension",
            ast.SetComp: "a comprehension", ast.DictComp: "a comprehension",
            ast.GeneratorExp: "a comprehension", ast.JoinedStr: "an f-string",
            ast.Dict: "a dictionary", ast.Set: "a set", ast.List: "a list",
            ast.Tuple: "a list", ast.NamedExpr: ":=", ast.Starred: "*",
            ast.Await: "await",
        }  # fmt: skip
        description = names.get(type(tree), "this")
        hint = "a list stands only after `in`" if description in ("a list", "a set") else (
            "docs/functions.md shows the language"
        )  # fmt: skip
        return self.create_error(tree, f"{description} is not in the language", hint)


def _is_valid_index(value: object) -> TypeGuard[int]:
    return type(value) is int and value < MAX_INDEX


def is_valid_name(text: str) -> bool:
    """True if a `let`, `with` or `reads` name can be written in an expression."""
    return text.isidentifier() and not keyword.iskeyword(text) and not text.startswith("__")
