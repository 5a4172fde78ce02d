"""The embedded history beside other engines: samples a second, bytes a sample, 30 minutes back.

    python -m benchmarks history [--hours 1] [--topics 50] [--only segments]

50 topics at 20 Hz, four fields each, handed on in batches of a thousand as the engine does it.
Rates are samples a second of processor time, all threads together (which is what one core would
take). Then any 30 minutes of a topic are read, two fields, twenty times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import installing, records
from benchmarks.history_engines import ENGINES
from catcher.model.event import Event
from catcher.model.time import HOUR, MINUTE, SECOND

HERTZ = 20
START = 1_745_452_800 * SECOND
POOL = 20_000
ROUNDS = 20
TARGET_RATE, TARGET_READ = 100_000.0, 50.0


def main(options: Sequence[str]) -> None:
    """Runs each engine in a process of its own and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks history")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--topics", type=int, default=50)
    parser.add_argument("--only", default="", help="one engine, by the beginning of its name")
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    said = parser.parse_args(options)
    if said.run:
        print(json.dumps(asyncio.run(measured(said.run, said.hours, said.topics))))
        return
    begun, missing = records.machine(), installing.install(("duckdb",))
    rows = []
    for name in [one for one in ENGINES if one.lower().startswith(said.only.lower())]:
        if name == "DuckDB" and missing:
            print(f"{name} could not be had: {missing['duckdb']}")
            continue
        rows.append({"name": name, **_apart(name, said)})
    if not said.only:
        records.write("history", begun, rows)
    records.show(
        f"{said.topics} topics at {HERTZ} Hz, {said.hours:g} h", begun,
        ("engine", "samples a second", "bytes a sample", "30 minutes, median", "worst"),
        [
            (row["name"], f"{row['rate']:,.0f}", f"{row['bytes']:.1f}",
             f"{row['median']:.1f} ms", f"{row['worst']:.1f} ms")
            for row in rows
        ],
    )  # fmt: skip
    ours = rows[0]
    if ours["name"].startswith("segments"):
        verdict = ours["rate"] >= TARGET_RATE and ours["worst"] <= TARGET_READ
        print(f"targets (100,000 a second, 50 ms): {'met' if verdict else 'MISSED'}")


def _apart(name: str, said: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", "history", "--run", name,
        "--hours", str(said.hours), "--topics", str(said.topics)]  # fmt: skip
    done = subprocess.run(
        command, env=installing.environment(("duckdb",)), check=True, stdout=subprocess.PIPE
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


async def measured(name: str, hours: float, topics: int) -> dict[str, float]:
    """What one engine makes of the samples."""
    now = [START]
    names = [f"lsst.sal.Bench.topic{n:02d}" for n in range(topics)]
    engine = ENGINES[name]()
    with tempfile.TemporaryDirectory(prefix="catcher-bench-") as place:
        folder = Path(place)
        await engine.open(folder, lambda: now[0])
        idle = _building(names, hours)
        begun, samples = time.process_time(), 0
        for batch in batches(names, hours):
            now[0] = batch[-1].time
            await engine.append(batch)
            samples += len(batch)
            await asyncio.sleep(0)
        await engine.settle()
        spent = time.process_time() - begun - idle
        took = await _reading(engine, names, hours)
        await engine.close()
        size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    return {
        "rate": samples / spent, "samples": samples, "bytes": size / samples,
        "median": records.median(took), "worst": max(took),
    }  # fmt: skip


def batches(names: Sequence[str], hours: float) -> Iterator[list[Event]]:
    """Batches of a thousand samples, in time order, of values that wander and are noisy."""
    noise = random.Random(1)
    pool: list[dict[str, Any]] = []
    for n in range(POOL):
        actual = 180 * math.sin(n / 3000) + noise.gauss(0, 1e-4)
        torque = noise.gauss(0, 3)
        pool.append({"salIndex": 0, "actual": actual, "demand": round(actual, 3), "torque": torque})
    ticks = round(hours * HOUR / SECOND * HERTZ)
    batch: list[Event] = []
    place = 0
    for tick in range(ticks):
        instant = START + tick * SECOND // HERTZ
        for name in names:
            place = (place + 1) % POOL
            batch.append(Event(name, instant, pool[place], "bench"))
        if len(batch) >= 1000:
            yield batch
            batch = []
    if batch:
        yield batch


def _building(names: Sequence[str], hours: float) -> float:
    """What making the samples takes by itself."""
    begun = time.process_time()
    for _ in batches(names, min(hours, 0.1)):
        pass
    return (time.process_time() - begun) * hours / min(hours, 0.1)


async def _reading(engine: Any, names: Sequence[str], hours: float) -> list[float]:
    """Milliseconds for 30 minutes of a topic, anywhere."""
    choice, took = random.Random(2), []
    span = min(30 * MINUTE, round(hours * HOUR / 2))
    for _ in range(ROUNDS):
        topic = choice.choice(list(names))
        start = START + choice.randrange(0, round(hours * HOUR) - span)
        begun = time.perf_counter()
        found = await engine.read(topic, ["actual", "torque"], start, start + span)
        took.append(1e3 * (time.perf_counter() - begun))
        assert found >= span // SECOND * HERTZ - 1
    return took
