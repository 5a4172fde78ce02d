"""More firings than can be run: what waits, what is dropped, and that both are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_runner import run_command
from tests.monitoring.prometheus_parser import parse_page
from tests.sample_site import ThreadedEngine, engine_in_thread, write_site

EVENT_COUNT = 2500
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
    folder = tmp_path_factory.mktemp("overload")
    with engine_in_thread(
        write_site(folder / "site", RULES, jobs=JOBS), folder / "data"
    ) as running:
        yield running


def post_events(engine: ThreadedEngine, kind: str, count: int, gate: Path) -> None:
    """Posts so many events at once; they are kept afterwards."""
    for start in range(0, count, 1000):
        events = [
            {"topic": kind, "fields": {"number": number, "gate": str(gate)}}
            for number in range(start, min(start + 1000, count))
        ]
        assert engine.request("POST", "/events", json=events).json() == {"accepted": len(events)}


def get_backlog(engine: ThreadedEngine, kind: str) -> dict[str, Any]:
    return next((row for row in engine.get("/backlog") if row["rule"] == kind), {})


def test_a_queue_spills_into_the_ledger_and_loses_nothing(
    engine: ThreadedEngine, tmp_path: Path
) -> None:
    post_events(engine, "queue", EVENT_COUNT, tmp_path / "gate")
    engine.wait_until(
        lambda: get_backlog(engine, "queue").get("waiting") == EVENT_COUNT - 1, "the backlog"
    )
    row = get_backlog(engine, "queue")
    assert (row["running"], row["dropped"], row["drain"]) == (1, 0, None)
    assert 0 < row["spilled"] < EVENT_COUNT
    page = parse_page(engine.request("GET", "/metrics").text)
    assert page.get_value("catcher_runs_queued", rule="queue") == EVENT_COUNT - 1
    assert page.get_value("catcher_runs_spilled", rule="queue") == row["spilled"]
    (health,) = [row for row in engine.get("/health") if row["kind"] == "backlog"]
    assert (health["name"], health["counts"]["waiting"]) == ("queue", EVENT_COUNT - 1)
    warning = run_command("runs", "--site", engine.site, "--data", engine.data).err
    assert warning.startswith(
        f"queue: {EVENT_COUNT - 1} wait ({row['spilled']} of them in the ledger)"
    )

    (tmp_path / "gate").touch()
    drain_times: list[float] = []

    def is_drained() -> bool:
        row = get_backlog(engine, "queue")
        drain_times.extend([row["drain"]] if row["waiting"] and row["drain"] is not None else [])
        return row["waiting"] == row["running"] == 0

    engine.wait_until(is_drained, "the end of the backlog", timeout=120)
    assert drain_times, "nobody was told how long it takes"
    runs = engine.get("/runs", rule="queue", limit=10_000)
    in_order = sorted(runs, key=lambda run: run["finished"])
    assert [run["metrics"]["number"] for run in in_order] == list(range(EVENT_COUNT))


@pytest.mark.parametrize(("kind", "finished_count"), [("latest", 2), ("skip", 1)])
def test_runs_dropped_by_latest_and_skip_are_counted(
    engine: ThreadedEngine, tmp_path: Path, kind: str, finished_count: int
) -> None:
    post_events(engine, kind, 1000, tmp_path / "gate")
    engine.wait_until(
        lambda: get_backlog(engine, kind).get("dropped") == 1000 - finished_count, "the dropping"
    )
    (tmp_path / "gate").touch()
    engine.wait_until(lambda: get_backlog(engine, kind)["running"] == 0, "the end of the runs")

    def read_metric(name: str, **labels: str) -> float:
        return parse_page(engine.request("GET", "/metrics").text).sum_values(
            name, rule=kind, **labels
        )

    engine.wait_until(
        lambda: read_metric("catcher_runs_total", state="done") == finished_count,
        "the last results",
    )
    assert read_metric("catcher_runs_dropped_total", overlap=kind) == 1000 - finished_count
    assert len(engine.get("/runs", rule=kind, state="done", limit=5000)) == finished_count
    assert len(engine.get("/runs", rule=kind, state="dropped", limit=5000)) == 1000 - finished_count
    warning = run_command("runs", "--rule", kind, "--site", engine.site, "--data", engine.data).err
    assert warning == f"{kind}: {1000 - finished_count} dropped since the start (overlap: {kind})\n"
