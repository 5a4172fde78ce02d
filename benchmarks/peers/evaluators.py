"""What the peers share: the state of one key, and the step of one rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import handwritten_rules
from benchmarks.workloads import Evaluator, FiredRule, Sample, Workload


def evaluator_factory(workload: Workload) -> Callable[[], Evaluator]:
    """What keeps the state of one key in "one step"."""
    if workload.kind == "windows":
        return handwritten_rules.create_window_evaluator
    return (
        handwritten_rules.create_holds_evaluator
        if workload.kind == "holds"
        else partial(handwritten_rules.create_loop_evaluator, workload.limits)
    )


def create_fired(outcome: Any, sample: Sample) -> FiredRule:
    return outcome, sample["salIndex"], sample["time"]


def create_edge_evaluator(
    number: int, limit: float
) -> Callable[[bool, Sample], tuple[bool, list[FiredRule]]]:
    """One rule's step: whether it is armed, a sample; armed from now on, what fires."""

    def evaluate_step(armed: bool, sample: Sample) -> tuple[bool, list[FiredRule]]:
        if sample["speed"] <= limit:
            return True, []
        return False, [create_fired(number, sample)] if armed else []

    return evaluate_step
