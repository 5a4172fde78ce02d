"""What the peers share: the state of one key, and the step of one rule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import hand
from benchmarks.workloads import Fired, Judge, Sample, Workload


def judge_maker(workload: Workload) -> Callable[[], Judge]:
    """What keeps the state of one key in "one step"."""
    if workload.kind == "windows":
        return hand.windows
    return hand.holds if workload.kind == "holds" else partial(hand.looped, workload.limits)


def fired_at(what: Any, sample: Sample) -> Fired:
    return what, sample["salIndex"], sample["time"]


def edge(number: int, limit: float) -> Callable[[bool, Sample], tuple[bool, list[Fired]]]:
    """One rule's step: whether it is armed, a sample; armed from now on, what fires."""

    def step(armed: bool, sample: Sample) -> tuple[bool, list[Fired]]:
        if sample["speed"] <= limit:
            return True, []
        return False, [fired_at(number, sample)] if armed else []

    return step
