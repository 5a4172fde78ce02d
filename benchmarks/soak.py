"""Whether an engine that runs for long stays as it was: memory, open files, promptness.

    python -m benchmarks soak [--minutes 60]

200 events a second come through mosquitto at QoS 1 into `catcher run`, which evaluates ten
thresholds, an alert that holds, and a rule that runs a job 20 times a minute. Every 10 seconds it
looks at resident memory, open file descriptors and the lag of the event loop (from the engine's
own `/metrics`, else from `/proc`). Ends with status 1 if memory or files rise over the second
half, if the loop was late there, or if an event or a run is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import records
from benchmarks.broker import BROKER, publishing
from benchmarks.workloads import ALL, LEVELS
from tests.end_to_end.engine_process import EngineProcess, engine
from tests.servers import mosquitto

PER_SECOND = 200
LOOK = 10.0
MOST_GROWTH = 10.0
"""MB an hour, by a straight line through the second half, or in that half if it is shorter."""
MOST_FILES = 4.0
MOST_LAG = 0.25
"""Seconds: the 99th percentile of a minute's lags, at its worst."""
TOPIC = "soak/airFlow"
RULES = """rule: wind-high
trigger: {telemetry: soak.airFlow, by: salIndex}
alert:
  warning:
    when: mean(speed, "30s") > 13
    for: 1m
    clear: mean(speed, "30s") < 12.5
    clear_for: 1m
  critical: {when: 'mean(speed, "30s") > 15', for: 30s}
---
rule: summary
trigger: {telemetry: soak.airFlow, where: salIndex == 0, every: 3s}
job:
  run: summary
  inputs: {wind: {topic: soak.airFlow, fields: [speed], where: salIndex == 0, last: 1m}}
  timeout: 20s
alert:
  warning: spread > 3
"""
JOB = '''"""A job as trainees write them."""

from catcher import Metric, Result, Series, job


@job
def summary(wind: Series) -> Result:
    """Mean and spread of the wind."""
    speed = wind["speed"]
    document = {"samples": len(wind), "last": float(speed[-1])}
    return Result(
        {"average": Metric(float(speed.mean()), unit="m/s"), "spread": float(speed.std())},
        artifacts={"summary.json": document},
    )
'''


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment: seconds since the start, MB, files, seconds of lag."""

    time: float
    memory: float
    files: float
    lag: float | None


def main(arguments: Sequence[str] = ()) -> None:
    """Runs it and says whether it stayed flat."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak")
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args(list(arguments))
    begun = records.machine()
    with tempfile.TemporaryDirectory() as name:
        looks, problems = soak(Path(name), options.minutes)
    problems += judged(looks)
    last = looks[-1]
    lags = [look.lag for look in _second_half(looks) if look.lag is not None]
    row = {
        "minutes": options.minutes,
        "memory": last.memory,
        "memory_slope": slope([(one.time, one.memory) for one in _second_half(looks)]) * 3600,
        "files": last.files,
        "files_slope": slope([(one.time, one.files) for one in _second_half(looks)]) * 3600,
        "lag_worst": max(lags, default=None),
        "problems": problems,
    }
    records.write("soak", begun, [row])
    print(json.dumps(row, indent=1))
    if problems:
        raise SystemExit("not flat: " + "; ".join(problems))


def soak(folder: Path, minutes: float) -> tuple[list[Look], list[str]]:
    """All looks, and what was lost on the way."""
    count = int(minutes * 60 * PER_SECOND)
    lines = folder / "lines"
    _write_lines(lines, count)
    looks: list[Look] = []
    with mosquitto(folder / "broker", BROKER) as server:
        _write_site(folder / "site", server.port)
        with engine(folder / "site", folder / "data") as running:
            running.until(lambda: running.counts("soak").get("connections"), "the connection")
            with publishing(server.port, TOPIC, 1, lines, str(PER_SECOND)) as begin:
                begun = begin()
                while (since := time.perf_counter() - begun) < minutes * 60:
                    looks.append(look(running, since))
                    print(_told(looks[-1]), flush=True)
                    time.sleep(max(0.0, min(LOOK, minutes * 60 - since)))
            running.until(lambda: running.counts("soak").get("admitted") == count, "all events")
            running.until(running.settled, "the end of all runs")
            return looks, _lost(running, minutes)


def _lost(running: EngineProcess, minutes: float) -> list[str]:
    """Runs that failed or never were."""
    failed = [*running.get("/runs", state="failed"), *running.get("/runs", state="timeout")]
    text = _exposition(running)
    ended = re.findall(r'^catcher_runs_total\{.*"done"\S* (\S+)$', text, re.MULTILINE)
    done = sum(map(float, ended))
    problems = [f"{len(failed)} runs failed"] if failed else []
    if text and done < minutes * 20 * 0.95 - 1:
        problems.append(f"only {done:.0f} runs in {minutes:g} minutes")
    return problems


def look(running: EngineProcess, since: float) -> Look:
    """One look at a running engine."""
    text, process = _exposition(running), Path("/proc", str(running.process.pid))
    memory = _figure(text, "process_resident_memory_bytes")
    if memory is None:
        memory = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files = _figure(text, "process_open_fds")
    if files is None:
        files = len(list((process / "fd").iterdir()))
    lag = _figure(text, r'catcher_loop_lag_seconds\{quantile="0.99"\}')
    return Look(since, memory / 2**20, files, lag)


def _exposition(running: EngineProcess) -> str:
    answer = httpx.get(running.url + "/metrics", trust_env=False, timeout=30)
    return answer.text if answer.status_code == 200 else ""


def _figure(text: str, pattern: str) -> float | None:
    found = re.search(rf"^{pattern} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def judged(looks: Sequence[Look]) -> list[str]:
    """What is not flat."""
    half = _second_half(looks)
    hours = max(1.0, 3600 / max(1.0, half[-1].time - half[0].time)) if len(half) > 1 else 0.0
    problems = []
    for name, most, series in (
        ("MB", MOST_GROWTH, [(one.time, one.memory) for one in half]),
        ("open files", MOST_FILES, [(one.time, one.files) for one in half]),
    ):
        grown = slope(series) * 3600 / hours
        if grown > most:
            problems.append(f"{grown:.1f} {name} more")
    worst = max((one.lag for one in half if one.lag is not None), default=0.0)
    if worst > MOST_LAG:
        problems.append(f"the loop was {worst * 1e3:.0f} ms late")
    return problems


def _second_half(looks: Sequence[Look]) -> Sequence[Look]:
    return looks[len(looks) // 2 :]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the least-squares line; 0 through fewer than two points."""
    if len(points) < 2:
        return 0.0
    times = sum(time for time, _ in points) / len(points)
    values = sum(value for _, value in points) / len(points)
    spread = sum((time - times) ** 2 for time, _ in points)
    return sum((time - times) * (value - values) for time, value in points) / (spread or 1.0)


def _told(look: Look) -> str:
    lag = "" if look.lag is None else f", lag p99 {look.lag * 1e3:.1f} ms"
    return f"{look.time:7.0f} s: {look.memory:7.1f} MB, {look.files:.0f} files{lag}"


def _write_lines(path: Path, count: int) -> None:
    walk = ALL["holds"].samples(min(count, 200_000))
    with path.open("w") as lines:
        for number in range(count):
            sample = walk[number % len(walk)]
            row = {"salIndex": sample["salIndex"], "speed": sample["speed"], "number": number}
            lines.write(json.dumps(row) + "\n")


def _write_site(site: Path, port: int) -> None:
    for folder in ("rules", "jobs"):
        (site / folder).mkdir(parents=True)
    (site / "catcher.yaml").write_text(
        f"site: soak\nsources:\n  soak:\n    mqtt:\n      host: 127.0.0.1\n      port: {port}\n"
        '      qos: 1\n      topics: {"soak/+": "soak.{1}"}\n'
    )
    thresholds = [
        f"rule: r{number}\n"
        f"trigger: {{telemetry: soak.airFlow, by: salIndex, when: speed > {limit}}}\n"
        for number, limit in enumerate(LEVELS)
    ]
    (site / "rules" / "rules.yaml").write_text("---\n".join([RULES, *thresholds]))
    (site / "jobs" / "summary.py").write_text(JOB)


if __name__ == "__main__":
    main(sys.argv[1:])
