"""When an engine counts as alive, and what was measured lately."""

from __future__ import annotations

import math

from catcher.monitoring import Liveness
from catcher.monitoring.sliding_statistics import EventRate, SlidingQuantiles


class ManualMonotonicClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_running_engine_with_a_stalled_loop_is_hung() -> None:
    clock = ManualMonotonicClock()
    liveness = Liveness(clock, stall_timeout=15)
    liveness.set_phase("restoring")
    clock.now += 100
    assert liveness.describe_stall() == "", "what is restored takes the time that it takes"
    liveness.record_iteration()
    assert liveness.phase == "running"
    clock.now += 15
    assert liveness.describe_stall() == ""
    clock.now += 6
    assert liveness.describe_stall() == "the engine's loop has not turned for 21 s"
    liveness.record_iteration()
    assert (liveness.describe_stall(), liveness.iterations) == ("", 2)


def test_standby_and_stopping_engines_are_never_stalled() -> None:
    clock = ManualMonotonicClock()
    liveness = Liveness(clock)
    for phase in ("standing by", "stopping"):
        liveness.set_phase(phase)
        clock.now += 1000
        assert liveness.describe_stall() == ""
    liveness.record_iteration()
    assert liveness.phase == "stopping", "the last turns do not make it run again"


def test_commits_are_measured_also_those_that_fail() -> None:
    clock = ManualMonotonicClock()
    liveness = Liveness(clock)
    with liveness.measure_commit():
        clock.now += 0.25
    try:
        with liveness.measure_commit():
            clock.now += 0.75
            raise OSError
    except OSError:
        assert (liveness.commit_durations.count, liveness.commit_durations.sum) == (2, 1.0)


def test_quantiles_are_those_of_the_last_minute() -> None:
    clock = ManualMonotonicClock()
    samples = SlidingQuantiles(clock, window=60)
    assert all(math.isnan(value) for value in samples.compute_quantiles(0.5, 0.99))
    samples.add(100.0)
    clock.now += 61
    for value in range(1, 101):
        samples.add(float(value))
    assert list(samples.compute_quantiles(0.0, 0.5, 0.99, 1.0)) == [1.0, 51.0, 100.0, 100.0]
    assert (samples.count, samples.sum) == (101, 5150.0)


def test_a_rate_is_that_of_the_last_minutes() -> None:
    clock = ManualMonotonicClock()
    rate = EventRate(clock, bucket_seconds=10, bucket_count=30)
    assert (rate.recent_count, rate.earliest_time, rate.compute_per_second(None)) == (0, None, 0.0)
    rate.add(600)
    clock.now += 100
    rate.add(400)
    assert (rate.recent_count, rate.earliest_time, rate.compute_per_second(1000)) == (
        1000,
        1000.0,
        10.0,
    )
    clock.now += 250
    assert (rate.recent_count, rate.earliest_time, rate.total) == (400, 1100.0, 1000)
