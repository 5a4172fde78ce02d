"""The text of an expression becomes a checked tree; nothing but the white list gets through."""

from __future__ import annotations

import ast
import keyword
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from catcher.watching.calls import read_call
from catcher.watching.errors import ExpressionError
from catcher.watching.syntax import syntax
from catcher.watching.tree import Node, bracketed, constant, make

MOST_NODES = 5_000
DEEPEST = 40
LARGEST_INTEGER = 2**63
LARGEST_INDEX = 1_000_000

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**",
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_WORDS: Mapping[str, bool] = {"true": True, "false": False}


@dataclass(frozen=True)
class Scope:
    """What a name may mean: a read, or a name of `let` or `with`; all others are fields.

    `windows` says whether functions over time make sense here, `event` whether there is an
    event whose fields may be named.
    """

    reads: frozenset[str] = frozenset()
    names: Mapping[str, Node] = field(default_factory=dict)
    windows: bool = True
    event: bool = True
    what: str = "an expression"


def parse(text: str, scope: Scope) -> Node:
    """The checked tree of an expression; ExpressionError with the offset of what is wrong."""
    tree, shift = syntax(text)
    return Reader(text, scope, shift).read(tree)


class Reader:
    """Walks Python's tree and keeps only what the language has."""

    def __init__(self, text: str, scope: Scope, shift: int) -> None:
        self.scope = scope
        self._text = text[shift:]
        self._shift = shift
        self._depth = 0

    def read(self, tree: ast.expr) -> Node:
        """One node with all below it."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise self.error(tree, "the expression nests too deeply", "name its parts with `let`")
        node = self._read(tree)
        self._depth -= 1
        if node.size > MOST_NODES:
            raise self.error(tree, "the expression is too large", "use fewer or smaller `let`s")
        return node

    def error(self, tree: ast.expr | ast.keyword, message: str, hint: str = "") -> ExpressionError:
        """An error at a place of the text."""
        return ExpressionError(message, hint, self.offset(tree))

    def offset(self, tree: ast.expr | ast.keyword) -> int:
        """Where a part starts, in characters (Python counts bytes)."""
        start = self._text.encode("utf-8", "replace")[: tree.col_offset]
        return self._shift + len(start.decode("utf-8", "ignore"))

    def _read(self, tree: ast.expr) -> Node:
        match tree:
            case ast.Constant():
                return self._constant(tree)
            case ast.Name():
                return self._name(tree)
            case ast.Attribute() | ast.Subscript():
                return self._field(tree)
            case ast.UnaryOp():
                return self._unary(tree)
            case ast.BinOp():
                return self._binary(tree)
            case ast.BoolOp():
                parts = tuple(self.read(value) for value in tree.values)
                return self._logic("and" if isinstance(tree.op, ast.And) else "or", parts, tree)
            case ast.Compare():
                return self._compare(tree)
            case ast.Call():
                return read_call(self, tree)
            case _:
                raise self._refusal(tree)

    def _constant(self, tree: ast.Constant) -> Node:
        value = tree.value
        if value is None:
            raise self.error(tree, "None compares with nothing", "a missing value is unknown")
        if isinstance(value, bool | str):
            return constant(value, self.offset(tree))
        if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
            raise self.error(tree, "the number is too large", "write it like 1e20")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(tree, "the number is too large", "the greatest is about 1.8e308")
        if isinstance(value, int | float):
            return constant(value, self.offset(tree))
        hint = "write a number, a text in quotes, true or false"
        shown = repr(value)[:40]
        raise self.error(tree, f"{shown} is neither a number, a text nor a truth value", hint)

    def _name(self, tree: ast.Name) -> Node:
        at, name = self.offset(tree), tree.id
        self._refuse_hidden(tree, name)
        if name in self.scope.names:
            found = self.scope.names[name]
            if found.stateful and not self.scope.windows:
                words = f"{name} looks back in time, but {self.scope.what} cannot"
                raise self.error(tree, words, "move it to `when`, or to a level of the alert")
            return found
        if name in self.scope.reads:
            return Node("read", name, root=name, at=at, roots=frozenset((name,)))
        if name in _WORDS:
            return constant(_WORDS[name], at)
        return self._own_field(tree, (name,), name)

    def _own_field(self, tree: ast.expr, path: tuple[str | int, ...], text: str) -> Node:
        if not self.scope.event:
            raise self.error(
                tree,
                f"{path[0]} is unknown, for there is no event here",
                "name another topic's event under `reads`",
            )
        return Node("field", text, value=path, at=self.offset(tree), roots=frozenset(("",)))

    def _field(self, tree: ast.Attribute | ast.Subscript) -> Node:
        path: list[str | int] = []
        inner: ast.expr = tree
        while isinstance(inner, ast.Attribute | ast.Subscript):
            path.append(self._step(inner))
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise self.error(tree, "only a field has parts", "write name.part or name[0]")
        self._refuse_hidden(inner, inner.id)
        steps = tuple(reversed(path))
        tail = "".join(f".{s}" if isinstance(s, str) else f"[{s}]" for s in steps)
        if inner.id in self.scope.reads:
            if not isinstance(steps[0], str):
                raise self.error(tree, f"{inner.id} is a read", f"write {inner.id}.field")
            return Node(
                "field", inner.id + tail, value=steps, root=inner.id, at=self.offset(tree),
                roots=frozenset((inner.id,)),
            )  # fmt: skip
        if inner.id in self.scope.names:
            raise self.error(tree, f"{inner.id} has no parts", "it is a name of `let` or `with`")
        return self._own_field(tree, (inner.id, *steps), inner.id + tail)

    def _step(self, tree: ast.Attribute | ast.Subscript) -> str | int:
        if isinstance(tree, ast.Attribute):
            self._refuse_hidden(tree, tree.attr)
            return tree.attr
        index: Any = tree.slice
        if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub):
            inner = index.operand
            if isinstance(inner, ast.Constant) and _is_index(inner.value):
                return -int(inner.value)
        value = index.value if isinstance(index, ast.Constant) else None
        if isinstance(value, str):
            self._refuse_hidden(tree, value)
        if isinstance(value, str) or _is_index(value):
            return value
        raise self.error(tree, "an index is a whole number", "write name[0]")

    def _refuse_hidden(self, tree: ast.expr, name: str) -> None:
        if name.startswith("__"):
            raise self.error(tree, f"{name} is no field", "names with two underscores are refused")

    def _unary(self, tree: ast.UnaryOp) -> Node:
        inner = self.read(tree.operand)
        at = self.offset(tree)
        if isinstance(tree.op, ast.Not):
            return make("not", f"not {bracketed(inner)}", (inner,), at=at)
        if isinstance(tree.op, ast.Invert):
            raise self.error(tree, "~ is no operator", "write not")
        self._refuse_text(tree.operand, inner)
        if isinstance(tree.op, ast.UAdd):
            return inner
        if inner.kind == "const" and not isinstance(inner.value, bool | str | tuple):
            return constant(-inner.value, at)
        return make("apply", f"-{bracketed(inner)}", (inner,), name="neg", at=at)

    def _binary(self, tree: ast.BinOp) -> Node:
        sign = _BINARY.get(type(tree.op))
        if sign is None:
            raise self.error(
                tree, "this operator is not in the language", "write and, or, not for conditions"
            )
        left, right = self.read(tree.left), self.read(tree.right)
        self._refuse_text(tree.left, left)
        self._refuse_text(tree.right, right)
        text = f"{bracketed(left)} {sign} {bracketed(right)}"
        return make("apply", text, (left, right), name=sign, at=self.offset(tree))

    def _refuse_text(self, tree: ast.expr, node: Node) -> None:
        if node.kind == "const" and isinstance(node.value, str | tuple):
            raise self.error(tree, "there is no arithmetic with text", "compare it with == or in")

    def _logic(self, word: str, parts: tuple[Node, ...], tree: ast.expr) -> Node:
        text = f" {word} ".join(bracketed(part) for part in parts)
        return make("and" if word == "and" else "or", text, parts, at=self.offset(tree))

    def _compare(self, tree: ast.Compare) -> Node:
        pairs: list[Node] = []
        left = tree.left
        for sign, right in zip(tree.ops, tree.comparators, strict=True):
            pairs.append(self._pair(left, sign, right))
            left = right
        return pairs[0] if len(pairs) == 1 else self._logic("and", tuple(pairs), tree)

    def _pair(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> Node:
        if isinstance(sign, ast.Is | ast.IsNot):
            raise self.error(right, "`is` does not compare", "write == or !=")
        if isinstance(sign, ast.In | ast.NotIn):
            found = self._membership(left, right)
            negated = isinstance(sign, ast.NotIn)
            return make("not", f"not ({found.text})", (found,), at=found.at) if negated else found
        a, b = self.read(left), self.read(right)
        name = _COMPARE[type(sign)]
        text = f"{bracketed(a)} {name} {bracketed(b)}"
        return make("apply", text, (a, b), name=name, at=self.offset(left))

    def _membership(self, left: ast.expr, right: ast.expr) -> Node:
        item = self.read(left)
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            choices = tuple(self.read(one) for one in right.elts)
            text = f"{bracketed(item)} in ({', '.join(one.text for one in choices)})"
            return make("among", text, (item, *choices), at=self.offset(left))
        box = self.read(right)
        if box.kind == "const" and not isinstance(box.value, str | tuple):
            raise self.error(right, "`in` needs a list or a text", "write x in (1, 2, 3)")
        text = f"{bracketed(item)} in {bracketed(box)}"
        return make("in", text, (item, box), at=self.offset(left))

    def _refusal(self, tree: ast.expr) -> ExpressionError:
        names = {
            ast.IfExp: "if ... else", ast.Lambda: "lambda", ast.ListComp: "a comprehension",
            ast.SetComp: "a comprehension", ast.DictComp: "a comprehension",
            ast.GeneratorExp: "a comprehension", ast.JoinedStr: "an f-string",
            ast.Dict: "a dictionary", ast.Set: "a set", ast.List: "a list",
            ast.Tuple: "a list", ast.NamedExpr: ":=", ast.Starred: "*",
            ast.Await: "await",
        }  # fmt: skip
        what = names.get(type(tree), "this")
        hint = "a list stands only after `in`" if what in ("a list", "a set") else (
            "docs/functions.md shows the language"
        )  # fmt: skip
        return self.error(tree, f"{what} is not in the language", hint)


def _is_index(value: object) -> TypeGuard[int]:
    return type(value) is int and value < LARGEST_INDEX


def is_name(text: str) -> bool:
    """Whether a `let`, `with` or `reads` name can be written in an expression."""
    return text.isidentifier() and not keyword.iskeyword(text) and not text.startswith("__")
