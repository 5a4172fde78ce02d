"""Sums that are at hand at any time say nothing that the exact ones would not."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.watching.running import Running
from catcher.watching.sums import Moments

FIGURES = ("mean", "sum_over", "std", "rms")
numbers = st.one_of(
    st.floats(-1e300, 1e300),
    st.floats(-10, 10),
    st.floats(1e9, 1e9 + 1e-3),
    st.floats(-1e-300, 1e-300),
    st.integers(-5, 5),
    st.integers(-(10**18), 10**18),
    st.just(10**305),
)
streams = st.one_of(
    st.lists(numbers, min_size=2, max_size=60),
    *[st.lists(each, min_size=2, max_size=60) for each in (st.floats(-10, 10), st.integers(-9, 9))],
)


def figure(sums: Moments, name: str) -> Any:
    found = {"mean": sums.mean, "sum_over": sums.sum, "std": sums.deviation, "rms": sums.rms}
    return found[name]()


def until(running: Running, name: str, low: float, high: float) -> int:
    sure = running.sure(name)
    assert sure is not None
    return sure(low, high)


@settings(max_examples=600, deadline=None)
@given(streams, st.integers(1, 40), st.sampled_from(FIGURES), st.integers(1, 7))
def test_what_is_sure_to_lie_between_two_limits_does_for_as_long_as_was_said(
    stream: list[Any], size: int, name: str, every: int
) -> None:
    """The limits stand as close to the exact figure as floats allow, on it, and somewhat off."""
    values: deque[Any] = deque()
    running = Running(values)
    promised: list[tuple[int, float, float]] = []
    for index, value in enumerate(stream * 4):
        values.append(value)
        running.entered(value)
        while len(values) > size + index % 3:
            running.left(values.popleft())
        exact = figure(Moments(values), name)
        if index % every == 0:
            assert figure(running.exact(), name) == exact
        promised = [one for one in promised if running.operations < one[0]]
        assert all(low < exact < high for _, low, high in promised)
        if exact is None:
            continue
        for off in (0.0, 1e-300, abs(exact) * 1e-13, 1e-6, 0.1, 1.0, 30.0):
            for low, high in ((exact - off, math.inf), (-math.inf, exact + off)):
                end = until(running, name, low, high)
                assert not end or low < exact < high
                promised.append((end, low, high))


def test_a_limit_at_some_distance_needs_no_exact_sums() -> None:
    values: deque[float] = deque()
    running = Running(values)
    wave = [100 + 10 * math.sin(index / 50) for index in range(20_000)]
    for value in wave[:6_000]:
        values.append(value)
        running.entered(value)
    for value in wave[6_000:]:
        values.append(value)
        running.entered(value)
        running.left(values.popleft())
        for name in FIGURES:
            sought = {"mean": 100.0, "sum_over": 600_000.0, "std": 7.1, "rms": 100.2}[name]
            assert until(running, name, sought * 0.97, sought * 1.03) > running.operations
    assert math.isclose(figure(running.exact(), "std"), statistics.stdev(values))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6) | st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.sampled_from([1, 300]),
)
def test_many_numbers_at_once_have_the_sums_that_they_have_one_by_one(
    some: list[float], times: int
) -> None:
    values = some * times
    together, apart = Moments.of(values), Moments(values)
    for name in FIGURES:
        assert figure(together, name) == figure(apart, name)
    together.add(0.1, -1)
    apart.add(0.1, -1)
    assert figure(together, "sum_over") == figure(apart, "sum_over")
