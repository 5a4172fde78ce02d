"""A night of visits at the cadence of a survey, as fast as it goes, through the whole engine.

    python -m benchmarks cadence [--visits 900] [--detectors 189] [--burst 50] [--workers 2]

Every visit is a message through mosquitto, a run in so many parts on worker processes, each of
which reads an image and returns eight metrics, and a gathering of all. The images are small, so
that the flow is measured and not the pixels. Visits come a few ahead of those that are done; at
the end a burst of them comes at once. It fails if a visit or a part is missing, done twice or
out of order, or if anything is left over. `--scaling` compares one worker with two, on jobs
that compute for some milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import reporting
from benchmarks.publisher import BenchmarkPublisher
from benchmarks.reporting import Row
from catcher.app import open_engine
from catcher.model.run import Run
from tests.servers import run_mosquitto

TOPIC = "bench/endReadout"
MAX_VISITS_AHEAD = 4
"""How many visits are under way or wait during the night proper."""
CADENCE = 30.0
TIMEOUT = 7200.0
SETTINGS = """
site: bench
sources:
  camera: {{mqtt: {{host: 127.0.0.1, port: {port}, qos: 1, topics: {{"bench/+": "{{1}}"}}}}}}
limits: {{workers: {workers}}}
observations: {{exposure: {{event: endReadout, id: image, image: "images/{{detector}}.npy"}}}}
"""
RULES = """
rule: visits
trigger: {{event: endReadout, once_per: image}}
job:
  run: measure
  inputs: {{frame: {{image: exposure}}}}
  with: {{burn: {burn}}}
  each: detector
  gather: {{run: visit}}
"""
JOBS = '''
"""What a detector and a visit come to, with next to no pixels."""

import time
from pathlib import Path

import numpy as np
from catcher import Metric, Result, job


@job
def measure(frame: Path, burn: float) -> Result:
    """Eight metrics, after `burn` seconds of computing."""
    pixels = np.load(frame)
    end = time.process_time() + burn
    while time.process_time() < end:
        pass
    level = float(pixels.mean())
    return Result({f"metric_{n}": Metric(level + n, "adu") for n in range(8)})


@job
def visit(parts, missing) -> Result:
    levels = [one.metrics["metric_0"].value for one in parts.values()]
    return Result({"seen": len(parts), "missing": len(missing), "level": float(np.median(levels))})
'''


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the table and keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cadence")
    parser.add_argument("--visits", type=int, default=900)
    parser.add_argument("--detectors", type=int, default=189)
    parser.add_argument("--burst", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scaling", action="store_true", help="only one worker beside two")
    options = parser.parse_args(list(arguments))
    machine = reporting.describe_machine()
    rows = [] if options.scaling else [run_night(options.visits, options.detectors, options.burst)]
    rows += [run_night(6, options.detectors, 0, workers=n, burn=0.02) for n in (1, 2)]
    reporting.print_table(
        f"Visits of {options.detectors} detectors",
        machine,
        _HEADINGS,
        [_format_cells(row) for row in rows],
    )
    single, double = rows[-2:]
    print(f"\nTwo workers do {double['rate'] / single['rate']:.2f} times as much as one.")
    reporting.write_results("cadence", machine, rows)


def run_night(visits: int, detectors: int, burst: int, workers: int = 2, burn: float = 0.0) -> Row:
    """One night through an engine in this process; SystemExit where anything is wrong with it."""
    with tempfile.TemporaryDirectory() as folder, run_mosquitto(Path(folder, "broker")) as server:
        site = write_site(Path(folder, "site"), server.port, detectors, workers, burn)
        return asyncio.run(_run_night(site, server.port, visits, detectors, burst))


def write_site(folder: Path, port: int, detectors: int, workers: int, burn: float) -> Path:
    """A site with one rule, and an image of every detector."""
    texts = {
        "catcher.yaml": SETTINGS.format(port=port, workers=workers),
        "rules/rules.yaml": RULES.format(burn=burn),
        "jobs/jobs.py": JOBS,
    }
    for file, text in texts.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    images = folder.parent / "data" / "images"
    images.mkdir(parents=True)
    for number in range(detectors):
        np.save(images / f"R{number:03}.npy", np.full((16, 16), float(number), "f4"))
    return folder


@dataclass
class RunLog:
    """What was done, as it is told: visits in their order, parts by visit."""

    visits: list[str] = field(default_factory=list)
    parts: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    missing: float = 0.0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _notifications: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def record_run(self, run: Run) -> None:
        """A run has been made, or is over."""
        if not run.is_finished:
            return
        self.states[run.state] += 1
        if run.parent:
            self.parts[run.observation] += 1
            return
        self.visits.append(run.observation)
        self.missing += run.metrics["missing"].value or 0.0 if run.metrics else 1.0
        task = asyncio.get_running_loop().create_task(self._notify_waiters())
        self._notifications.add(task)
        task.add_done_callback(self._notifications.discard)

    async def _notify_waiters(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def wait_for_visits(self, count: int) -> None:
        """Returns once so many visits are done."""
        async with self.changed, asyncio.timeout(TIMEOUT):
            await self.changed.wait_for(lambda: len(self.visits) >= count)


async def _run_night(site: Path, port: int, visits: int, detectors: int, burst: int) -> Row:
    log, total = RunLog(), visits + burst
    async with open_engine(site, site.parent / "data", 0, lambda _: None) as running:
        subscription = running.event_bus.runs.subscribe(log.record_run)
        with _start_publisher(port) as publisher:
            publish = _create_publish(publisher)
            publish("warm")
            await log.wait_for_visits(1)
            start, cpu_seconds = time.perf_counter(), time.process_time()
            for number in range(visits):
                await log.wait_for_visits(1 + number - MAX_VISITS_AHEAD)
                publish(f"visit-{number:04}")
            for number in range(visits, total):
                publish(f"visit-{number:04}")
            await log.wait_for_visits(1 + total)
            wall, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_seconds
        subscription.dispose()
        backlogs = [
            row for row in running.list_health() if row.kind == "backlog" and row.counts["waiting"]
        ]
    check_log(log, ["warm", *(f"visit-{number:04}" for number in range(total))], detectors)
    if backlogs:
        raise SystemExit(f"a backlog is left over: {backlogs}")
    parts = total * detectors
    return {
        "visits": total,
        "detectors": detectors,
        "wall": wall,
        "rate": parts / wall,
        "visit": wall / total,
        "overhead_ms": 1e3 * cpu_seconds / parts,
        "ahead": CADENCE * total / wall,
    }


def check_log(log: RunLog, expected: Sequence[str], detectors: int) -> None:
    """No frame skipped, none twice, in order, each with all its parts."""
    if log.visits != list(expected):
        raise SystemExit("visits are missing, repeated or out of order")
    if set(log.parts.values()) != {detectors} or len(log.parts) != len(expected):
        raise SystemExit(f"parts are missing or repeated: {log.parts.most_common(3)}")
    if set(log.states) != {"done"} or log.missing:
        raise SystemExit(f"not all was done: {dict(log.states)}")


def _start_publisher(port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.cadence", str(port)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def _create_publish(publisher: subprocess.Popen[bytes]) -> Callable[[str], None]:
    def publish(image: str) -> None:
        assert publisher.stdin is not None
        publisher.stdin.write(json.dumps({"image": image}).encode() + b"\n")
        publisher.stdin.flush()

    return publish


_HEADINGS = ("visits", "parts", "wall", "parts a second", "a visit", "engine a part", "× cadence")


def _format_cells(row: Row) -> Sequence[str]:
    return (
        str(row["visits"]), f"{row['visits'] * row['detectors']:,}", f"{row['wall']:.1f} s",
        f"{row['rate']:.0f}", f"{row['visit']:.2f} s", f"{row['overhead_ms']:.2f} ms",
        f"{row['ahead']:.1f}",
    )  # fmt: skip


if __name__ == "__main__":
    BenchmarkPublisher(int(sys.argv[1])).publish_lines(TOPIC, sys.stdin.buffer)
