"""What it costs to keep every event before it is acknowledged.

    python -m benchmarks durability [--rounds 5] [--events 100000]

Three tables in one: events through the engine with the inbox committed first (durable) and
without; the same through mosquitto at QoS 1 and QoS 0; and the ledger by itself, rows of the
inbox a second in commits of several sizes, with SQLite's `synchronous` NORMAL (a commit outlives
the program) and FULL (it outlives a power cut: each waits for the disk).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import broker, reporting
from benchmarks.embedded_engine import SOURCE, BatchSource, open_engine_on
from benchmarks.reporting import Row
from benchmarks.workloads import ALL, TOPIC
from catcher.model.commit import Commit
from catcher.model.event import Event, ReceivedEvent
from catcher.stores.ledger.ledger import SqlLedger

EVENTS = 100_000
BATCH = 1_000
COMMIT_SIZES = {1: 1_000, 64: 20_000, 1_000: 100_000}
"""Rows in a commit, and how many rows are written in such commits."""
WORKLOAD = ALL["thresholds"]
BROKER_ENTRIES = {
    name: entry for name, entry in broker.ENTRIES.items() if entry.rules == 10
}  # fmt: skip


def create_events(count: int) -> list[Event]:
    """The samples of the contest."""
    return [
        Event(TOPIC, sample["time"], sample, SOURCE) for sample in WORKLOAD.generate_samples(count)
    ]


async def measure_engine(durable: bool, count: int) -> Row:
    """Ten rules with edges; of a hundred events one fires."""
    events = create_events(count)
    batches = [events[start : start + BATCH] for start in range(0, count, BATCH)]
    rules = "---\n".join(
        f"rule: r{number}\ntrigger: {{telemetry: {TOPIC}, when: speed > {limit}}}\n"
        for number, limit in enumerate(WORKLOAD.limits)
    )
    all_received, received = asyncio.Event(), 0

    def count_events(events: Sequence[object]) -> None:
        nonlocal received
        received += len(events)
        if received == count:
            all_received.set()

    with tempfile.TemporaryDirectory() as folder:
        async with open_engine_on(
            BatchSource(batches, durable), rules, Path(folder, "site")
        ) as engine:
            engine.components.event_bus.events.subscribe(count_events)
            wall, processor = time.perf_counter(), time.process_time()
            running = asyncio.create_task(engine.run())
            await all_received.wait()
            await engine.committer.wait_until_idle()
            elapsed = _elapsed(count, wall, processor)
            await running
    return elapsed


async def measure_ledger(full: bool, size: int) -> Row:
    """Commits of so many events of the inbox, one after the other."""
    count = COMMIT_SIZES[size]
    received = [ReceivedEvent(event, event.time) for event in create_events(count)]
    commits = [
        Commit(inbox=tuple(received[start : start + size])) for start in range(0, count, size)
    ]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'ledger.db')}"
        async with SqlLedger(url, "engine-bench", full_sync=full) as ledger:
            wall, processor = time.perf_counter(), time.process_time()
            for commit in commits:
                await ledger.commit(commit)
            return _elapsed(count, wall, processor)


def _elapsed(count: int, wall: float, processor: float) -> Row:
    return {
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "events": count,
    }


ENGINE_MODES = {"engine, nothing kept before": "volatile", "engine, inbox first": "durable"}
LEDGER_MODES = {
    f"ledger alone, synchronous {mode}, {size:,} rows a commit": f"{mode}:{size}"
    for mode in ("NORMAL", "FULL")
    for size in COMMIT_SIZES
}


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the tables and keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks durability")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=EVENTS)
    options = parser.parse_args(list(arguments))
    machine = reporting.describe_machine()
    modes = {**ENGINE_MODES, **LEDGER_MODES}
    runs: dict[str, list[Row]] = {name: [] for name in modes}
    for _ in range(options.rounds):
        for name, mode in modes.items():
            runs[name].append(_measure_in_process(mode, options.events))
    rows = [_summarize_runs(name, results) for name, results in runs.items()]
    results = broker.compare_contestants(BROKER_ENTRIES, options.events, options.rounds)
    rows[len(ENGINE_MODES) : len(ENGINE_MODES)] = [
        {name: row[name] for name in ("contestant", "rate", "processor_rate")} for row in results
    ]
    table = [
        [row["contestant"], f"{row['rate']:,.0f}", f"{row['processor_rate']:,.0f}"] for row in rows
    ]
    reporting.print_table("What durability costs", machine, _HEADINGS, table)
    reporting.write_results("durability", machine, rows)


_HEADINGS = ("what", "events a second", "a second of processor time")


def _measure_in_process(mode: str, count: int) -> Row:
    command = [sys.executable, "-m", "benchmarks.durability", mode, str(count)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: Row = json.loads(process.stdout.splitlines()[-1])
    return row


def _summarize_runs(name: str, runs: list[Row]) -> Row:
    return {
        "contestant": name,
        "rate": reporting.median(run["events"] / run["wall"] for run in runs),
        "processor_rate": reporting.median(run["events"] / run["processor"] for run in runs),
    }


async def _measure_mode(mode: str, count: int) -> Row:
    if mode in ENGINE_MODES.values():
        return await measure_engine(mode == "durable", count)
    synchronous, _, size = mode.partition(":")
    return await measure_ledger(synchronous == "FULL", int(size))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure_mode(sys.argv[1], int(sys.argv[2])))))
