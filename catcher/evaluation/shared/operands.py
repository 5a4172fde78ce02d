"""The operands of the conditions of many rules: each value once, with the limits it is compared to.

A condition is a combination of comparisons. As long as each value that is compared stays between
the same two limits, every comparison keeps its truth, and so does every condition made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from catcher.expressions.ast import Node
from catcher.expressions.compiler import StatePlan
from catcher.expressions.context import CompiledExpression
from catcher.expressions.values import COMPARISON_NAMES

MAX_LIMIT = 1e300
"""Raw values beyond are always evaluated: they are near to what counts as unknown."""
MAX_EXACT_INTEGER = 2**53
"""Up to here floats represent integers exactly."""


@dataclass(slots=True)
class OperandSite:
    """Where an operand is evaluated: in the plan of a member's trigger, or of its levels."""

    member: int
    in_levels: bool
    node: Node
    evaluate: CompiledExpression


@dataclass(slots=True)
class Operand:
    """One value, and the members to evaluate when it passes a limit.

    `unlimited_members` are to be evaluated when it changes at all.
    """

    is_truth: bool = False
    sites: list[OperandSite] = field(default_factory=list)
    limit_pairs: list[tuple[float, int]] = field(default_factory=list)
    unlimited_members: list[int] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    breakpoints: npt.NDArray[np.float64] | None = None
    """The breakpoints of the limits, where floats are exact."""
    owners: list[int] = field(default_factory=list)

    @property
    def expression_node(self) -> Node:
        """The expression."""
        return self.sites[0].node

    @property
    def field_name(self) -> str:
        """The name of the field if it is one; else empty."""
        node = self.expression_node
        is_event_field = node.kind == "field" and len(node.value) == 1 and not node.lookup
        return str(node.value[0]) if is_event_field else ""

    def finalize_limits(self) -> None:
        """Sorts the limits."""
        self.limit_pairs.sort()
        self.limits = [limit for limit, _ in self.limit_pairs]
        self.owners = [owner for _, owner in self.limit_pairs]
        are_exact = all(abs(limit) <= MAX_EXACT_INTEGER for limit in self.limits)
        self.breakpoints = compute_breakpoints(self.limits) if are_exact else None

    def list_dependents(self) -> list[int]:
        """Returns all members that use it."""
        return [*self.owners, *self.unlimited_members]


def compute_breakpoints(limits: Sequence[float]) -> npt.NDArray[np.float64]:
    """Returns where a rising value changes its position: on a limit, and just beyond it."""
    unique_limits = np.unique(np.array(limits, dtype=np.float64))
    return np.stack((unique_limits, np.nextafter(unique_limits, np.inf)), axis=-1).ravel()


class OperandIndex:
    """The operands of all conditions of some rules."""

    def __init__(self) -> None:
        self.operands: dict[tuple[str, bool], Operand] = {}

    def add_condition(self, member: int, in_levels: bool, plan: StatePlan, condition: Node) -> None:
        """Adds the operands of a condition."""
        for node, limit in iter_comparisons(condition):
            is_truth = limit is None and not _is_text_comparison(node)
            expression = node if is_truth or limit is not None else node.args[0]
            evaluate = (
                plan.compile_condition(expression) if is_truth else plan.compile_node(expression)
            )
            operand = self.operands.setdefault((expression.text, is_truth), Operand(is_truth))
            if not any(site.member == member for site in operand.sites[-1:]):
                operand.sites.append(OperandSite(member, in_levels, expression, evaluate))
            if limit is None:
                operand.unlimited_members.append(member)
            else:
                operand.limit_pairs.append((limit, member))

    def build_operands(self) -> list[Operand]:
        """Returns all of them, in order."""
        for operand in self.operands.values():
            operand.finalize_limits()
        return list(self.operands.values())


def iter_comparisons(condition: Node) -> Iterator[tuple[Node, float | None]]:
    """Yields what a condition compares with which number; other parts with None."""
    if condition.kind in ("and", "or", "not"):
        for arg in condition.args:
            yield from iter_comparisons(arg)
        return
    if condition.kind == "apply" and condition.name in COMPARISON_NAMES:
        left, right = condition.args
        for operand, constant in ((left, right), (right, left)):
            if operand.kind != "const" and constant.kind == "const" and _is_limit(constant.value):
                yield operand, constant.value
                return
    yield condition, None


def _is_limit(value: Any) -> bool:
    return isinstance(value, int | float) and -MAX_LIMIT < value < MAX_LIMIT


def _is_text_comparison(node: Node) -> bool:
    if node.kind != "apply" or node.name not in COMPARISON_NAMES:
        return False
    left, right = node.args
    return left.kind != "const" and right.kind == "const" and isinstance(right.value, str)
