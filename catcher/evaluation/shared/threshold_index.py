"""The positions of the operands of one key, and the members to evaluate when they change."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from catcher.evaluation.shared.column_batch import ColumnBatch, find_position_changes
from catcher.evaluation.shared.operands import MAX_LIMIT, Operand, OperandSite
from catcher.evaluation.shared.rule_group import RuleGroup
from catcher.evaluation.shared.window_pool import WindowPool
from catcher.expressions.aggregates import BoundsCheck, IncrementalSums, Number
from catcher.expressions.ast import Node
from catcher.expressions.context import EvaluationContext
from catcher.expressions.values import to_scalar
from catcher.expressions.windows import Window
from catcher.model.time import Instant


class ThresholdIndex:
    """The position of one operand of one key: between two limits, or at a value of its own."""

    __slots__ = ("_operand", "high", "low", "previous")

    def __init__(self, operand: Operand) -> None:
        self._operand = operand
        self.previous: Any = None
        self.low, self.high = MAX_LIMIT, -MAX_LIMIT

    @abstractmethod
    def detect_affected_members(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Returns the members to evaluate on an event; its sample is in the windows already."""

    def update_value(self, value: Any) -> Sequence[int]:
        """Sets a known scalar or None; returns the members whose truths may have changed."""
        previous, limits = self.previous, self._operand.limits
        self.previous = value
        if not _is_number(value):
            self.low, self.high = MAX_LIMIT, -MAX_LIMIT
            return (
                self._operand.list_dependents()
                if previous is not value and previous != value
                else ()
            )
        left, right = bisect_left(limits, value), bisect_right(limits, value)
        self.low = limits[left - 1] if left else -MAX_LIMIT
        self.high = limits[right] if right < len(limits) else MAX_LIMIT
        if left != right:
            self.low = self.high = value
        if not _is_number(previous):
            return self._operand.list_dependents()
        if previous <= value:
            return self._operand.owners[bisect_left(limits, previous) : right]
        return self._operand.owners[left : bisect_right(limits, previous)]


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


class FieldThresholdIndex(ThresholdIndex):
    """A field of the event itself."""

    __slots__ = ("_field_name",)

    def __init__(self, operand: Operand) -> None:
        super().__init__(operand)
        self._field_name = operand.field_name

    def find_crossings(self, batch: ColumnBatch) -> list[int] | None:
        """Returns where in a batch it passes a limit or hits one; None: process each event."""
        breakpoints = self._operand.breakpoints
        if breakpoints is None or not _is_number(self.previous):
            return None
        values = batch.get_numeric_column(self._field_name, self.previous)
        if values is None:
            return None
        within_limits = self.low < float(values.min()) and float(values.max()) < self.high
        return [] if within_limits else find_position_changes(values, breakpoints)

    def detect_affected_members(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Returns no members, after one comparison, if the value is between the same two limits."""
        value = fields.get(self._field_name)
        kind = type(value)
        if (kind is float or kind is int) and self.low < value < self.high:  # type: ignore[operator]
            return ()
        return self.update_value(to_scalar(value))


class AggregateThresholdIndex(ThresholdIndex):
    """An aggregate of a window, which all rules share."""

    __slots__ = ("_function", "_quantile", "_ready_time", "_window")

    def __init__(self, operand: Operand, window: Window, function: str, quantile: float) -> None:
        super().__init__(operand)
        self._window, self._function, self._quantile = window, function, quantile
        self._ready_time: Instant | None = None

    def is_value_known(self, now: Instant) -> bool:
        """True if the aggregate is known at an event whose sample is in the window already."""
        if self._ready_time is None:
            self._ready_time = self._window.find_ready_time()
        return self._window.is_known and self._ready_time is not None and now >= self._ready_time

    def detect_affected_members(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Returns the members to evaluate on an event."""
        value = self._window.compute_value(self._function, now, self._quantile)
        if value is not None and self.low < value < self.high:
            return ()
        return self.update_value(value)


class ExtremeThresholdIndex(AggregateThresholdIndex):
    """The least or the greatest sample, which needs no computation."""

    __slots__ = ("_candidates",)

    def __init__(
        self,
        operand: Operand,
        window: Window,
        function: str,
        candidates: Sequence[tuple[int, Number]],
    ) -> None:
        super().__init__(operand, window, function, 0.0)
        self._candidates = candidates

    def detect_affected_members(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Returns no members if it is between the same two limits."""
        if self.is_value_known(now) and self.low < self._candidates[0][1] < self.high:
            return ()
        return super().detect_affected_members(fields, now)


class SumThresholdIndex(AggregateThresholdIndex):
    """A mean or the like: computed exactly only if it may be near a limit."""

    __slots__ = ("_check_bounds", "_sums", "_valid_until")

    def __init__(
        self,
        operand: Operand,
        window: Window,
        function: str,
        sums: IncrementalSums,
        check_bounds: BoundsCheck,
    ) -> None:
        super().__init__(operand, window, function, 0.0)
        self._sums, self._check_bounds = sums, check_bounds
        self._valid_until = 0

    def detect_affected_members(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Returns no members for as long as the sums cannot have reached a limit."""
        if self._sums.operation_count < self._valid_until and self._window.is_known:
            return ()
        if self.is_value_known(now):
            self._valid_until = self._check_bounds(self.low, self.high)
            if self._valid_until:
                return ()
        self._valid_until = 0
        return super().detect_affected_members(fields, now)


def _build_aggregate_index(operand: Operand, window: Window, node: Node) -> ThresholdIndex:
    candidates = {"min_over": window.min_candidates, "max_over": window.max_candidates}.get(
        node.name
    )
    if candidates is not None and window.shape.packed is None:
        return ExtremeThresholdIndex(operand, window, node.name, candidates)
    sums, check_bounds = window.sums, window.get_bounds_check(node.name)
    if sums is not None and check_bounds is not None:
        return SumThresholdIndex(operand, window, node.name, sums, check_bounds)
    return AggregateThresholdIndex(operand, window, node.name, node.value.quantile)


class ExpressionThresholdIndex(ThresholdIndex):
    """Anything else: an expression, or the truth of a part that compares with no number."""

    __slots__ = ("_context", "_evaluate")

    def __init__(self, operand: Operand, site: OperandSite, context: EvaluationContext) -> None:
        super().__init__(operand)
        self._evaluate, self._context = site.evaluate, context

    def detect_affected_members(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Returns the members to evaluate on an event."""
        self._context.now = now
        value = self._evaluate(fields, self._context)
        if (kind := type(value)) is float or kind is int:
            if self.low < value < self.high:
                return ()
        elif value is self.previous:
            return ()
        return self.update_value(value)


def build_threshold_indexes(group: RuleGroup, pool: WindowPool | None) -> list[ThresholdIndex]:
    """Returns a threshold index for every operand of a group."""
    indexes = (_build_threshold_index(group, operand, pool) for operand in group.operands)
    return [index for index in indexes if index is not None]


def _build_threshold_index(
    group: RuleGroup, operand: Operand, pool: WindowPool | None
) -> ThresholdIndex | None:
    """Returns None if only unshared members use it, which are evaluated anyway."""
    if operand.field_name and not operand.is_truth:
        return FieldThresholdIndex(operand)
    for site in operand.sites:
        member = group.members[site.member]
        slots = [] if pool is None else pool.get_slots(member, site.in_levels)
        if slots is None:
            continue
        if site.node.kind == "over" and not operand.is_truth:
            plan = (
                member.levels.plan
                if site.in_levels and member.levels
                else member.compiled_trigger.plan
            )
            state = slots[plan.ensure_slot(site.node)]
            if isinstance(state, Window):
                return _build_aggregate_index(operand, state, site.node)
        return ExpressionThresholdIndex(operand, site, EvaluationContext(0, list(slots)))
    return None
