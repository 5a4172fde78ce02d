"""Conditions that can say why: their truth, and the same in words with the values in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from catcher.watching.compiling import Plan
from catcher.watching.fields import Fields
from catcher.watching.frames import Eval, Frame
from catcher.watching.reading import ReadFeed
from catcher.watching.tree import Node
from catcher.watching.values import BINARY, COMPARISONS, truth

LONGEST_TEXT = 80
LONGEST_REASON = 600

Tell = Callable[[Fields, Frame], str]
Words = str | Callable[[], str]
"""Words, or what makes them."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a condition: its text, its truth (None: unknown), the values, what is missing."""

    text: str
    truth: bool | None
    values: Mapping[str, Any]
    missing: str = ""

    def as_json(self) -> dict[str, Any]:
        """The form of `catcher explain --json`."""
        return {
            "text": self.text,
            "truth": self.truth,
            "values": dict(self.values),
            "missing": self.missing,
        }


def shown(value: Any) -> str:
    """A value as a reader wants it."""
    if value is None:
        return "unknown"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else f"{value:.6g}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…")
    return f"[{len(value)} elements]" if isinstance(value, list) else "…"


class Limit:
    """The commonest condition of all, a field against a number, in words."""

    __slots__ = ("_compare", "_limit", "_name", "_no", "_yes", "run")

    def __init__(self, plan: Plan, node: Node) -> None:
        left, right = node.args
        words, self._limit = shown(right.value), right.value
        self.run = plan.compile(left)
        self._compare = BINARY[node.name]
        self._name = f"{left.text} = "
        self._yes, self._no = f" {node.name} {words}", f" is not {node.name} {words}"

    def words(self, value: Any) -> str:
        """With a value in hand."""
        sign = self._no if self._compare(value, self._limit) is False else self._yes
        return f"{self._name}{shown(value)}{sign}"

    def after(self, before: str, value: Any) -> str:
        """The same after some words."""
        return before + _bounded(self.words(value))


def _limit_of(plan: Plan, node: Node) -> Limit | None:
    if node.name not in COMPARISONS:
        return None
    left, right = node.args
    plain = left.kind == "field" and not left.root and right.kind == "const"
    return Limit(plan, node) if plain and type(right.value) in (int, float) else None


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


class Condition:
    """A `when`, `clear` or `where`, compiled in the plan of its feed."""

    __slots__ = ("_limit", "_plan", "_tell", "node", "truth")

    def __init__(self, plan: Plan, node: Node) -> None:
        self.node = node
        self.truth: Eval = plan.condition(node)
        self._plan = plan
        self._limit = _limit_of(plan, node)
        self._tell = self._teller(node)

    def reason(self, fields: Fields, frame: Frame) -> str:
        """Why it is true or false, with the values in hand: `speed = 12.3 > 10`."""
        if self._limit is not None:
            return _bounded(self._limit.words(self._limit.run(fields, frame)))
        return _bounded(self._tell(fields, frame))

    def later(self, fields: Fields, frame: Frame, before: str) -> Words:
        """The same after some words, put together only when somebody asks, where that can be."""
        if self._limit is None:
            return before + self.reason(fields, frame)
        return partial(self._limit.after, before, self._limit.run(fields, frame))

    def parts(self, fields: Fields, frame: Frame) -> list[Part]:
        """The truth part by part."""
        return [self._part(leaf, fields, frame) for leaf in _leaves(self.node)]

    def missing(self, fields: Fields, frame: Frame) -> str:
        """Why it is unknown, in words."""
        found = [part.missing for part in self.parts(fields, frame) if part.missing]
        return "; ".join(dict.fromkeys(found))

    def _value(self, node: Node, fields: Fields, frame: Frame) -> Any:
        return self._plan.compile(node)(fields, frame)

    def _teller(self, node: Node) -> Tell:
        """What puts a condition into words, as far as it can be prepared."""
        if node.kind in ("and", "or"):
            return self._telling(node)
        if node.kind == "not":
            inner = self._teller(node.args[0])
            return lambda fields, frame: f"not ({inner(fields, frame)})"
        if node.name in COMPARISONS:
            return self._comparing(node)
        operand = self._operand(node.args[0] if node.kind == "among" else node)
        if node.kind != "among":
            return operand
        choices = ", ".join(arg.text for arg in node.args[1:])
        return lambda fields, frame: f"{operand(fields, frame)} in ({choices})"

    def _telling(self, node: Node) -> Tell:
        """The parts that make an `and` or `or` what it is."""
        run, word = self._plan.compile(node), f" {node.kind} "
        parts = [(self._plan.compile(arg), self._teller(arg)) for arg in node.args]

        def tell(fields: Fields, frame: Frame) -> str:
            whole = truth(run(fields, frame))
            return word.join(
                told(fields, frame) for part, told in parts if truth(part(fields, frame)) is whole
            )

        return tell

    def _comparing(self, node: Node) -> Tell:
        left, right = (self._operand(arg) for arg in node.args)
        run, yes, no = self._plan.compile(node), f" {node.name} ", f" is not {node.name} "

        def tell(fields: Fields, frame: Frame) -> str:
            sign = no if run(fields, frame) is False else yes
            return f"{left(fields, frame)}{sign}{right(fields, frame)}"

        return tell

    def _operand(self, node: Node) -> Tell:
        if node.kind in ("const", "in"):
            words = shown(node.value) if node.kind == "const" else node.text
            return lambda fields, frame: words
        run, name = self._plan.compile(node), node.text
        return lambda fields, frame: f"{name} = {shown(run(fields, frame))}"

    def _part(self, node: Node, fields: Fields, frame: Frame) -> Part:
        known = truth(self._value(node, fields, frame))
        values = {arg.text: self._value(arg, fields, frame) for arg in _shown_below(node)}
        missing = "" if known is not None else "; ".join(self._missing(node, fields, frame))
        return Part(node.text, known, values, missing)

    def _missing(self, node: Node, fields: Fields, frame: Frame) -> list[str]:
        found = [words for below in node.walk() if (words := self._lack(below, fields, frame))]
        return list(dict.fromkeys(found)) or [f"{node.text} has no known value"]

    def _lack(self, node: Node, fields: Fields, frame: Frame) -> str:
        if node.kind in ("field", "read") and node.root:
            read = frame.reads[node.root]
            words = read.missing(frame.now) if isinstance(read, ReadFeed) else ""
            return words or self._lack_of_field(node, fields, frame)
        if node.kind == "field":
            return self._lack_of_field(node, fields, frame)
        if node.kind != "over" or self._value(node, fields, frame) is not None:
            return ""
        words = self._lack_in_time(node, frame)
        return f"{node.text}: {words}" if words and "not in the last" not in words else ""

    def _lack_of_field(self, node: Node, fields: Fields, frame: Frame) -> str:
        if node.kind == "read" or self._value(node, fields, frame) is not None:
            return ""
        if self._plan.compile(node, True)(fields, frame) is not None:
            return ""
        return f"{node.text} is missing or not a number"

    def _lack_in_time(self, node: Node, frame: Frame) -> str:
        home = node.args[0].home
        if not home:
            return frame.slots[self._plan.slot(node)].missing(frame.now)
        read = frame.reads[home]
        if isinstance(read, ReadFeed):
            return read.missing(frame.now, self._plan.reads[home].slot(node))
        return ""


def _leaves(node: Node) -> Iterator[Node]:
    if node.kind in ("and", "or"):
        for arg in node.args:
            yield from _leaves(arg)
    else:
        yield node


def _shown_below(node: Node) -> list[Node]:
    """The operands whose values explain a part: what is compared, and fields of their own."""
    inner = node.args if node.kind in ("apply", "among", "in", "not") else (node,)
    wanted = [arg for arg in inner if arg.kind not in ("const", "read", "packed")]
    fields = [below for arg in wanted for below in arg.walk() if below.kind == "field"]
    return list({arg.text: arg for arg in (*wanted, *fields)}.values())
