"""bytewax: a dataflow in Rust whose steps are Python."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import hand
from benchmarks.peers.stepping import edge, fired_at, judge_maker
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import FIVE_MINUTES, MEAN, START, Fired, Judge, Sample, Workload
from catcher.model.time import SECOND

BATCH = 1_000


def bytewax_step(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """`stateful_flat_map` by key; its state is a loop over all rules."""
    import bytewax.operators as op

    make = judge_maker(workload)

    def step(judge: Judge | None, sample: Sample) -> tuple[Judge, list[Fired]]:
        judge = judge or make()
        return judge, [fired_at(one, sample) for one in judge(sample)]

    def build(keyed: Any) -> list[Any]:
        return [op.stateful_flat_map("rules", keyed, step)]

    return _bytewax(workload, samples, watch, build)


def bytewax_chains(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """A `stateful_flat_map` for every rule."""
    import bytewax.operators as op

    def build(keyed: Any) -> list[Any]:
        return [chain(keyed, number, limit) for number, limit in enumerate(workload.limits)]

    def chain(keyed: Any, number: int, limit: float) -> Any:
        step = edge(number, limit)
        return op.stateful_flat_map(
            f"rule{number}", keyed, lambda armed, sample: step(armed is not False, sample)
        )

    return _bytewax(workload, samples, watch, build)


def bytewax_windows(workload: Workload, samples: list[Sample], watch: Stopwatch) -> list[Fired]:
    """Its sliding windows: one of five minutes ends after every sample."""
    import bytewax.operators.windowing as win

    half = timedelta(seconds=1 / 40)
    # The time of the day stands still, or samples that wait for their turn would be late.
    clock = win.EventClock(
        lambda sample: datetime.fromtimestamp(sample["time"] / SECOND, UTC),
        timedelta(0),
        now_getter=lambda: datetime.fromtimestamp(START // SECOND, UTC),
    )
    windower = win.SlidingWindower(
        length=timedelta(minutes=5), offset=2 * half,
        align_to=datetime.fromtimestamp(START // SECOND, UTC) + half - timedelta(minutes=5),
    )  # fmt: skip

    def add(held: list[Any], sample: Sample) -> list[Any]:
        speed = sample["speed"] - MEAN
        held[0] += 1
        held[1] += speed
        held[2] += speed * speed
        held[3] = max(held[3], speed)
        held[4] = sample
        return held

    def build(keyed: Any) -> list[Any]:
        found = win.fold_window(
            "windows", keyed, clock, windower, lambda: [0, 0.0, 0.0, -1e300, None], add,
            lambda one, other: one,
        )  # fmt: skip
        return [_bytewax_figures(found.down)]

    return _bytewax(workload, samples, watch, build)


def _bytewax_figures(windows: Any) -> Any:
    import bytewax.operators as op

    def step(judge: Any, window: Any) -> tuple[Any, list[Fired]]:
        count, total, square, peak, sample = window[1]
        judge = judge or hand.figures_judge()
        if count < FIVE_MINUTES or sample["time"] < START + 300 * SECOND:
            return judge, []
        mean = total / count
        spread = max(0.0, square - total * mean) / (count - 1)
        fired = judge((mean + MEAN, peak + MEAN, spread**0.5))
        return judge, [fired_at(one, sample) for one in fired]

    return op.stateful_flat_map("edges", windows, step)


def _bytewax(
    workload: Workload, samples: list[Sample], watch: Stopwatch, build: Callable[[Any], list[Any]]
) -> list[Fired]:
    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, run_main

    flow, fired = Dataflow("bench"), list[tuple[str, Fired]]()
    source = TestingSource(watch.over(samples, workload.warm), BATCH)
    keyed = op.key_on("key", op.input("in", flow, source), lambda one: str(one["salIndex"]))
    for number, stream in enumerate(build(keyed)):
        op.output(f"out{number}", stream, TestingSink(fired))
    run_main(flow)
    watch.stop()
    return [one for _, one in fired]
