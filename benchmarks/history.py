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

from benchmarks import peer_installer, reporting
from benchmarks.history_engines import ENGINES
from catcher.model.event import Event
from catcher.model.time import HOUR, MINUTE, SECOND

HERTZ = 20
START = 1_745_452_800 * SECOND
POOL_SIZE = 20_000
ROUNDS = 20
TARGET_RATE, TARGET_READ = 100_000.0, 50.0


def main(options: Sequence[str]) -> None:
    """Runs each engine in a process of its own and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks history")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--topics", type=int, default=50)
    parser.add_argument("--only", default="", help="one engine, by the beginning of its name")
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(options)
    if args.run:
        print(json.dumps(asyncio.run(measure_engine(args.run, args.hours, args.topics))))
        return
    machine, missing = reporting.describe_machine(), peer_installer.install_packages(("duckdb",))
    rows = []
    for name in [engine for engine in ENGINES if engine.lower().startswith(args.only.lower())]:
        if name == "DuckDB" and missing:
            print(f"{name} could not be had: {missing['duckdb']}")
            continue
        rows.append({"name": name, **_measure_in_process(name, args)})
    if not args.only:
        reporting.write_results("history", machine, rows)
    reporting.print_table(
        f"{args.topics} topics at {HERTZ} Hz, {args.hours:g} h", machine,
        ("engine", "samples a second", "bytes a sample", "30 minutes, median", "worst"),
        [
            (row["name"], f"{row['rate']:,.0f}", f"{row['bytes']:.1f}",
             f"{row['median']:.1f} ms", f"{row['worst']:.1f} ms")
            for row in rows
        ],
    )  # fmt: skip
    catcher_row = rows[0]
    if catcher_row["name"].startswith("segments"):
        is_met = catcher_row["rate"] >= TARGET_RATE and catcher_row["worst"] <= TARGET_READ
        print(f"targets (100,000 a second, 50 ms): {'met' if is_met else 'MISSED'}")


def _measure_in_process(name: str, args: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks", "history", "--run", name,
        "--hours", str(args.hours), "--topics", str(args.topics)]  # fmt: skip
    process = subprocess.run(
        command,
        env=peer_installer.build_environment(("duckdb",)),
        check=True,
        stdout=subprocess.PIPE,
    )
    result: dict[str, float] = json.loads(process.stdout)
    return result


async def measure_engine(name: str, hours: float, topics: int) -> dict[str, float]:
    """What one engine makes of the samples."""
    now = [START]
    names = [f"lsst.sal.Bench.topic{n:02d}" for n in range(topics)]
    engine = ENGINES[name]()
    with tempfile.TemporaryDirectory(prefix="catcher-bench-") as temp_folder:
        folder = Path(temp_folder)
        await engine.open(folder, lambda: now[0])
        generation_seconds = _generation_seconds(names, hours)
        start, samples = time.process_time(), 0
        for batch in generate_batches(names, hours):
            now[0] = batch[-1].time
            await engine.append(batch)
            samples += len(batch)
            await asyncio.sleep(0)
        await engine.flush()
        elapsed = time.process_time() - start - generation_seconds
        read_times = await _measure_reads(engine, names, hours)
        await engine.close()
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "rate": samples / elapsed, "samples": samples, "bytes": size / samples,
        "median": reporting.median(read_times), "worst": max(read_times),
    }  # fmt: skip


def generate_batches(names: Sequence[str], hours: float) -> Iterator[list[Event]]:
    """Batches of a thousand samples, in time order, of values that wander and are noisy."""
    noise = random.Random(1)
    samples: list[dict[str, Any]] = []
    for n in range(POOL_SIZE):
        actual = 180 * math.sin(n / 3000) + noise.gauss(0, 1e-4)
        torque = noise.gauss(0, 3)
        samples.append(
            {"salIndex": 0, "actual": actual, "demand": round(actual, 3), "torque": torque}
        )
    ticks = round(hours * HOUR / SECOND * HERTZ)
    batch: list[Event] = []
    index = 0
    for tick in range(ticks):
        instant = START + tick * SECOND // HERTZ
        for name in names:
            index = (index + 1) % POOL_SIZE
            batch.append(Event(name, instant, samples[index], "bench"))
        if len(batch) >= 1000:
            yield batch
            batch = []
    if batch:
        yield batch


def _generation_seconds(names: Sequence[str], hours: float) -> float:
    """What making the samples takes by itself."""
    start = time.process_time()
    for _ in generate_batches(names, min(hours, 0.1)):
        pass
    return (time.process_time() - start) * hours / min(hours, 0.1)


async def _measure_reads(engine: Any, names: Sequence[str], hours: float) -> list[float]:
    """Milliseconds for 30 minutes of a topic, anywhere."""
    rng, read_times = random.Random(2), []
    span = min(30 * MINUTE, round(hours * HOUR / 2))
    for _ in range(ROUNDS):
        topic = rng.choice(list(names))
        start = START + rng.randrange(0, round(hours * HOUR) - span)
        read_start = time.perf_counter()
        count = await engine.read(topic, ["actual", "torque"], start, start + span)
        read_times.append(1e3 * (time.perf_counter() - read_start))
        assert count >= span // SECOND * HERTZ - 1
    return read_times
