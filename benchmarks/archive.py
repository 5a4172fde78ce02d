"""Telemetry and artifacts from servers: Catcher beside the clients that people use.

    python -m benchmarks archive [--rows 1000000] [--rounds 3]

A million rows of four fields from one real InfluxDB 1.x to a DataFrame: Catcher's reader beside
aioinflux, which is how Rubin's efd-client asks, and InfluxData's client for 1.x (the query API of
influxdb-client is Flux, which a 1.x does not answer). Points written: Catcher's metric store
beside both of InfluxData's clients. Artifacts put and got: Catcher's object store beside boto3,
on rclone's S3.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import archive_clients, peer_installer, reporting
from tests.servers import S3_KEYS, run_influxd, run_s3, run_victoria_metrics, write_influx

TOPIC = "lsst.sal.MTMount.azimuth"
START = 1_745_452_800_000_000_000
STEP = 10_000_000
NEEDED = ("aioinflux", "influxdb", "boto3")
TARGET = 3.0


def main(options: Sequence[str]) -> None:
    """Starts the servers, lets each client ask in a process of its own, prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks archive")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    parser.add_argument("--with", dest="given", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(options)
    if args.run:
        print(json.dumps(asyncio.run(measure_client(args.run, json.loads(args.given)))))
        return
    machine, missing = reporting.describe_machine(), peer_installer.install_packages(NEEDED)
    for name, error_text in missing.items():
        print(f"{name} could not be had: {error_text}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="catcher-bench-") as folder:
        for task, clients, parameters in _iter_tasks(Path(folder), args):
            available = [client for client in clients if client.split(" ")[0] not in missing]
            rows += _run_rounds(task, available, parameters, args.rounds)
    reporting.write_results("archive", machine, rows)
    _print_results(machine, rows)


Task = tuple[str, Sequence[str], dict[str, Any]]


def _iter_tasks(folder: Path, args: argparse.Namespace) -> Iterator[Task]:
    """What is to be done, by whom, with what; the servers run meanwhile."""
    with run_influxd(folder / "influx", ("efd", "metrics")) as server:
        write_influx(server.port, "efd", _generate_lines(args.rows))
        parameters = {"url": f"http://127.0.0.1:{server.port}", "topic": TOPIC, "rows": args.rows}
        yield "read", ("Catcher", "aioinflux", "influxdb (1.x)"), parameters
        parameters = {"url": parameters["url"], "points": args.points}
        yield "write to 1.x", ("Catcher", "influxdb (1.x)"), parameters
    with run_victoria_metrics(folder / "victoria") as server:
        parameters = {"url": f"http://127.0.0.1:{server.port}", "points": args.points}
        yield "write to v2", ("Catcher", "influxdb-client"), parameters
    with run_s3(folder / "s3") as server:
        parameters = {"url": f"http://127.0.0.1:{server.port}", "keys": list(S3_KEYS)}
        for count, size in ((200, 64 * 1024), (4, 32 * 2**20)):
            task = f"{count} objects of {size // 1024} KiB"
            yield task, ("Catcher", "boto3"), {**parameters, "count": count, "size": size}


def _generate_lines(rows: int) -> Iterator[str]:
    for n in range(rows):
        actual = 180 * math.sin(n / 1e4)
        fields = f"actualPosition={actual},demandPosition={round(actual, 4)}"
        more_fields = f"actualTorque={n % 977 * 0.137},actualVelocity={math.cos(n / 1e4)}"
        yield f"{TOPIC} salIndex=0i,{fields},{more_fields} {START + n * STEP}"


def _run_rounds(
    task: str, clients: Sequence[str], parameters: dict[str, Any], rounds: int
) -> list[dict[str, Any]]:
    """Round-robin, so that a slow minute of the machine meets all of them; medians count."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name in clients:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "archive",
                "--run", f"{task}|{name}", "--with", json.dumps(parameters)]  # fmt: skip
            process = subprocess.run(
                command,
                env=peer_installer.build_environment(NEEDED),
                stdout=subprocess.PIPE,
                check=False,
            )
            with contextlib.suppress(ValueError, IndexError):
                results[name].append(json.loads(process.stdout.splitlines()[-1]))
    rows = []
    for name, runs in results.items():
        if not runs:
            print(f"{task}: {name} failed")
            continue
        rows.append({
            "task": task, "client": name,
            **{key: reporting.median(run[key] for run in runs) for key in runs[0]},
        })  # fmt: skip
    return rows


async def measure_client(task_and_client: str, parameters: dict[str, Any]) -> dict[str, float]:
    """Wall and processor seconds of one client for one task, and megabytes it grew."""
    task, name = task_and_client.split("|")
    run_task: Callable[[dict[str, Any]], Any] = archive_clients.find_task(task, name)
    before = archive_clients.peak_memory()
    wall, processor = time.perf_counter(), time.process_time()
    count = await run_task(parameters)
    return {
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "memory": archive_clients.peak_memory() - before,
        "done": count,
    }


def _print_results(machine: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    table = []
    for row in rows:
        ours = next(candidate for candidate in rows if candidate["task"] == row["task"])
        table.append((
            row["task"], row["client"], f"{row['done'] / row['wall']:,.0f}",
            f"{row['wall'] / ours['wall']:.2f}", f"{row['processor'] / ours['processor']:.2f}",
            f"{row['memory']:.0f} MB",
        ))  # fmt: skip
    headings = ("task", "client", "a second", "time, ours = 1", "processor, ours = 1", "memory")
    reporting.print_table("From servers and to them", machine, headings, table)
    read_rows = [row for row in rows if row["task"] == "read"]
    if len(read_rows) > 1:
        slowest_ratio = min(row["wall"] / read_rows[0]["wall"] for row in read_rows[1:])
        print(
            "target (3 times faster to a DataFrame): "
            f"{'met' if slowest_ratio >= TARGET else 'MISSED'}"
        )
