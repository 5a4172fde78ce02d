"""What a good programmer writes for exactly one workload: the upper bound, and the judge.

None of it knows of unknown values, late or repeated events, restarts, reasons or edits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from benchmarks.workloads import FIGURES, FIVE_MINUTES, MEAN, Judge, Sample, Workload
from catcher.model.time import MINUTE, SECOND

NOTHING: tuple[int, ...] = ()


def judge(workload: Workload) -> Judge:
    """The fastest function that we know for a workload."""
    if workload.kind == "windows":
        return windows()
    if workload.kind == "holds":
        return each_key(holds)
    if workload.by:
        return each_key(lambda: unrolled(workload.limits))
    return unrolled(workload.limits) if len(workload.limits) < 100 else bisected(workload.limits)


def each_key(make: Callable[[], Judge]) -> Judge:
    """A judge for every key, made when its first sample comes."""
    judges: dict[int, Judge] = {}

    def told(sample: Sample) -> Sequence[Any]:
        key = sample["salIndex"]
        found = judges.get(key)
        if found is None:
            found = judges[key] = make()
        return found(sample)

    return told


def looped(limits: Sequence[float]) -> Judge:
    """Thresholds with edges as anybody would write them."""
    armed = [True] * len(limits)

    def told(sample: Sample) -> Sequence[int]:
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

    return told


def unrolled(limits: Sequence[float]) -> Judge:
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
    space: dict[str, Any] = {}
    exec(compile("\n".join(lines), "<unrolled>", "exec"), space)
    made: Judge = space["made"](NOTHING)
    return made


def bisected(limits: Sequence[float]) -> Judge:
    """Thresholds with edges, sorted: what lies between the last speed and this one has changed."""
    crossed = crossings(limits)
    return lambda sample: crossed(sample["speed"])


def crossings(limits: Sequence[float]) -> Callable[[float], Sequence[int]]:
    """The numbers of the limits that a figure has passed upwards since the last one."""
    order = sorted(range(len(limits)), key=limits.__getitem__)
    values = [limits[number] for number in order]
    low, high, below = -1e300, values[0], 0

    def told(figure: float) -> Sequence[int]:
        nonlocal low, high, below
        if low < figure <= high:
            return NOTHING
        before, below = below, bisect_left(values, figure)
        low = values[below - 1] if below else -1e300
        high = values[below] if below < len(values) else 1e300
        return order[before:below]

    return told


def windows() -> Judge:
    """Edges on mean, max and deviation of five minutes, by running sums and a falling queue."""
    speeds: deque[float] = deque()
    peaks: deque[tuple[int, float]] = deque()
    total = square = 0.0
    index = 0
    edges = figures_judge()

    def told(sample: Sample) -> Sequence[int]:
        nonlocal total, square, index
        speed = sample["speed"]
        shifted = speed - MEAN
        speeds.append(shifted)
        total += shifted
        square += shifted * shifted
        while peaks and peaks[-1][1] <= speed:
            peaks.pop()
        peaks.append((index, speed))
        index += 1
        if index <= FIVE_MINUTES:
            return NOTHING
        gone = speeds.popleft()
        total -= gone
        square -= gone * gone
        if peaks[0][0] < index - FIVE_MINUTES:
            peaks.popleft()
        mean = total / FIVE_MINUTES
        spread = sqrt(max(0.0, square - total * mean) / (FIVE_MINUTES - 1))
        return edges((mean + MEAN, peaks[0][1], spread))

    return told


def figures_judge() -> Callable[[Sequence[float]], Sequence[int]]:
    """Edges on figures in the order of `FIGURES`; rules are numbered through."""
    judges = [crossings(limits) for _, limits in FIGURES]
    firsts = [sum(len(one) for _, one in FIGURES[:place]) for place in range(len(FIGURES))]

    def told(figures: Sequence[float]) -> Sequence[int]:
        fired: list[int] = []
        for crossed, first, figure in zip(judges, firsts, figures, strict=True):
            fired += [first + number for number in crossed(figure)]
        return fired

    return told


def holds() -> Judge:
    """`wind-high`: what the alert of one mast says, when it says something else than before."""
    window: deque[tuple[int, float]] = deque()
    total = 0.0
    first = -1
    said = 1
    warning, critical = _Level(2 * MINUTE, 5 * MINUTE), _Level(30 * SECOND, 0)
    unknown = False

    def told(sample: Sample) -> Sequence[tuple[int, bool]]:
        nonlocal total, first, said, unknown
        now, speed = sample["time"], sample["speed"] - MEAN
        first = now if first < 0 else first
        window.append((now, speed))
        total += speed
        while window[0][0] <= now - 30 * SECOND:
            total -= window.popleft()[1]
        missing = now < first + 30 * SECOND
        if not missing:
            mean = total / len(window) + MEAN
            critical.sample(now, mean > 15, mean <= 15)
            warning.sample(now, mean > 14, mean < 13)
        severity = 4 if critical.held else 2 if warning.held else 1
        if severity == said and missing == unknown:
            return NOTHING
        said, unknown = severity, missing
        return ((severity, missing),)

    return told


class _Level:
    """A level that has to hold before it rises, and to be clear for a while before it drops."""

    __slots__ = ("clear_span", "cleared", "held", "span", "start")

    def __init__(self, span: int, clear_span: int) -> None:
        self.span, self.clear_span = span, clear_span
        self.held = False
        self.start = self.cleared = -1

    def sample(self, now: int, when: bool, clear: bool) -> None:
        if clear:
            self.start = -1
            if self.held:
                self.cleared = now if self.cleared < 0 else self.cleared
                if now - self.cleared >= self.clear_span:
                    self.held, self.cleared = False, -1
            return
        self.cleared = -1
        if not when:
            self.start = -1
        elif not self.held:
            self.start = now if self.start < 0 else self.start
            if now - self.start >= self.span:
                self.held, self.start = True, -1
