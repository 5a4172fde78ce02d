"""streamz: pipelines in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import hand
from benchmarks.peers.stepping import edge, fired_at, judge_maker
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import FIVE_MINUTES, START, Fired, Sample, Workload
from catcher.model.time import SECOND


def streamz_step(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """One `map` whose function loops over all rules, by key."""
    told = hand.each_key(judge_maker(workload))

    def build(stream: Any) -> list[Any]:
        return [stream.map(lambda sample: [fired_at(one, sample) for one in told(sample)])]

    return _streamz(workload, samples, watch, build)


def streamz_chains(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """An `accumulate` with a state for every rule."""

    def chain(stream: Any, number: int, limit: float) -> Any:
        judged = edge(number, limit)

        def step(armed: dict[int, bool], sample: Sample) -> tuple[dict[int, bool], list[Fired]]:
            key = sample["salIndex"]
            armed[key], fired = judged(armed.get(key, True), sample)
            return armed, fired

        return stream.accumulate(step, returns_state=True, start={})

    def build(stream: Any) -> list[Any]:
        return [chain(stream, number, limit) for number, limit in enumerate(workload.limits)]

    return _streamz(workload, samples, watch, build)


def streamz_windows(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """Its sliding windows, each handed on as a tuple."""
    import numpy as np

    judge = hand.figures_judge()

    def figures(held: Sequence[Sample]) -> list[Fired]:
        if held[-1]["time"] < START + 300 * SECOND:
            return []
        speeds = np.array([one["speed"] for one in held])
        fired = judge((float(speeds.mean()), float(speeds.max()), float(speeds.std(ddof=1))))
        return [fired_at(one, held[-1]) for one in fired]

    def build(stream: Any) -> list[Any]:
        return [stream.sliding_window(FIVE_MINUTES, return_partial=False).map(figures)]

    return _streamz(workload, samples, watch, build)


def _streamz(
    workload: Workload, samples: list[Sample], watch: Stopwatch, build: Callable[[Any], list[Any]]
) -> list[Fired]:
    from streamz import Stream

    stream = Stream()
    fired: list[Fired] = []
    for built in build(stream):
        built.filter(bool).sink(fired.extend)
    for sample in watch.over(samples, workload.warm):
        stream.emit(sample)
    watch.stop()
    return fired
