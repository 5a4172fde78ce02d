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

from benchmarks import reporting
from benchmarks.broker import BROKER_CONFIG, open_publisher
from benchmarks.workloads import ALL, THRESHOLDS
from tests.end_to_end.engine_process import EngineProcess, run_engine
from tests.servers import run_mosquitto

EVENTS_PER_SECOND = 200
SAMPLE_INTERVAL = 10.0
MAX_MEMORY_GROWTH = 10.0
"""MB an hour, by a straight line through the second half, or in that half if it is shorter."""
MAX_FILE_GROWTH = 4.0
MAX_LAG = 0.25
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
JOB_SOURCE = '''"""A job as trainees write them."""

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
class ResourceSample:
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
    machine = reporting.describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        samples, problems = run_soak(Path(folder), options.minutes)
    problems += find_problems(samples)
    last_sample = samples[-1]
    lags = [sample.lag for sample in _second_half(samples) if sample.lag is not None]
    row = {
        "minutes": options.minutes,
        "memory": last_sample.memory,
        "memory_slope": fit_slope(
            [(sample.time, sample.memory) for sample in _second_half(samples)]
        )
        * 3600,
        "files": last_sample.files,
        "files_slope": fit_slope([(sample.time, sample.files) for sample in _second_half(samples)])
        * 3600,
        "lag_worst": max(lags, default=None),
        "problems": problems,
    }
    reporting.write_results("soak", machine, [row])
    print(json.dumps(row, indent=1))
    if problems:
        raise SystemExit("not flat: " + "; ".join(problems))


def run_soak(folder: Path, minutes: float) -> tuple[list[ResourceSample], list[str]]:
    """All looks, and what was lost on the way."""
    count = int(minutes * 60 * EVENTS_PER_SECOND)
    lines = folder / "lines"
    _write_lines(lines, count)
    samples: list[ResourceSample] = []
    with run_mosquitto(folder / "broker", BROKER_CONFIG) as server:
        _write_site(folder / "site", server.port)
        with run_engine(folder / "site", folder / "data") as process:
            process.wait_until(
                lambda: process.get_counts("soak").get("connections"), "the connection"
            )
            with open_publisher(
                server.port, TOPIC, 1, lines, str(EVENTS_PER_SECOND)
            ) as start_publishing:
                start = start_publishing()
                while (elapsed := time.perf_counter() - start) < minutes * 60:
                    samples.append(take_sample(process, elapsed))
                    print(_format_sample(samples[-1]), flush=True)
                    time.sleep(max(0.0, min(SAMPLE_INTERVAL, minutes * 60 - elapsed)))
            process.wait_until(
                lambda: process.get_counts("soak").get("admitted") == count, "all events"
            )
            process.wait_until(process.is_idle, "the end of all runs")
            return samples, _find_run_problems(process, minutes)


def _find_run_problems(process: EngineProcess, minutes: float) -> list[str]:
    """Runs that failed or never were."""
    failed = [*process.get("/runs", state="failed"), *process.get("/runs", state="timeout")]
    metrics_text = _fetch_metrics(process)
    done_counts = re.findall(r'^catcher_runs_total\{.*"done"\S* (\S+)$', metrics_text, re.MULTILINE)
    done_count = sum(map(float, done_counts))
    problems = [f"{len(failed)} runs failed"] if failed else []
    if metrics_text and done_count < minutes * 20 * 0.95 - 1:
        problems.append(f"only {done_count:.0f} runs in {minutes:g} minutes")
    return problems


def take_sample(engine: EngineProcess, elapsed: float) -> ResourceSample:
    """One look at a running engine."""
    metrics_text, process_folder = _fetch_metrics(engine), Path("/proc", str(engine.process.pid))
    memory = _parse_metric(metrics_text, "process_resident_memory_bytes")
    if memory is None:
        memory = int((process_folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    files = _parse_metric(metrics_text, "process_open_fds")
    if files is None:
        files = len(list((process_folder / "fd").iterdir()))
    lag = _parse_metric(metrics_text, r'catcher_event_loop_lag_seconds\{quantile="0.99"\}')
    return ResourceSample(elapsed, memory / 2**20, files, lag)


def _fetch_metrics(process: EngineProcess) -> str:
    response = httpx.get(process.url + "/metrics", trust_env=False, timeout=30)
    return response.text if response.status_code == 200 else ""


def _parse_metric(text: str, pattern: str) -> float | None:
    match = re.search(rf"^{pattern} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else None


def find_problems(samples: Sequence[ResourceSample]) -> list[str]:
    """What is not flat."""
    later_samples = _second_half(samples)
    hours = (
        max(1.0, 3600 / max(1.0, later_samples[-1].time - later_samples[0].time))
        if len(later_samples) > 1
        else 0.0
    )
    problems = []
    for name, limit, series in (
        ("MB", MAX_MEMORY_GROWTH, [(sample.time, sample.memory) for sample in later_samples]),
        ("open files", MAX_FILE_GROWTH, [(sample.time, sample.files) for sample in later_samples]),
    ):
        growth = fit_slope(series) * 3600 / hours
        if growth > limit:
            problems.append(f"{growth:.1f} {name} more")
    worst = max((sample.lag for sample in later_samples if sample.lag is not None), default=0.0)
    if worst > MAX_LAG:
        problems.append(f"the loop was {worst * 1e3:.0f} ms late")
    return problems


def _second_half(samples: Sequence[ResourceSample]) -> Sequence[ResourceSample]:
    return samples[len(samples) // 2 :]


def fit_slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the least-squares line; 0 through fewer than two points."""
    if len(points) < 2:
        return 0.0
    mean_time = sum(time for time, _ in points) / len(points)
    mean_value = sum(value for _, value in points) / len(points)
    variance_sum = sum((time - mean_time) ** 2 for time, _ in points)
    return sum((time - mean_time) * (value - mean_value) for time, value in points) / (
        variance_sum or 1.0
    )


def _format_sample(sample: ResourceSample) -> str:
    lag = "" if sample.lag is None else f", lag p99 {sample.lag * 1e3:.1f} ms"
    return f"{sample.time:7.0f} s: {sample.memory:7.1f} MB, {sample.files:.0f} files{lag}"


def _write_lines(path: Path, count: int) -> None:
    walk = ALL["holds"].generate_samples(min(count, 200_000))
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
        for number, limit in enumerate(THRESHOLDS)
    ]
    (site / "rules" / "rules.yaml").write_text("---\n".join([RULES, *thresholds]))
    (site / "jobs" / "summary.py").write_text(JOB_SOURCE)


if __name__ == "__main__":
    main(sys.argv[1:])
