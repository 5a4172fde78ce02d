"""reactivex: observables in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import hand
from benchmarks.peers.stepping import fired_at, judge_maker
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import FIVE_MINUTES, Fired, Sample, Workload


def reactivex_step(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """One `map` whose function loops over all rules, by key."""
    from reactivex import operators as ops

    told = hand.each_key(judge_maker(workload))

    def build(stream: Any) -> list[Any]:
        return [
            stream.pipe(
                ops.map(lambda sample: [fired_at(one, sample) for one in told(sample)]),
                ops.filter(bool),
            )
        ]

    return _reactivex(workload, samples, watch, build)


def reactivex_chains(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """The chain that everybody writes: compare, keep what differs, keep what is true."""
    import reactivex as rx
    from reactivex import operators as ops

    def chain(stream: Any, number: int, limit: float) -> Any:
        return stream.pipe(
            ops.map(lambda sample: (sample["speed"] > limit, sample)),
            ops.distinct_until_changed(lambda pair: pair[0]),
            ops.filter(lambda pair: pair[0]),
            ops.map(lambda pair: [fired_at(number, pair[1])]),
        )

    def chains(stream: Any) -> list[Any]:
        return [chain(stream, number, limit) for number, limit in enumerate(workload.limits)]

    def build(stream: Any) -> list[Any]:
        if not workload.by:
            return chains(stream)
        grouped = stream.pipe(ops.group_by(lambda sample: sample["salIndex"]))
        return [grouped.pipe(ops.flat_map(lambda group: rx.merge(*chains(group))))]

    return _reactivex(workload, samples, watch, build)


def reactivex_windows(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """Its sliding buffers: one of 6,000 samples begins with every sample."""
    import numpy as np
    from reactivex import operators as ops

    judge = hand.figures_judge()

    def figures(held: list[Sample]) -> list[Fired]:
        speeds = np.array([one["speed"] for one in held])
        fired = judge((float(speeds.mean()), float(speeds.max()), float(speeds.std(ddof=1))))
        return [fired_at(one, held[-1]) for one in fired]

    def build(stream: Any) -> list[Any]:
        # A window is unknown until five minutes after the first sample.
        whole = ops.filter(lambda held: len(held) == FIVE_MINUTES)
        return [
            stream.pipe(
                ops.skip(1), ops.buffer_with_count(FIVE_MINUTES, 1), whole, ops.map(figures)
            )
        ]

    return _reactivex(workload, samples, watch, build)


def _reactivex(
    workload: Workload, samples: list[Sample], watch: Stopwatch, build: Callable[[Any], list[Any]]
) -> list[Fired]:
    from reactivex.subject import Subject

    stream: Subject[Sample] = Subject()
    fired: list[Fired] = []
    for built in build(stream):
        built.subscribe(fired.extend)
    for sample in watch.over(samples, workload.warm):
        stream.on_next(sample)
    watch.stop()
    return fired
