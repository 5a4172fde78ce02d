"""What must hold at the end, against the publisher's own record."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.chaos.load import HIGH, WEIGHED, level_of, name_of
from tests.chaos.scene import Scene


def rows(ledger: Path, query: str) -> list[tuple[Any, ...]]:
    """The answer of a ledger that no engine writes."""
    with closing(sqlite3.connect(ledger)) as connection:
        return connection.execute(query).fetchall()


def measured(scene: Scene) -> int:
    """How many frames are measured."""
    query = "SELECT count(*) FROM runs WHERE rule = 'measure' AND state = 'done'"
    return int(rows(scene.data / "ledger.db", query)[0][0])


def drained(scene: Scene, sent: int) -> bool:
    """Whether the running engine has worked off all that was sent, and told what was to tell."""
    ledger = scene.data / "ledger.db"
    weighed = len(range(0, sent, WEIGHED))
    done = dict(rows(ledger, "SELECT rule, count(*) FROM runs WHERE state = 'done' GROUP BY rule"))
    told = rows(ledger, "SELECT count(*) FROM notices WHERE state = 'pending'")[0][0]
    return bool(done.get("measure") == sent and done.get("weigh") == weighed and told == 0)


def faults(scene: Scene, sent: int) -> Iterator[str]:
    """Everything that was lost, doubled or broken, in words."""
    ledger = scene.data / "ledger.db"
    for (verdict,) in rows(ledger, "PRAGMA integrity_check"):
        if verdict != "ok":
            yield f"the ledger: {verdict}"
    yield from _runs(ledger, "measure", [name_of(number) for number in range(sent)])
    yield from _runs(ledger, "weigh", [name_of(number) for number in range(0, sent, WEIGHED)])
    yield from _results(ledger, sent)
    yield from _artifacts(scene)
    yield from _alerts(scene, sent)


def _runs(ledger: Path, rule: str, wanted: list[str]) -> Iterator[str]:
    """Every event has exactly one run, and that is done."""
    query = f"""SELECT json_extract(f.event, '$.fields.name'), r.state, count(m.name)
        FROM runs r JOIN firings f ON f.id = r.firing LEFT JOIN metrics m ON m.run = r.id
        WHERE r.rule = '{rule}' GROUP BY r.id"""
    found = rows(ledger, query)
    counts = Counter(name for name, _, _ in found)
    yield from (f"{rule}: no run for {name}" for name in wanted if not counts[name])
    yield from (f"{rule}: {count} runs for {name}" for name, count in counts.items() if count > 1)
    yield from (f"{rule}: a run for {name}, unknown" for name in sorted(set(counts) - {*wanted}))
    yield from (f"{rule}: {name} is {state}" for name, state, _ in found if state != "done")
    yield from (f"{rule}: {name} has {count} metrics" for name, _, count in found if count != 1)


def _results(ledger: Path, sent: int) -> Iterator[str]:
    """Every result was an event, once."""
    count = rows(ledger, "SELECT count(*) FROM firings WHERE rule = 'results'")[0][0]
    if count != sent:
        yield f"{count} firings on {sent} results"


def _artifacts(scene: Scene) -> Iterator[str]:
    """What the index names is there."""
    for key, size in rows(scene.data / "ledger.db", "SELECT key, size FROM artifacts"):
        path = scene.data / "objects" / key
        if not path.is_file():
            yield f"no artifact {key}"
        elif path.stat().st_size != size:
            yield f"artifact {key} has {path.stat().st_size} bytes, not {size}"


def _alerts(scene: Scene, sent: int) -> Iterator[str]:
    """Every change of the alert reached the sink, in order; repeats have the same key."""
    highs = [level_of(number) == HIGH for number in range(sent)]
    turns = [now for before, now in zip([False, *highs], highs, strict=False) if now != before]
    wanted = ["opened" if turn else "resolved" for turn in turns]
    first: dict[str, str] = {}
    heard = []
    for row in scene.told:
        if row["id"] not in first:
            first[row["id"]] = row["kind"]
            heard.append((row["episode"], row["sequence"]))
    if list(first.values()) != wanted:
        yield f"the sink heard {len(first)} changes, not {len(wanted)}: {list(first.values())}"
    if heard != sorted(heard):
        yield "the sink heard changes out of order"
