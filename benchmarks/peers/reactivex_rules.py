"""reactivex: observables in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import handwritten_rules
from benchmarks.peers.evaluators import create_fired, evaluator_factory
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WINDOW_SAMPLES, FiredRule, Sample, Workload


def reactivex_step(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """One `map` whose function loops over all rules, by key."""
    from reactivex import operators as ops

    evaluate = handwritten_rules.create_keyed_evaluator(evaluator_factory(workload))

    def build_streams(stream: Any) -> list[Any]:
        return [
            stream.pipe(
                ops.map(
                    lambda sample: [create_fired(outcome, sample) for outcome in evaluate(sample)]
                ),
                ops.filter(bool),
            )
        ]

    return _run_reactivex(workload, samples, stopwatch, build_streams)


def reactivex_chains(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """The chain that everybody writes: compare, keep what differs, keep what is true."""
    import reactivex as rx
    from reactivex import operators as ops

    def build_chain(stream: Any, number: int, limit: float) -> Any:
        return stream.pipe(
            ops.map(lambda sample: (sample["speed"] > limit, sample)),
            ops.distinct_until_changed(lambda pair: pair[0]),
            ops.filter(lambda pair: pair[0]),
            ops.map(lambda pair: [create_fired(number, pair[1])]),
        )

    def build_chains(stream: Any) -> list[Any]:
        return [build_chain(stream, number, limit) for number, limit in enumerate(workload.limits)]

    def build_streams(stream: Any) -> list[Any]:
        if not workload.by_key:
            return build_chains(stream)
        grouped = stream.pipe(ops.group_by(lambda sample: sample["salIndex"]))
        return [grouped.pipe(ops.flat_map(lambda group: rx.merge(*build_chains(group))))]

    return _run_reactivex(workload, samples, stopwatch, build_streams)


def reactivex_windows(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """Its sliding buffers: one of 6,000 samples begins with every sample."""
    import numpy as np
    from reactivex import operators as ops

    detect = handwritten_rules.create_figures_evaluator()

    def detect_figure_edges(window: list[Sample]) -> list[FiredRule]:
        speeds = np.array([sample["speed"] for sample in window])
        fired = detect((float(speeds.mean()), float(speeds.max()), float(speeds.std(ddof=1))))
        return [create_fired(outcome, window[-1]) for outcome in fired]

    def build_streams(stream: Any) -> list[Any]:
        # A window is unknown until five minutes after the first sample.
        full_windows = ops.filter(lambda window: len(window) == WINDOW_SAMPLES)
        return [
            stream.pipe(
                ops.skip(1),
                ops.buffer_with_count(WINDOW_SAMPLES, 1),
                full_windows,
                ops.map(detect_figure_edges),
            )
        ]

    return _run_reactivex(workload, samples, stopwatch, build_streams)


def _run_reactivex(
    workload: Workload,
    samples: list[Sample],
    stopwatch: Stopwatch,
    build_streams: Callable[[Any], list[Any]],
) -> list[FiredRule]:
    from reactivex.subject import Subject

    stream: Subject[Sample] = Subject()
    fired: list[FiredRule] = []
    for output in build_streams(stream):
        output.subscribe(fired.extend)
    for sample in stopwatch.measure(samples, workload.warmup_count):
        stream.on_next(sample)
    stopwatch.stop()
    return fired
