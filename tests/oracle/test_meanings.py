"""Each sentence of "Exact meanings, by event time", with times worked out by hand.

Every example is put to the network and to the oracle, so that the oracle's reading of the text
is held to the same examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from catcher.model.time import SECOND
from tests.oracle import examples_of_conditions as conditions
from tests.oracle import examples_of_levels as levels
from tests.oracle import examples_of_streams as streams
from tests.oracle.driving import changes_in, decided, decided_with_jobs, firings_in
from tests.oracle.levels import Metrics, level_changes
from tests.oracle.oracle import firings
from tests.oracle.streams import START
from tests.oracle.watched import Watched
from tests.oracle.wording import FAILS, Example

ALL = {
    "truth": conditions.TRUTH,
    "event": conditions.EVENT,
    "edge": conditions.EDGE,
    "every": conditions.EVERY,
    "for": conditions.FOR,
    "window": conditions.WINDOW,
    "absent": streams.ABSENT,
    "sequence": streams.SEQUENCE,
    "by": streams.BY,
    "late": streams.LATE,
    "clocks": streams.CLOCKS,
    "levels": levels.LEVELS,
    "results": levels.RESULTS,
}
every_example = pytest.mark.parametrize(
    "example",
    [pytest.param(e, id=f"{group}: {e.name}") for group, found in ALL.items() for e in found],
)


def _seconds(rows: Sequence[Any], *names: str) -> list[tuple[Any, ...]]:
    """Rows with times in seconds after the start, short ones filled up with empty keys."""
    full = []
    for row in rows:
        parts = row if isinstance(row, tuple) else (row,)
        full.append((*[""] * (len(names) - len(parts)), *parts))
    return full


def _relative(row: Any) -> tuple[Any, ...]:
    parts = row._asdict() | {"time": (row.time - START) / SECOND}
    return tuple(part for name, part in parts.items() if name != "rule")


def expected_firings(example: Example) -> list[tuple[Any, ...]]:
    return sorted(_seconds(example.fires, "key", "time"), key=lambda row: (row[1], row[0]))


def expected_levels(example: Example) -> list[tuple[Any, ...]]:
    rows = [row if row[-1] is True else (*row, False) for row in example.levels]
    full = _seconds(rows, "key", "per", "time", "severity", "unknown")
    return [(key, per, severity, unknown, time) for key, per, time, severity, unknown in full]


def metrics_of(example: Example) -> Metrics | None:
    """The scores of an example by the instants of its firings."""
    if not example.rule.job:
        return None
    times = [time for _, time in expected_firings(example)]
    scores = dict(zip(times, example.scores, strict=True))

    def metrics(key: str, time: int) -> dict[str, Any] | None:
        score = scores[(time - START) / SECOND]
        return None if score == FAILS else {"score": score}

    return metrics


@every_example
def test_the_network_keeps_to_the_sentence(example: Example) -> None:
    if example.rule.job:
        decisions = decided_with_jobs(example.rule, example.feed, metrics_of(example))
    else:
        decisions = decided([example.rule], example.feed)

    assert [_relative(row) for row in firings_in(decisions)] == expected_firings(example)
    assert [_relative(row) for row in changes_in(decisions)] == expected_levels(example)


@every_example
def test_the_oracle_keeps_to_the_sentence(example: Example) -> None:
    watched = Watched.of(example.feed)
    changes = []
    if example.rule.alert:
        changes = level_changes(example.rule, watched, metrics_of(example))

    assert [_relative(row) for row in firings(example.rule, watched)] == expected_firings(example)
    assert [_relative(row) for row in changes] == expected_levels(example)
