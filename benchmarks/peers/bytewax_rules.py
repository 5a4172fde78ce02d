"""bytewax: a dataflow in Rust whose steps are Python."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import handwritten_rules
from benchmarks.peers.evaluators import create_edge_evaluator, create_fired, evaluator_factory
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import MEAN, START, WINDOW_SAMPLES, Evaluator, FiredRule, Sample, Workload
from catcher.model.time import SECOND

BATCH = 1_000


def bytewax_step(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """`stateful_flat_map` by key; its state is a loop over all rules."""
    import bytewax.operators as op

    create_evaluator = evaluator_factory(workload)

    def evaluate_step(
        evaluate: Evaluator | None, sample: Sample
    ) -> tuple[Evaluator, list[FiredRule]]:
        evaluate = evaluate or create_evaluator()
        return evaluate, [create_fired(outcome, sample) for outcome in evaluate(sample)]

    def build_streams(keyed: Any) -> list[Any]:
        return [op.stateful_flat_map("rules", keyed, evaluate_step)]

    return _run_bytewax(workload, samples, stopwatch, build_streams)


def bytewax_chains(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """A `stateful_flat_map` for every rule."""
    import bytewax.operators as op

    def build_streams(keyed: Any) -> list[Any]:
        return [build_chain(keyed, number, limit) for number, limit in enumerate(workload.limits)]

    def build_chain(keyed: Any, number: int, limit: float) -> Any:
        evaluate_step = create_edge_evaluator(number, limit)
        return op.stateful_flat_map(
            f"rule{number}", keyed, lambda armed, sample: evaluate_step(armed is not False, sample)
        )

    return _run_bytewax(workload, samples, stopwatch, build_streams)


def bytewax_windows(
    workload: Workload, samples: list[Sample], stopwatch: Stopwatch
) -> list[FiredRule]:
    """Its sliding windows: one of five minutes ends after every sample."""
    import bytewax.operators.windowing as win

    half_period = timedelta(seconds=1 / 40)
    # The time of the day stands still, or samples that wait for their turn would be late.
    clock = win.EventClock(
        lambda sample: datetime.fromtimestamp(sample["time"] / SECOND, UTC),
        timedelta(0),
        now_getter=lambda: datetime.fromtimestamp(START // SECOND, UTC),
    )
    windower = win.SlidingWindower(
        length=timedelta(minutes=5), offset=2 * half_period,
        align_to=datetime.fromtimestamp(START // SECOND, UTC) + half_period - timedelta(minutes=5),
    )  # fmt: skip

    def fold_sample(aggregate: list[Any], sample: Sample) -> list[Any]:
        speed = sample["speed"] - MEAN
        aggregate[0] += 1
        aggregate[1] += speed
        aggregate[2] += speed * speed
        aggregate[3] = max(aggregate[3], speed)
        aggregate[4] = sample
        return aggregate

    def build_streams(keyed: Any) -> list[Any]:
        window_stream = win.fold_window(
            "windows", keyed, clock, windower, lambda: [0, 0.0, 0.0, -1e300, None], fold_sample,
            lambda first, second: first,
        )  # fmt: skip
        return [_detect_figure_edges(window_stream.down)]

    return _run_bytewax(workload, samples, stopwatch, build_streams)


def _detect_figure_edges(windows: Any) -> Any:
    import bytewax.operators as op

    def evaluate_step(detect: Any, window: Any) -> tuple[Any, list[FiredRule]]:
        count, total, square, peak, sample = window[1]
        detect = detect or handwritten_rules.create_figures_evaluator()
        if count < WINDOW_SAMPLES or sample["time"] < START + 300 * SECOND:
            return detect, []
        mean = total / count
        variance = max(0.0, square - total * mean) / (count - 1)
        fired = detect((mean + MEAN, peak + MEAN, variance**0.5))
        return detect, [create_fired(outcome, sample) for outcome in fired]

    return op.stateful_flat_map("edges", windows, evaluate_step)


def _run_bytewax(
    workload: Workload,
    samples: list[Sample],
    stopwatch: Stopwatch,
    build_streams: Callable[[Any], list[Any]],
) -> list[FiredRule]:
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, run_main

    flow, fired = Dataflow("bench"), list[tuple[str, FiredRule]]()
    source = TestingSource(stopwatch.measure(samples, workload.warmup_count), BATCH)
    keyed = op.key_on("key", op.input("in", flow, source), lambda sample: str(sample["salIndex"]))
    for number, stream in enumerate(build_streams(keyed)):
        op.output(f"out{number}", stream, TestingSink(fired))
    run_main(flow)
    stopwatch.stop()
    return [firing for _, firing in fired]
