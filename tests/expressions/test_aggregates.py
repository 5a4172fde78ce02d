"""Sums that are at hand at any time say nothing that the exact ones would not."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.expressions.aggregates import ExactMoments, IncrementalSums

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
    *[
        st.lists(elements, min_size=2, max_size=60)
        for elements in (st.floats(-10, 10), st.integers(-9, 9))
    ],
)


def compute_figure(moments: ExactMoments, name: str) -> Any:
    functions = {
        "mean": moments.mean,
        "sum_over": moments.total,
        "std": moments.std,
        "rms": moments.rms,
    }
    return functions[name]()


def compute_valid_until(sums: IncrementalSums, name: str, low: float, high: float) -> int:
    check_bounds = sums.get_bounds_check(name)
    assert check_bounds is not None
    return check_bounds(low, high)


@settings(max_examples=600, deadline=None)
@given(streams, st.integers(1, 40), st.sampled_from(FIGURES), st.integers(1, 7))
def test_a_figure_stays_between_two_limits_for_as_long_as_promised(
    stream: list[Any], size: int, name: str, check_interval: int
) -> None:
    """The limits stand as close to the exact figure as floats allow, on it, and somewhat off."""
    values: deque[Any] = deque()
    sums = IncrementalSums(values)
    promises: list[tuple[int, float, float]] = []
    for index, value in enumerate(stream * 4):
        values.append(value)
        sums.add_sample(value)
        while len(values) > size + index % 3:
            sums.remove_oldest(values.popleft())
        exact = compute_figure(ExactMoments(values), name)
        if index % check_interval == 0:
            assert compute_figure(sums.compute_moments(), name) == exact
        promises = [promise for promise in promises if sums.operation_count < promise[0]]
        assert all(low < exact < high for _, low, high in promises)
        if exact is None:
            continue
        for margin in (0.0, 1e-300, abs(exact) * 1e-13, 1e-6, 0.1, 1.0, 30.0):
            for low, high in ((exact - margin, math.inf), (-math.inf, exact + margin)):
                valid_until = compute_valid_until(sums, name, low, high)
                assert not valid_until or low < exact < high
                promises.append((valid_until, low, high))


def test_a_limit_at_some_distance_needs_no_exact_sums() -> None:
    values: deque[float] = deque()
    sums = IncrementalSums(values)
    wave = [100 + 10 * math.sin(index / 50) for index in range(20_000)]
    for value in wave[:6_000]:
        values.append(value)
        sums.add_sample(value)
    for value in wave[6_000:]:
        values.append(value)
        sums.add_sample(value)
        sums.remove_oldest(values.popleft())
        for name in FIGURES:
            limit = {"mean": 100.0, "sum_over": 600_000.0, "std": 7.1, "rms": 100.2}[name]
            assert (
                compute_valid_until(sums, name, limit * 0.97, limit * 1.03) > sums.operation_count
            )
    assert math.isclose(compute_figure(sums.compute_moments(), "std"), statistics.stdev(values))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6) | st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    st.sampled_from([1, 300]),
)
def test_many_numbers_at_once_have_the_sums_that_they_have_one_by_one(
    numbers_once: list[float], repeats: int
) -> None:
    values = numbers_once * repeats
    batch_moments, single_moments = ExactMoments.from_values(values), ExactMoments(values)
    for name in FIGURES:
        assert compute_figure(batch_moments, name) == compute_figure(single_moments, name)
    batch_moments.add(0.1, -1)
    single_moments.add(0.1, -1)
    assert compute_figure(batch_moments, "sum_over") == compute_figure(single_moments, "sum_over")
