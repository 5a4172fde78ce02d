"""When an engine counts as alive, and what was measured lately."""

from __future__ import annotations

import math

from catcher.vitals import Pulse
from catcher.vitals.recent import Rate, Recent


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_running_engine_whose_loop_does_not_turn_counts_as_hung() -> None:
    clock = Clock()
    pulse = Pulse(clock, patience=15)
    pulse.become("restoring")
    clock.now += 100
    assert pulse.stalled() == "", "what is restored takes the time that it takes"
    pulse.turn()
    assert pulse.phase == "running"
    clock.now += 15
    assert pulse.stalled() == ""
    clock.now += 6
    assert pulse.stalled() == "the engine's loop has not turned for 21 s"
    pulse.turn()
    assert (pulse.stalled(), pulse.turns) == ("", 2)


def test_whoever_stands_by_or_stops_need_not_turn() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    for phase in ("standing by", "stopping"):
        pulse.become(phase)
        clock.now += 1000
        assert pulse.stalled() == ""
    pulse.turn()
    assert pulse.phase == "stopping", "the last turns do not make it run again"


def test_commits_are_measured_also_those_that_fail() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    with pulse.committing():
        clock.now += 0.25
    try:
        with pulse.committing():
            clock.now += 0.75
            raise OSError
    except OSError:
        assert (pulse.commits.count, pulse.commits.sum) == (2, 1.0)


def test_quantiles_are_those_of_the_last_minute() -> None:
    clock = Clock()
    recent = Recent(clock, span=60)
    assert all(math.isnan(one) for one in recent.quantiles(0.5, 0.99))
    recent.add(100.0)
    clock.now += 61
    for value in range(1, 101):
        recent.add(float(value))
    assert list(recent.quantiles(0.0, 0.5, 0.99, 1.0)) == [1.0, 51.0, 100.0, 100.0]
    assert (recent.count, recent.sum) == (101, 5150.0)


def test_a_rate_is_that_of_the_last_minutes() -> None:
    clock = Clock()
    rate = Rate(clock, width=10, buckets=30)
    assert (rate.within, rate.earliest, rate.per_second(None)) == (0, None, 0.0)
    rate.add(600)
    clock.now += 100
    rate.add(400)
    assert (rate.within, rate.earliest, rate.per_second(1000)) == (1000, 1000.0, 10.0)
    clock.now += 250
    assert (rate.within, rate.earliest, rate.total) == (400, 1100.0, 1000)
