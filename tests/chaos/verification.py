"""What must hold at the end, against the publisher's own record."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.chaos.engine_under_test import EngineUnderTest
from tests.chaos.event_load import HIGH, WEIGH_PERIOD, frame_level, frame_name


def query_rows(ledger: Path, query: str) -> list[tuple[Any, ...]]:
    """The answer of a ledger that no engine writes."""
    with closing(sqlite3.connect(ledger)) as connection:
        return connection.execute(query).fetchall()


def count_measured(engine: EngineUnderTest) -> int:
    """How many frames are measured."""
    query = "SELECT count(*) FROM runs WHERE rule = 'measure' AND state = 'done'"
    return int(query_rows(engine.data / "ledger.db", query)[0][0])


def is_drained(engine: EngineUnderTest, sent: int) -> bool:
    """Whether the running engine has worked off all that was sent, and told what was to tell."""
    ledger = engine.data / "ledger.db"
    expected_weighed = len(range(0, sent, WEIGH_PERIOD))
    done_counts = dict(
        query_rows(ledger, "SELECT rule, count(*) FROM runs WHERE state = 'done' GROUP BY rule")
    )
    pending_count = query_rows(ledger, "SELECT count(*) FROM notices WHERE state = 'pending'")[0][0]
    return bool(
        done_counts.get("measure") == sent
        and done_counts.get("weigh") == expected_weighed
        and pending_count == 0
    )


def find_faults(engine: EngineUnderTest, sent: int) -> Iterator[str]:
    """Everything that was lost, doubled or broken, in words."""
    ledger = engine.data / "ledger.db"
    for (verdict,) in query_rows(ledger, "PRAGMA integrity_check"):
        if verdict != "ok":
            yield f"the ledger: {verdict}"
    yield from _check_runs(ledger, "measure", [frame_name(number) for number in range(sent)])
    yield from _check_runs(
        ledger, "weigh", [frame_name(number) for number in range(0, sent, WEIGH_PERIOD)]
    )
    yield from _check_results(ledger, sent)
    yield from _check_artifacts(engine)
    yield from _check_alerts(engine, sent)


def _check_runs(ledger: Path, rule: str, expected: list[str]) -> Iterator[str]:
    """Every event has exactly one run, and that is done."""
    query = f"""SELECT json_extract(f.event, '$.fields.name'), r.state, count(m.name)
        FROM runs r JOIN firings f ON f.id = r.firing LEFT JOIN metrics m ON m.run = r.id
        WHERE r.rule = '{rule}' GROUP BY r.id"""
    runs = query_rows(ledger, query)
    counts = Counter(name for name, _, _ in runs)
    yield from (f"{rule}: no run for {name}" for name in expected if not counts[name])
    yield from (f"{rule}: {count} runs for {name}" for name, count in counts.items() if count > 1)
    yield from (f"{rule}: a run for {name}, unknown" for name in sorted(set(counts) - {*expected}))
    yield from (f"{rule}: {name} is {state}" for name, state, _ in runs if state != "done")
    yield from (f"{rule}: {name} has {count} metrics" for name, _, count in runs if count != 1)


def _check_results(ledger: Path, sent: int) -> Iterator[str]:
    """Every result was an event, once."""
    count = query_rows(ledger, "SELECT count(*) FROM firings WHERE rule = 'results'")[0][0]
    if count != sent:
        yield f"{count} firings on {sent} results"


def _check_artifacts(engine: EngineUnderTest) -> Iterator[str]:
    """What the index names is there."""
    for key, size in query_rows(engine.data / "ledger.db", "SELECT key, size FROM artifacts"):
        path = engine.data / "objects" / key
        if not path.is_file():
            yield f"no artifact {key}"
        elif path.stat().st_size != size:
            yield f"artifact {key} has {path.stat().st_size} bytes, not {size}"


def _check_alerts(engine: EngineUnderTest, sent: int) -> Iterator[str]:
    """Every change of the alert reached the sink, in order; repeats have the same key."""
    high_levels = [frame_level(number) == HIGH for number in range(sent)]
    crossings = [
        current
        for previous, current in zip([False, *high_levels], high_levels, strict=False)
        if current != previous
    ]
    expected = ["opened" if is_high else "resolved" for is_high in crossings]
    first_kinds: dict[str, str] = {}
    sequences = []
    for row in engine.sink_records:
        if row["id"] not in first_kinds:
            first_kinds[row["id"]] = row["kind"]
            sequences.append((row["episode"], row["sequence"]))
    if list(first_kinds.values()) != expected:
        yield (
            f"the sink heard {len(first_kinds)} changes, not "
            f"{len(expected)}: {list(first_kinds.values())}"
        )
    if sequences != sorted(sequences):
        yield "the sink heard changes out of order"
