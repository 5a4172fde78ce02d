"""A checked tree becomes closures; what looks back in time becomes slots of a plan.

A closure takes the fields of the event in hand and the frame of the rule's state, and gives a
value, None where it is unknown. Parsing never happens at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from catcher.watching.arrays import REDUCERS
from catcher.watching.errors import ExpressionError
from catcher.watching.expressions import Scope, parse
from catcher.watching.fields import Fields, array_finder, scalar_finder
from catcher.watching.frames import (
    Eval,
    Frame,
    against_constant,
    all_of,
    one_of,
    own_field,
    spread,
)
from catcher.watching.memories import Memory, Slot, Streak
from catcher.watching.shapes import WindowShape
from catcher.watching.tree import Node, Reach
from catcher.watching.values import (
    COMPARISONS,
    among,
    broadcast,
    contained,
    every,
    negation,
    operation,
    some,
    truth,
)
from catcher.watching.windows import Window


@dataclass(slots=True)
class SlotPlan:
    """One slot: what is remembered, of which expression."""

    text: str
    source: Eval
    shape: WindowShape | None
    kind: str
    functions: set[str] = field(default_factory=set)

    def make(self) -> Slot:
        """A fresh slot."""
        if self.shape is None:
            return Streak() if self.kind == "streak" else Memory()
        shape = self.shape
        return Window(
            WindowShape(
                shape.span, shape.last, shape.presence, shape.packed, frozenset(self.functions)
            )
        )


class Plan:
    """All that one feed remembers: its slots in the order in which they are filled.

    A feed is the stream of samples that expressions are evaluated at: the events of a trigger,
    the results that levels see, or the events of one read (`root` is its name then).
    """

    def __init__(self, root: str = "", reads: Mapping[str, Plan] | None = None) -> None:
        self.root = root
        self.reads = dict(reads or {})
        self.slots: list[SlotPlan] = []
        self._found: dict[tuple[Any, ...], int] = {}
        self._made: dict[tuple[str, bool], Eval] = {}

    def make_slots(self) -> list[Slot]:
        """Fresh slots for one key."""
        return [slot.make() for slot in self.slots]

    def fill(self, fields: Fields, frame: Frame) -> None:
        """Takes a sample into every slot; `frame.slots` are this plan's."""
        for plan, slot in zip(self.slots, frame.slots, strict=True):
            slot.push(frame.now, plan.source(fields, frame))

    def condition(self, node: Node) -> Eval:
        """The truth of an expression: True, False or None."""
        return _truly(node, self.compile(node))

    def compile(self, node: Node, array: bool = False) -> Eval:
        """The closure of a node; the same text gives the same closure."""
        key = (node.text, array)
        if key not in self._made:
            self._made[key] = _MAKERS[node.kind](self, node, array)
        return self._made[key]

    def slot(self, node: Node) -> int:
        """The slot that a function over time reads, made when it is first asked for."""
        reach: Reach = node.value
        arg = node.args[0]
        shape, kind = None, "memory"
        if node.name == "streak":
            kind = "streak"
        elif reach.span is not None or reach.last is not None:
            kind = "count" if node.name in ("count", "rate") else "window"
            packed = arg.value if arg.kind == "packed" else None
            shape = WindowShape(reach.span, reach.last, kind == "count", packed)
        key = (arg.text, kind, reach.span, reach.last)
        if key not in self._found:
            packed = arg.kind == "packed"
            source = self.condition(arg) if kind == "streak" else self.compile(arg, packed)
            self._found[key] = len(self.slots)
            self.slots.append(SlotPlan(arg.text, source, shape, kind))
        index = self._found[key]
        self.slots[index].functions.add(node.name)
        return index


def _truly(node: Node, run: Eval) -> Eval:
    boolean = node.kind in ("and", "or", "not", "among", "in") or node.name in COMPARISONS
    if boolean:
        return run
    return lambda fields, frame: truth(run(fields, frame))


def _constant(plan: Plan, node: Node, array: bool) -> Eval:
    value = node.value
    if isinstance(value, tuple):
        if not array:
            raise ExpressionError("a list stands only after `in`", "write x in names", node.at)
        value = list(value)
    return lambda fields, frame: value


def _field(plan: Plan, node: Node, array: bool) -> Eval:
    path = node.value
    if node.root == plan.root and len(path) == 1 and not array:
        return own_field(str(path[0]))
    find = array_finder(path) if array else scalar_finder(path)
    if node.root == plan.root:
        return lambda fields, frame: find(fields)
    root = node.root

    def run(fields: Fields, frame: Frame) -> Any:
        latest = frame.reads[root].latest(frame.now)
        return None if latest is None else find(latest)

    return run


def _read(plan: Plan, node: Node, array: bool) -> Eval:
    raise ExpressionError(
        f"{node.text} is a whole event", f"write {node.text}.field, or age({node.text})", node.at
    )


def _fixed(node: Node) -> bool:
    """Whether nothing but literals stands in it, lists apart."""
    if node.kind == "const":
        return not isinstance(node.value, tuple)
    return node.kind == "apply" and all(map(_fixed, node.args))


def _apply(plan: Plan, node: Node, array: bool) -> Eval:
    parts = [plan.compile(arg, array) for arg in node.args]
    function = operation(node.name)
    if _fixed(node) and function(*[part({}, Frame()) for part in parts]) is None:
        raise ExpressionError(
            f"{node.text} has no value", "write the number that is meant, such as 1e20", node.at
        )
    if array:
        function = broadcast(function)
    if len(parts) == 1:
        only = parts[0]
        return lambda fields, frame: function(only(fields, frame))
    if len(parts) == 2:
        left, right = parts
        if not array and node.args[1].kind == "const" and node.name in COMPARISONS:
            return against_constant(left, node.name, node.args[1].value)
        return lambda fields, frame: function(left(fields, frame), right(fields, frame))
    return lambda fields, frame: function(*[part(fields, frame) for part in parts])


def _and(plan: Plan, node: Node, array: bool) -> Eval:
    if array:
        return spread([plan.compile(arg, True) for arg in node.args], every)
    return all_of([plan.condition(arg) for arg in node.args])


def _or(plan: Plan, node: Node, array: bool) -> Eval:
    if array:
        return spread([plan.compile(arg, True) for arg in node.args], some)
    return one_of([plan.condition(arg) for arg in node.args])


def _not(plan: Plan, node: Node, array: bool) -> Eval:
    inner = plan.compile(node.args[0], array)
    function = broadcast(negation) if array else negation
    return lambda fields, frame: function(inner(fields, frame))


def _among(plan: Plan, node: Node, array: bool) -> Eval:
    if array:
        return spread([plan.compile(arg, True) for arg in node.args], among)
    item, *choices = (plan.compile(arg) for arg in node.args)

    def run(fields: Fields, frame: Frame) -> bool | None:
        return among(item(fields, frame), *[choice(fields, frame) for choice in choices])

    return run


def _in(plan: Plan, node: Node, array: bool) -> Eval:
    item, box = plan.compile(node.args[0]), plan.compile(node.args[1], True)
    return lambda fields, frame: contained(item(fields, frame), box(fields, frame))


def _reduce(plan: Plan, node: Node, array: bool) -> Eval:
    inner = plan.compile(node.args[0], True)
    reducer = REDUCERS[node.name]
    return lambda fields, frame: reducer(inner(fields, frame))


def _packed(plan: Plan, node: Node, array: bool) -> Eval:
    if not array:
        hint = 'write mean(packed(angle, "1s"), "1m")'
        raise ExpressionError("packed stands only inside a function with a window", hint, node.at)
    return plan.compile(node.args[0], True)


def _age(plan: Plan, node: Node, array: bool) -> Eval:
    inner = node.args[0]
    roots = tuple(sorted(inner.roots - {plan.root, ""}))
    known = None if inner.kind == "read" else plan.compile(inner)

    def run(fields: Fields, frame: Frame) -> float | None:
        if known is not None and known(fields, frame) is None:
            return None
        ages = [frame.reads[root].age(frame.now) for root in roots]
        return None if None in ages else max((age for age in ages if age is not None), default=0.0)

    return run


def _over(plan: Plan, node: Node, array: bool) -> Eval:
    name, quantile, home = node.name, node.value.quantile, node.args[0].home
    if home and home != plan.root:
        index = plan.reads[home].slot(node)

        def as_of(fields: Fields, frame: Frame) -> Any:
            return frame.reads[home].figure(index, name, quantile, frame.now)

        return as_of
    index = plan.slot(node)

    def run(fields: Fields, frame: Frame) -> Any:
        return frame.slots[index].value(name, frame.now, quantile)

    return run


_MAKERS: dict[str, Callable[[Plan, Node, bool], Eval]] = {
    "const": _constant,
    "field": _field,
    "read": _read,
    "apply": _apply,
    "and": _and,
    "or": _or,
    "not": _not,
    "among": _among,
    "in": _in,
    "reduce": _reduce,
    "packed": _packed,
    "age": _age,
    "over": _over,
}

_ALONE = Scope(windows=False, what="this expression")


class Compiler:
    """Rule expressions for rooms that do not watch: stateless, compiled once, total."""

    def predicate(self, text: str) -> Callable[[Fields], bool]:
        """Whether a row of fields passes; unknown is False."""
        run, frame = self._compiled(text), Frame()
        return lambda fields: truth(run(fields, frame)) is True

    def value(self, text: str) -> Callable[[Fields], Any]:
        """The value of an expression at a row of fields; None where it is unknown."""
        run, frame = self._compiled(text), Frame()
        return lambda fields: run(fields, frame)

    def _compiled(self, text: str) -> Eval:
        return Plan().compile(parse(text, _ALONE))
