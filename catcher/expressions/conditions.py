"""Conditions that can give reasons: their truth, and the same in words with the current values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from catcher.expressions.ast import Node
from catcher.expressions.compiler import StatePlan
from catcher.expressions.context import CompiledExpression, EvaluationContext, Fields
from catcher.expressions.lookup_join import LookupState
from catcher.expressions.values import BINARY_OPERATORS, COMPARISON_NAMES, to_truth

MAX_TEXT_LENGTH = 80
MAX_REASON_LENGTH = 600

ReasonFormatter = Callable[[Fields, EvaluationContext], str]
LazyText = str | Callable[[], str]
"""A text, or a function that returns it."""


@dataclass(frozen=True, slots=True)
class ConditionTerm:
    """One part of a condition: its text, its truth (None: unknown), the values, what is missing."""

    text: str
    truth: bool | None
    values: Mapping[str, Any]
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the form of `catcher explain --json`."""
        return {
            "text": self.text,
            "truth": self.truth,
            "values": dict(self.values),
            "missing": self.missing,
        }


def format_operand(value: Any) -> str:
    """Formats a value for a reader."""
    if value is None:
        return "unknown"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else f"{value:.6g}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return repr(value if len(value) <= MAX_TEXT_LENGTH else value[:MAX_TEXT_LENGTH] + "…")
    return f"[{len(value)} elements]" if isinstance(value, list) else "…"


class FieldComparison:
    """The most common condition, a field compared to a number, in words."""

    __slots__ = ("_compare", "_false_suffix", "_limit", "_prefix", "_true_suffix", "evaluate_field")

    def __init__(self, plan: StatePlan, node: Node) -> None:
        left, right = node.args
        limit_text, self._limit = format_operand(right.value), right.value
        self.evaluate_field = plan.compile_node(left)
        self._compare = BINARY_OPERATORS[node.name]
        self._prefix = f"{left.text} = "
        self._true_suffix, self._false_suffix = (
            f" {node.name} {limit_text}",
            f" is not {node.name} {limit_text}",
        )

    def describe_comparison(self, value: Any) -> str:
        """Returns the reason for a value."""
        suffix = (
            self._false_suffix if self._compare(value, self._limit) is False else self._true_suffix
        )
        return f"{self._prefix}{format_operand(value)}{suffix}"

    def describe_with_prefix(self, prefix: str, value: Any) -> str:
        """Returns the same after a prefix."""
        return prefix + _truncate_reason(self.describe_comparison(value))


def _build_field_comparison(plan: StatePlan, node: Node) -> FieldComparison | None:
    if node.name not in COMPARISON_NAMES:
        return None
    left, right = node.args
    is_field_comparison = left.kind == "field" and not left.lookup and right.kind == "const"
    return (
        FieldComparison(plan, node)
        if is_field_comparison and type(right.value) in (int, float)
        else None
    )


def _truncate_reason(text: str) -> str:
    return text if len(text) <= MAX_REASON_LENGTH else text[: MAX_REASON_LENGTH - 1] + "…"


class Condition:
    """A `when`, `clear` or `where`, compiled in the plan of its sample stream."""

    __slots__ = ("_comparison", "_format_reason", "_plan", "evaluate", "node")

    def __init__(self, plan: StatePlan, node: Node) -> None:
        self.node = node
        self.evaluate: CompiledExpression = plan.compile_condition(node)
        self._plan = plan
        self._comparison = _build_field_comparison(plan, node)
        self._format_reason = self._build_reason_formatter(node)

    def describe_reason(self, fields: Fields, context: EvaluationContext) -> str:
        """Returns why it is true or false, with the current values: `speed = 12.3 > 10`."""
        if self._comparison is not None:
            return _truncate_reason(
                self._comparison.describe_comparison(
                    self._comparison.evaluate_field(fields, context)
                )
            )
        return _truncate_reason(self._format_reason(fields, context))

    def build_lazy_reason(
        self, fields: Fields, context: EvaluationContext, prefix: str
    ) -> LazyText:
        """Returns the same after a prefix, formatted lazily if possible."""
        if self._comparison is None:
            return prefix + self.describe_reason(fields, context)
        return partial(
            self._comparison.describe_with_prefix,
            prefix,
            self._comparison.evaluate_field(fields, context),
        )

    def evaluate_terms(self, fields: Fields, context: EvaluationContext) -> list[ConditionTerm]:
        """Returns the truth part by part."""
        return [self._evaluate_term(leaf, fields, context) for leaf in _iter_leaves(self.node)]

    def describe_missing(self, fields: Fields, context: EvaluationContext) -> str:
        """Returns why it is unknown, in words."""
        reasons = [term.missing for term in self.evaluate_terms(fields, context) if term.missing]
        return "; ".join(dict.fromkeys(reasons))

    def _evaluate_node(self, node: Node, fields: Fields, context: EvaluationContext) -> Any:
        return self._plan.compile_node(node)(fields, context)

    def _build_reason_formatter(self, node: Node) -> ReasonFormatter:
        """Returns a function that puts a condition into words, prepared as far as possible."""
        if node.kind in ("and", "or"):
            return self._build_logic_formatter(node)
        if node.kind == "not":
            format_inner = self._build_reason_formatter(node.args[0])
            return lambda fields, context: f"not ({format_inner(fields, context)})"
        if node.name in COMPARISON_NAMES:
            return self._build_comparison_formatter(node)
        format_operand_text = self._build_operand_formatter(
            node.args[0] if node.kind == "among" else node
        )
        if node.kind != "among":
            return format_operand_text
        choices = ", ".join(arg.text for arg in node.args[1:])
        return lambda fields, context: f"{format_operand_text(fields, context)} in ({choices})"

    def _build_logic_formatter(self, node: Node) -> ReasonFormatter:
        """Formats only the parts that decide an `and` or `or`."""
        evaluate, separator = self._plan.compile_node(node), f" {node.kind} "
        operands = [
            (self._plan.compile_node(arg), self._build_reason_formatter(arg)) for arg in node.args
        ]

        def format_logic(fields: Fields, context: EvaluationContext) -> str:
            result = to_truth(evaluate(fields, context))
            return separator.join(
                format_part(fields, context)
                for evaluate_part, format_part in operands
                if to_truth(evaluate_part(fields, context)) is result
            )

        return format_logic

    def _build_comparison_formatter(self, node: Node) -> ReasonFormatter:
        format_left, format_right = (self._build_operand_formatter(arg) for arg in node.args)
        evaluate, true_sign, false_sign = (
            self._plan.compile_node(node),
            f" {node.name} ",
            f" is not {node.name} ",
        )

        def format_comparison(fields: Fields, context: EvaluationContext) -> str:
            sign = false_sign if evaluate(fields, context) is False else true_sign
            return f"{format_left(fields, context)}{sign}{format_right(fields, context)}"

        return format_comparison

    def _build_operand_formatter(self, node: Node) -> ReasonFormatter:
        if node.kind in ("const", "in"):
            text = format_operand(node.value) if node.kind == "const" else node.text
            return lambda fields, context: text
        evaluate, name = self._plan.compile_node(node), node.text
        return lambda fields, context: f"{name} = {format_operand(evaluate(fields, context))}"

    def _evaluate_term(
        self, node: Node, fields: Fields, context: EvaluationContext
    ) -> ConditionTerm:
        result = to_truth(self._evaluate_node(node, fields, context))
        values = {
            arg.text: self._evaluate_node(arg, fields, context)
            for arg in _list_explained_operands(node)
        }
        missing_reason = (
            ""
            if result is not None
            else "; ".join(self._list_missing_reasons(node, fields, context))
        )
        return ConditionTerm(node.text, result, values, missing_reason)

    def _list_missing_reasons(
        self, node: Node, fields: Fields, context: EvaluationContext
    ) -> list[str]:
        reasons = [
            reason
            for descendant in node.iter_nodes()
            if (reason := self._describe_missing_node(descendant, fields, context))
        ]
        return list(dict.fromkeys(reasons)) or [f"{node.text} has no known value"]

    def _describe_missing_node(self, node: Node, fields: Fields, context: EvaluationContext) -> str:
        if node.kind in ("field", "read") and node.lookup:
            lookup = context.reads[node.lookup]
            reason = lookup.describe_missing(context.now) if isinstance(lookup, LookupState) else ""
            return reason or self._describe_missing_field(node, fields, context)
        if node.kind == "field":
            return self._describe_missing_field(node, fields, context)
        if node.kind != "over" or self._evaluate_node(node, fields, context) is not None:
            return ""
        reason = self._describe_missing_window(node, context)
        return f"{node.text}: {reason}" if reason and "not in the last" not in reason else ""

    def _describe_missing_field(
        self, node: Node, fields: Fields, context: EvaluationContext
    ) -> str:
        if node.kind == "read" or self._evaluate_node(node, fields, context) is not None:
            return ""
        if self._plan.compile_node(node, True)(fields, context) is not None:
            return ""
        return f"{node.text} is missing or not a number"

    def _describe_missing_window(self, node: Node, context: EvaluationContext) -> str:
        lookup_name = node.args[0].sample_lookup
        if not lookup_name:
            return context.slots[self._plan.ensure_slot(node)].describe_missing(context.now)
        lookup = context.reads[lookup_name]
        if isinstance(lookup, LookupState):
            return lookup.describe_missing(
                context.now, self._plan.reads[lookup_name].ensure_slot(node)
            )
        return ""


def _iter_leaves(node: Node) -> Iterator[Node]:
    if node.kind in ("and", "or"):
        for arg in node.args:
            yield from _iter_leaves(arg)
    else:
        yield node


def _list_explained_operands(node: Node) -> list[Node]:
    """Returns the operands whose values explain a part: what is compared, and their fields."""
    candidates = node.args if node.kind in ("apply", "among", "in", "not") else (node,)
    operands = [arg for arg in candidates if arg.kind not in ("const", "read", "packed")]
    fields = [
        descendant
        for arg in operands
        for descendant in arg.iter_nodes()
        if descendant.kind == "field"
    ]
    return list({arg.text: arg for arg in (*operands, *fields)}.values())
