"""What a good programmer writes for exactly one workload: the upper bound, and the judge.

None of it knows of unknown values, late or repeated events, restarts, reasons or edits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from benchmarks.workloads import AGGREGATES, MEAN, WINDOW_SAMPLES, Evaluator, Sample, Workload
from catcher.model.time import MINUTE, SECOND

NO_FIRINGS: tuple[int, ...] = ()


def create_evaluator(workload: Workload) -> Evaluator:
    """The fastest function that we know for a workload."""
    if workload.kind == "windows":
        return create_window_evaluator()
    if workload.kind == "holds":
        return create_keyed_evaluator(create_holds_evaluator)
    if workload.by_key:
        return create_keyed_evaluator(lambda: compile_thresholds(workload.limits))
    return (
        compile_thresholds(workload.limits)
        if len(workload.limits) < 100
        else create_bisect_evaluator(workload.limits)
    )


def create_keyed_evaluator(create: Callable[[], Evaluator]) -> Evaluator:
    """A judge for every key, made when its first sample comes."""
    evaluators: dict[int, Evaluator] = {}

    def evaluate(sample: Sample) -> Sequence[Any]:
        key = sample["salIndex"]
        evaluator = evaluators.get(key)
        if evaluator is None:
            evaluator = evaluators[key] = create()
        return evaluator(sample)

    return evaluate


def create_loop_evaluator(limits: Sequence[float]) -> Evaluator:
    """Thresholds with edges as anybody would write them."""
    armed = [True] * len(limits)

    def evaluate(sample: Sample) -> Sequence[int]:
        speed = sample["speed"]
        fired = []
        for number, limit in enumerate(limits):
            if speed > limit:
                if armed[number]:
                    armed[number] = False
                    fired.append(number)
            else:
                armed[number] = True
        return fired

    return evaluate


def compile_thresholds(limits: Sequence[float]) -> Evaluator:
    """Thresholds with edges, compiled: one comparison and one flag a rule, no loop."""
    numbers = range(len(limits))
    lines = ["def made(nothing):", "    def told(sample):"]
    lines += [f"        nonlocal {', '.join(f'a{number}' for number in numbers)}"]
    lines += ["        speed = sample['speed']", "        fired = nothing"]
    for number, limit in enumerate(limits):
        lines += [f"        if speed > {limit!r}:", f"            if a{number}:"]
        lines += [f"                a{number} = False", f"                fired = *fired, {number}"]
        lines += ["        else:", f"            a{number} = True"]
    lines += ["        return fired"]
    lines[1:1] = [f"    a{number} = True" for number in numbers]
    lines += ["    return told"]
    namespace: dict[str, Any] = {}
    exec(compile("\n".join(lines), "<unrolled>", "exec"), namespace)
    evaluate: Evaluator = namespace["made"](NO_FIRINGS)
    return evaluate


def create_bisect_evaluator(limits: Sequence[float]) -> Evaluator:
    """Thresholds with edges, sorted: what lies between the last speed and this one has changed."""
    find_crossings = create_crossing_detector(limits)
    return lambda sample: find_crossings(sample["speed"])


def create_crossing_detector(limits: Sequence[float]) -> Callable[[float], Sequence[int]]:
    """The numbers of the limits that a figure has passed upwards since the last one."""
    order = sorted(range(len(limits)), key=limits.__getitem__)
    values = [limits[number] for number in order]
    low, high, passed = -1e300, values[0], 0

    def find_crossings(figure: float) -> Sequence[int]:
        nonlocal low, high, passed
        if low < figure <= high:
            return NO_FIRINGS
        previous, passed = passed, bisect_left(values, figure)
        low = values[passed - 1] if passed else -1e300
        high = values[passed] if passed < len(values) else 1e300
        return order[previous:passed]

    return find_crossings


def create_window_evaluator() -> Evaluator:
    """Edges on mean, max and deviation of five minutes, by running sums and a falling queue."""
    speeds: deque[float] = deque()
    maxima: deque[tuple[int, float]] = deque()
    total = square_total = 0.0
    count = 0
    find_crossings = create_figures_evaluator()

    def evaluate(sample: Sample) -> Sequence[int]:
        nonlocal total, square_total, count
        speed = sample["speed"]
        shifted = speed - MEAN
        speeds.append(shifted)
        total += shifted
        square_total += shifted * shifted
        while maxima and maxima[-1][1] <= speed:
            maxima.pop()
        maxima.append((count, speed))
        count += 1
        if count <= WINDOW_SAMPLES:
            return NO_FIRINGS
        oldest = speeds.popleft()
        total -= oldest
        square_total -= oldest * oldest
        if maxima[0][0] < count - WINDOW_SAMPLES:
            maxima.popleft()
        mean = total / WINDOW_SAMPLES
        deviation = sqrt(max(0.0, square_total - total * mean) / (WINDOW_SAMPLES - 1))
        return find_crossings((mean + MEAN, maxima[0][1], deviation))

    return evaluate


def create_figures_evaluator() -> Callable[[Sequence[float]], Sequence[int]]:
    """Edges on figures in the order of `AGGREGATES`; rules are numbered through."""
    detectors = [create_crossing_detector(limits) for _, limits in AGGREGATES]
    offsets = [
        sum(len(limits) for _, limits in AGGREGATES[:index]) for index in range(len(AGGREGATES))
    ]

    def evaluate(figures: Sequence[float]) -> Sequence[int]:
        fired: list[int] = []
        for find_crossings, offset, figure in zip(detectors, offsets, figures, strict=True):
            fired += [offset + number for number in find_crossings(figure)]
        return fired

    return evaluate


def create_holds_evaluator() -> Evaluator:
    """`wind-high`: what the alert of one mast says, when it says something else than before."""
    window: deque[tuple[int, float]] = deque()
    total = 0.0
    start = -1
    reported = 1
    warning, critical = _LevelState(2 * MINUTE, 5 * MINUTE), _LevelState(30 * SECOND, 0)
    reported_unknown = False

    def evaluate(sample: Sample) -> Sequence[tuple[int, bool]]:
        nonlocal total, start, reported, reported_unknown
        now, speed = sample["time"], sample["speed"] - MEAN
        start = now if start < 0 else start
        window.append((now, speed))
        total += speed
        while window[0][0] <= now - 30 * SECOND:
            total -= window.popleft()[1]
        missing = now < start + 30 * SECOND
        if not missing:
            mean = total / len(window) + MEAN
            critical.add_sample(now, mean > 15, mean <= 15)
            warning.add_sample(now, mean > 14, mean < 13)
        severity = 4 if critical.is_active else 2 if warning.is_active else 1
        if severity == reported and missing == reported_unknown:
            return NO_FIRINGS
        reported, reported_unknown = severity, missing
        return ((severity, missing),)

    return evaluate


class _LevelState:
    """A level that has to hold before it rises, and to be clear for a while before it drops."""

    __slots__ = ("clear_start", "clear_time", "hold_start", "hold_time", "is_active")

    def __init__(self, span: int, clear_span: int) -> None:
        self.hold_time, self.clear_time = span, clear_span
        self.is_active = False
        self.hold_start = self.clear_start = -1

    def add_sample(self, now: int, is_above: bool, is_clear: bool) -> None:
        if is_clear:
            self.hold_start = -1
            if self.is_active:
                self.clear_start = now if self.clear_start < 0 else self.clear_start
                if now - self.clear_start >= self.clear_time:
                    self.is_active, self.clear_start = False, -1
            return
        self.clear_start = -1
        if not is_above:
            self.hold_start = -1
        elif not self.is_active:
            self.hold_start = now if self.hold_start < 0 else self.hold_start
            if now - self.hold_start >= self.hold_time:
                self.is_active, self.hold_start = True, -1
