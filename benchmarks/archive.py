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

from benchmarks import archive_clients, installing, records
from tests.servers import S3_KEYS, influx_write, influxd, s3, victoria_metrics

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
    said = parser.parse_args(options)
    if said.run:
        print(json.dumps(asyncio.run(measured(said.run, json.loads(said.given)))))
        return
    begun, missing = records.machine(), installing.install(NEEDED)
    for name, why in missing.items():
        print(f"{name} could not be had: {why}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="catcher-bench-") as name:
        for task, clients, given in _tasks(Path(name), said):
            known = [one for one in clients if one.split(" ")[0] not in missing]
            rows += _raced(task, known, given, said.rounds)
    records.write("archive", begun, rows)
    _show(begun, rows)


Task = tuple[str, Sequence[str], dict[str, Any]]


def _tasks(folder: Path, said: argparse.Namespace) -> Iterator[Task]:
    """What is to be done, by whom, with what; the servers run meanwhile."""
    with influxd(folder / "influx", ("efd", "metrics")) as server:
        influx_write(server.port, "efd", _lines(said.rows))
        given = {"url": f"http://127.0.0.1:{server.port}", "topic": TOPIC, "rows": said.rows}
        yield "read", ("Catcher", "aioinflux", "influxdb (1.x)"), given
        given = {"url": given["url"], "points": said.points}
        yield "write to 1.x", ("Catcher", "influxdb (1.x)"), given
    with victoria_metrics(folder / "victoria") as server:
        given = {"url": f"http://127.0.0.1:{server.port}", "points": said.points}
        yield "write to v2", ("Catcher", "influxdb-client"), given
    with s3(folder / "s3") as server:
        given = {"url": f"http://127.0.0.1:{server.port}", "keys": list(S3_KEYS)}
        for count, size in ((200, 64 * 1024), (4, 32 * 2**20)):
            what = f"{count} objects of {size // 1024} KiB"
            yield what, ("Catcher", "boto3"), {**given, "count": count, "size": size}


def _lines(rows: int) -> Iterator[str]:
    for n in range(rows):
        actual = 180 * math.sin(n / 1e4)
        fields = f"actualPosition={actual},demandPosition={round(actual, 4)}"
        more = f"actualTorque={n % 977 * 0.137},actualVelocity={math.cos(n / 1e4)}"
        yield f"{TOPIC} salIndex=0i,{fields},{more} {START + n * STEP}"


def _raced(
    task: str, clients: Sequence[str], given: dict[str, Any], rounds: int
) -> list[dict[str, Any]]:
    """Round-robin, so that a slow minute of the machine meets all of them; medians count."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name in clients:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "archive",
                "--run", f"{task}|{name}", "--with", json.dumps(given)]  # fmt: skip
            done = subprocess.run(
                command, env=installing.environment(NEEDED), stdout=subprocess.PIPE, check=False
            )
            with contextlib.suppress(ValueError, IndexError):
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = []
    for name, results in found.items():
        if not results:
            print(f"{task}: {name} failed")
            continue
        rows.append({
            "task": task, "client": name,
            **{key: records.median(one[key] for one in results) for key in results[0]},
        })  # fmt: skip
    return rows


async def measured(which: str, given: dict[str, Any]) -> dict[str, float]:
    """Wall and processor seconds of one client for one task, and megabytes it grew."""
    task, name = which.split("|")
    work: Callable[[dict[str, Any]], Any] = archive_clients.find(task, name)
    before = archive_clients.resident()
    wall, processor = time.perf_counter(), time.process_time()
    done = await work(given)
    return {
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "memory": archive_clients.resident() - before,
        "done": done,
    }


def _show(begun: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    table = []
    for row in rows:
        ours = next(one for one in rows if one["task"] == row["task"])
        table.append((
            row["task"], row["client"], f"{row['done'] / row['wall']:,.0f}",
            f"{row['wall'] / ours['wall']:.2f}", f"{row['processor'] / ours['processor']:.2f}",
            f"{row['memory']:.0f} MB",
        ))  # fmt: skip
    headings = ("task", "client", "a second", "time, ours = 1", "processor, ours = 1", "memory")
    records.show("From servers and to them", begun, headings, table)
    read = [row for row in rows if row["task"] == "read"]
    if len(read) > 1:
        least = min(row["wall"] / read[0]["wall"] for row in read[1:])
        print(f"target (3 times faster to a DataFrame): {'met' if least >= TARGET else 'MISSED'}")
