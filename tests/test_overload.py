"""More firings than can be run: what waits, what is dropped, and that both are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import call
from tests.small_site import ThreadedEngine, engine_in_thread, write_site
from tests.vitals.prometheus import read

MANY = 2500
JOBS = '''
"""A job that goes on until a gate is opened."""

import asyncio
from pathlib import Path

from catcher import Event, Metric, Result, job


@job
async def slow(event: Event) -> Result:
    """The event's number, once the gate is open."""
    gate = Path(event.fields["gate"])
    while not gate.exists():
        await asyncio.sleep(0.02)
    return Result({"number": Metric(float(event.fields["number"]))})
'''
RULES = "---".join(
    f"""
rule: {kind}
trigger: {{event: {kind}}}
job: {{run: slow, timeout: 1h, overlap: {kind}}}
"""
    for kind in ("queue", "latest", "skip")
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("overload")
    with engine_in_thread(write_site(top / "site", RULES, jobs=JOBS), top / "data") as running:
        yield running


def post(engine: ThreadedEngine, kind: str, count: int, gate: Path) -> None:
    """Posts so many events at once; they are kept afterwards."""
    for start in range(0, count, 1000):
        events = [
            {"topic": kind, "fields": {"number": number, "gate": str(gate)}}
            for number in range(start, min(start + 1000, count))
        ]
        assert engine.ask("POST", "/events", json=events).json() == {"accepted": len(events)}


def backlog(engine: ThreadedEngine, kind: str) -> dict[str, Any]:
    return next((row for row in engine.get("/backlog") if row["rule"] == kind), {})


def test_a_queue_spills_into_the_ledger_and_loses_nothing(
    engine: ThreadedEngine, tmp_path: Path
) -> None:
    post(engine, "queue", MANY, tmp_path / "gate")
    engine.until(lambda: backlog(engine, "queue").get("waiting") == MANY - 1, "the backlog")
    row = backlog(engine, "queue")
    assert (row["running"], row["dropped"], row["drain"]) == (1, 0, None)
    assert 0 < row["spilled"] < MANY
    page = read(engine.ask("GET", "/metrics").text)
    assert page.value("catcher_runs_waiting", rule="queue") == MANY - 1
    assert page.value("catcher_runs_spilled", rule="queue") == row["spilled"]
    (health,) = [one for one in engine.get("/health") if one["kind"] == "backlog"]
    assert (health["name"], health["counts"]["waiting"]) == ("queue", MANY - 1)
    told = call("runs", "--site", engine.site, "--data", engine.data).err
    assert told.startswith(f"queue: {MANY - 1} wait ({row['spilled']} of them in the ledger)")

    (tmp_path / "gate").touch()
    seen: list[float] = []

    def drained() -> bool:
        row = backlog(engine, "queue")
        seen.extend([row["drain"]] if row["waiting"] and row["drain"] is not None else [])
        return row["waiting"] == row["running"] == 0

    engine.until(drained, "the end of the backlog", patience=120)
    assert seen, "nobody was told how long it takes"
    runs = engine.get("/runs", rule="queue", limit=10_000)
    in_order = sorted(runs, key=lambda run: run["finished"])
    assert [run["metrics"]["number"] for run in in_order] == list(range(MANY))


@pytest.mark.parametrize(("kind", "kept"), [("latest", 2), ("skip", 1)])
def test_what_latest_and_skip_drop_is_counted(
    engine: ThreadedEngine, tmp_path: Path, kind: str, kept: int
) -> None:
    post(engine, kind, 1000, tmp_path / "gate")
    engine.until(lambda: backlog(engine, kind).get("dropped") == 1000 - kept, "the dropping")
    (tmp_path / "gate").touch()
    engine.until(lambda: backlog(engine, kind)["running"] == 0, "the end of the runs")

    def figure(name: str, **labels: str) -> float:
        return read(engine.ask("GET", "/metrics").text).total(name, rule=kind, **labels)

    engine.until(lambda: figure("catcher_runs_total", state="done") == kept, "the last results")
    assert figure("catcher_runs_dropped_total", overlap=kind) == 1000 - kept
    assert len(engine.get("/runs", rule=kind, state="done", limit=5000)) == kept
    assert len(engine.get("/runs", rule=kind, state="dropped", limit=5000)) == 1000 - kept
    told = call("runs", "--rule", kind, "--site", engine.site, "--data", engine.data).err
    assert told == f"{kind}: {1000 - kept} dropped since the start (overlap: {kind})\n"
