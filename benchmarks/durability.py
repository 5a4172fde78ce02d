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

from benchmarks import broker, records
from benchmarks.engine_room import SOURCE, Batches, engine_on
from benchmarks.records import Row
from benchmarks.workloads import ALL, TOPIC
from catcher.model.commit import Commit
from catcher.model.event import Arrived, Event
from catcher.stores.ledger import SqlLedger

EVENTS = 100_000
BATCH = 1_000
SIZES = {1: 1_000, 64: 20_000, 1_000: 100_000}
"""Rows in a commit, and how many rows are written in such commits."""
WORKLOAD = ALL["thresholds"]
THROUGH_BROKER = {
    name: entry for name, entry in broker.ENTRIES.items() if entry.rules == 10
}  # fmt: skip


def events(count: int) -> list[Event]:
    """The samples of the contest."""
    return [Event(TOPIC, one["time"], one, SOURCE) for one in WORKLOAD.samples(count)]


async def through_engine(durable: bool, count: int) -> Row:
    """Ten rules with edges; of a hundred events one fires."""
    made = events(count)
    batches = [made[start : start + BATCH] for start in range(0, count, BATCH)]
    rules = "---\n".join(
        f"rule: r{number}\ntrigger: {{telemetry: {TOPIC}, when: speed > {limit}}}\n"
        for number, limit in enumerate(WORKLOAD.limits)
    )
    everything, seen = asyncio.Event(), 0

    def count_events(admitted: Sequence[object]) -> None:
        nonlocal seen
        seen += len(admitted)
        if seen == count:
            everything.set()

    with tempfile.TemporaryDirectory() as folder:
        async with engine_on(Batches(batches, durable), rules, Path(folder, "site")) as engine:
            engine.parts.streams.events.subscribe(count_events)
            wall, processor = time.perf_counter(), time.process_time()
            running = asyncio.create_task(engine.run())
            await everything.wait()
            await engine.books.kept()
            spent = _spent(count, wall, processor)
            await running
    return spent


async def ledger_alone(full: bool, size: int) -> Row:
    """Commits of so many events of the inbox, one after the other."""
    count = SIZES[size]
    arrived = [Arrived(event, event.time) for event in events(count)]
    commits = [
        Commit(inbox=tuple(arrived[start : start + size])) for start in range(0, count, size)
    ]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'ledger.db')}"
        async with SqlLedger(url, "engine-bench", full=full) as ledger:
            wall, processor = time.perf_counter(), time.process_time()
            for commit in commits:
                await ledger.commit(commit)
            return _spent(count, wall, processor)


def _spent(count: int, wall: float, processor: float) -> Row:
    return {
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "events": count,
    }


ENGINE = {"engine, nothing kept before": "volatile", "engine, inbox first": "durable"}
ALONE = {
    f"ledger alone, synchronous {mode}, {size:,} rows a commit": f"{mode}:{size}"
    for mode in ("NORMAL", "FULL")
    for size in SIZES
}


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the tables and keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks durability")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=EVENTS)
    options = parser.parse_args(list(arguments))
    begun = records.machine()
    ways = {**ENGINE, **ALONE}
    runs: dict[str, list[Row]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            runs[name].append(_in_its_process(way, options.events))
    rows = [_row(name, found) for name, found in runs.items()]
    found = broker.compare(THROUGH_BROKER, options.events, options.rounds)
    rows[len(ENGINE) : len(ENGINE)] = [
        {name: row[name] for name in ("contestant", "rate", "processor_rate")} for row in found
    ]
    cells = [
        [row["contestant"], f"{row['rate']:,.0f}", f"{row['processor_rate']:,.0f}"] for row in rows
    ]
    records.show("What durability costs", begun, _HEADINGS, cells)
    records.write("durability", begun, rows)


_HEADINGS = ("what", "events a second", "a second of processor time")


def _in_its_process(way: str, count: int) -> Row:
    command = [sys.executable, "-m", "benchmarks.durability", way, str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def _row(name: str, runs: list[Row]) -> Row:
    return {
        "contestant": name,
        "rate": records.median(one["events"] / one["wall"] for one in runs),
        "processor_rate": records.median(one["events"] / one["processor"] for one in runs),
    }


async def _measure(way: str, count: int) -> Row:
    if way in ENGINE.values():
        return await through_engine(way == "durable", count)
    mode, _, size = way.partition(":")
    return await ledger_alone(mode == "FULL", int(size))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(sys.argv[1], int(sys.argv[2])))))
