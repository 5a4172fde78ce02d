"""streamz: pipelines in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import handwritten_rules
from benchmarks.peers.evaluators import create_edge_evaluator, create_fired, evaluator_factory
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import START, WINDOW_SAMPLES, FiredRule, Sample, Workload
from catcher.model.time import SECOND


def streamz_step(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """One `map` whose function loops over all rules, by key."""
    evaluate = handwritten_rules.create_keyed_evaluator(evaluator_factory(workload))

    def build_streams(stream: Any) -> list[Any]:
        return [
            stream.map(
                lambda sample: [create_fired(outcome, sample) for outcome in evaluate(sample)]
            )
        ]

    return _run_streamz(workload, samples, stopwatch, build_streams)


def streamz_chains(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """An `accumulate` with a state for every rule."""

    def build_chain(stream: Any, number: int, limit: float) -> Any:
        evaluate_edge = create_edge_evaluator(number, limit)

        def evaluate_step(
            armed: dict[int, bool], sample: Sample
        ) -> tuple[dict[int, bool], list[FiredRule]]:
            key = sample["salIndex"]
            armed[key], fired = evaluate_edge(armed.get(key, True), sample)
            return armed, fired

        return stream.accumulate(evaluate_step, returns_state=True, start={})

    def build_streams(stream: Any) -> list[Any]:
        return [build_chain(stream, number, limit) for number, limit in enumerate(workload.limits)]

    return _run_streamz(workload, samples, stopwatch, build_streams)


def streamz_windows(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """Its sliding windows, each handed on as a tuple."""
    import numpy as np

    detect = handwritten_rules.create_figures_evaluator()

    def detect_figure_edges(window: Sequence[Sample]) -> list[FiredRule]:
        if window[-1]["time"] < START + 300 * SECOND:
            return []
        speeds = np.array([sample["speed"] for sample in window])
        fired = detect((float(speeds.mean()), float(speeds.max()), float(speeds.std(ddof=1))))
        return [create_fired(outcome, window[-1]) for outcome in fired]

    def build_streams(stream: Any) -> list[Any]:
        return [
            stream.sliding_window(WINDOW_SAMPLES, return_partial=False).map(detect_figure_edges)
        ]

    return _run_streamz(workload, samples, stopwatch, build_streams)


def _run_streamz(
    workload: Workload,
    samples: list[Sample],
    stopwatch: Stopwatch,
    build_streams: Callable[[Any], list[Any]],
) -> list[FiredRule]:
    from streamz import Stream

    stream = Stream()
    fired: list[FiredRule] = []
    for output in build_streams(stream):
        output.filter(bool).sink(fired.extend)
    for sample in stopwatch.measure(samples, workload.warmup_count):
        stream.emit(sample)
    stopwatch.stop()
    return fired
