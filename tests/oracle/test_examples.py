"""Each sentence of "Exact meanings, by event time", with times worked out by hand.

Every example is put to the network and to the oracle, so that the oracle's reading of the text
is held to the same examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from catcher.model.time import SECOND
from tests.oracle import condition_examples as conditions
from tests.oracle import level_examples as levels
from tests.oracle import stream_examples as streams
from tests.oracle.example_builders import JOB_FAILS, Example
from tests.oracle.levels import MetricsLookup, compute_level_changes
from tests.oracle.oracle import compute_firings
from tests.oracle.recording import Recording
from tests.oracle.simulation import extract_firings, extract_level_changes, run_rules, run_with_jobs
from tests.oracle.streams import START

EXAMPLE_GROUPS = {
    "truth": conditions.TRUTH_EXAMPLES,
    "event": conditions.EVENT_EXAMPLES,
    "edge": conditions.EDGE_EXAMPLES,
    "every": conditions.EVERY_EXAMPLES,
    "for": conditions.HOLD_EXAMPLES,
    "window": conditions.WINDOW_EXAMPLES,
    "absent": streams.ABSENT_EXAMPLES,
    "sequence": streams.SEQUENCE_EXAMPLES,
    "by": streams.KEY_EXAMPLES,
    "late": streams.LATE_EXAMPLES,
    "clocks": streams.CLOCK_EXAMPLES,
    "levels": levels.LEVEL_EXAMPLES,
    "results": levels.RESULT_EXAMPLES,
}
every_example = pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, id=f"{group}: {example.name}")
        for group, examples in EXAMPLE_GROUPS.items()
        for example in examples
    ],
)


def _pad_rows(rows: Sequence[Any], *names: str) -> list[tuple[Any, ...]]:
    """Rows with times in seconds after the start, short ones filled up with empty keys."""
    padded = []
    for row in rows:
        parts = row if isinstance(row, tuple) else (row,)
        padded.append((*[""] * (len(names) - len(parts)), *parts))
    return padded


def _to_relative_row(row: Any) -> tuple[Any, ...]:
    parts = row._asdict() | {"time": (row.time - START) / SECOND}
    return tuple(part for name, part in parts.items() if name != "rule")


def expected_firings(example: Example) -> list[tuple[Any, ...]]:
    return sorted(_pad_rows(example.fires, "key", "time"), key=lambda row: (row[1], row[0]))


def expected_levels(example: Example) -> list[tuple[Any, ...]]:
    rows = [row if row[-1] is True else (*row, False) for row in example.levels]
    padded = _pad_rows(rows, "key", "per", "time", "severity", "unknown")
    return [
        (key, per, severity, is_unknown, time) for key, per, time, severity, is_unknown in padded
    ]


def build_metrics_lookup(example: Example) -> MetricsLookup | None:
    """The scores of an example by the instants of its firings."""
    if not example.rule.job:
        return None
    times = [time for _, time in expected_firings(example)]
    scores = dict(zip(times, example.scores, strict=True))

    def lookup_metrics(key: str, time: int) -> dict[str, Any] | None:
        score = scores[(time - START) / SECOND]
        return None if score == JOB_FAILS else {"score": score}

    return lookup_metrics


@every_example
def test_the_evaluator_decides_as_the_example_says(example: Example) -> None:
    if example.rule.job:
        decisions = run_with_jobs(example.rule, example.stream, build_metrics_lookup(example))
    else:
        decisions = run_rules([example.rule], example.stream)

    assert [_to_relative_row(row) for row in extract_firings(decisions)] == expected_firings(
        example
    )
    assert [_to_relative_row(row) for row in extract_level_changes(decisions)] == expected_levels(
        example
    )


@every_example
def test_the_oracle_decides_as_the_example_says(example: Example) -> None:
    recording = Recording.from_events(example.stream)
    changes = []
    if example.rule.alert:
        changes = compute_level_changes(example.rule, recording, build_metrics_lookup(example))

    assert [
        _to_relative_row(row) for row in compute_firings(example.rule, recording)
    ] == expected_firings(example)
    assert [_to_relative_row(row) for row in changes] == expected_levels(example)
