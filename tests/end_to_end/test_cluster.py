"""`catcher run` beside a Dask cluster whose workers and scheduler are killed with -9."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.engine_process import EngineProcess, run_engine
from tests.executors.dask_cluster import DaskCluster, run_cluster
from tests.sample_site import write_site

DETECTORS = [f"R{n:02}" for n in range(12)]
SETTINGS = """
site: small
executor: {{dask: {{url: "{url}"}}}}
limits: {{workers: 1}}
observations:
  exposure: {{event: readout, id: image, image: "images/{{id}}/{{detector}}.txt"}}
"""
RULES = """
rule: visits
trigger: {event: readout, once_per: image}
job:
  run: measure
  inputs: {frame: {image: exposure}}
  each: detector
  gather: {run: total}
  degraded: {detectors: [R03]}
---
rule: urgent
trigger: {event: number, where: value > 0}
job: {run: twice, critical: true}
---
rule: patient
trigger: {event: number, where: value > 0}
job: {run: twice}
---
rule: now-or-never
trigger: {event: number, where: value > 0}
job: {run: twice, degraded: {rest: skip}}
---
rule: cluster-away
trigger: {telemetry: catcher.health, by: part}
alert:
  warning: role == "executor" and state == "away"
  message: "{{ part }} is {{ state }}: {{ problem }}"
"""
JOBS = '''
"""Jobs for workers anywhere."""

import os, time
from pathlib import Path
from catcher import Event, Metric, Result, job


@job
def twice(event: Event) -> Result:
    return Result({"twice": 2.0 * event.fields["value"]}, note=str(os.getppid()))


@job
def measure(frame: Path, detector: str) -> Result:
    """Leaves a note of each execution, and waits for the gate."""
    note = frame.parent / "executions"
    with note.open("a") as stream:
        stream.write(f"{detector}\\n")
    while not (frame.parent / "gate").exists():
        time.sleep(0.01)
    return Result({"level": Metric(float(frame.read_text()), "adu")})


@job
def total(parts, missing) -> Result:
    return Result({"level": sum(one.metrics["level"].value for one in parts.values()),
                   "seen": len(parts)})
'''


@pytest.fixture(scope="module")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Two workers, each with one thread; the tests take them away, one after the other."""
    with run_cluster(tmp_path_factory.mktemp("dask"), workers=2) as started_cluster:
        yield started_cluster


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, dask_cluster: DaskCluster
) -> Iterator[EngineProcess]:
    folder, settings = tmp_path_factory.mktemp("engine"), SETTINGS.format(url=dask_cluster.url)
    site = write_site(folder / "site", RULES, settings=settings, jobs=JOBS)
    with run_engine(site, folder / "data") as process:
        process.wait_until(
            lambda: get_cluster_health(process)["counts"]["workers"] == 2, "the workers' coming"
        )
        yield process


def get_cluster_health(engine_process: EngineProcess) -> dict[str, Any]:
    """What the engine says of its cluster."""
    row: dict[str, Any] = next(
        row for row in engine_process.get("/health") if row["name"] == "dask"
    )
    return row


def post_event(engine_process: EngineProcess, topic: str, **fields: Any) -> None:
    assert engine_process.post("/events", {"topic": topic, "fields": fields}).status_code == 202


def post_exposure(engine_process: EngineProcess, name: str) -> Path:
    """Twelve images of an exposure, and the event that it was read out."""
    folder = engine_process.data / "images" / name
    folder.mkdir(parents=True)
    for number, detector in enumerate(DETECTORS):
        (folder / f"{detector}.txt").write_text(str(number))
    post_event(engine_process, "readout", image=name)
    return folder


def read_executions(folder: Path) -> list[str]:
    log_file = folder / "executions"
    return log_file.read_text().split() if log_file.exists() else []


def wait_for_runs(
    engine_process: EngineProcess, rule: str = "visits", count: int = 1
) -> list[dict[str, Any]]:
    """The runs of a rule that are over, once there are so many, parts left out."""

    def list_finished() -> list[dict[str, Any]]:
        runs = [run for run in engine_process.get("/runs", rule=rule, limit=500) if not run["part"]]
        finished = [run for run in runs if run["finished"]]
        return finished if len(finished) >= count else []

    runs: list[dict[str, Any]] = engine_process.wait_until(
        list_finished, f"the end of {count} runs of {rule}"
    )
    return runs


def test_visit_completes_once_although_a_worker_is_killed(
    running: EngineProcess, dask_cluster: DaskCluster
) -> None:
    folder = post_exposure(running, "a")
    running.wait_until(lambda: len(read_executions(folder)) == 2, "the first parts")
    dask_cluster.workers[0].kill()
    (folder / "gate").touch()
    (visit,) = wait_for_runs(running)
    assert (visit["state"], visit["metrics"]["seen"]) == ("done", 12)
    assert visit["metrics"]["level"] == sum(range(12))
    parts = [run for run in running.get("/runs", rule="visits", limit=500) if run["part"]]
    assert sorted((run["part"], run["state"]) for run in parts) == [
        (detector, "done") for detector in DETECTORS
    ]
    # One was under way on the worker that died; it alone was begun a second time.
    assert len(read_executions(folder)) == 13


def test_without_the_scheduler_critical_jobs_run_and_the_rest_waits(
    running: EngineProcess, dask_cluster: DaskCluster
) -> None:
    post_event(running, "number", value=1)
    assert wait_for_runs(running, "urgent")[0]["note"] != str(running.process.pid)
    wait_for_runs(running, "patient")
    wait_for_runs(running, "now-or-never")
    dask_cluster.kill_all()
    running.wait_until(lambda: get_cluster_health(running)["state"] == "away", "the loss")
    post_event(running, "number", value=2)
    assert wait_for_runs(running, "urgent", 2)[0]["metrics"]["twice"] == 4
    assert wait_for_runs(running, "now-or-never", 2)[0]["state"] == "skipped"
    folder = post_exposure(running, "b")
    (folder / "gate").touch()
    visit = wait_for_runs(running, "visits", 2)[0]
    assert (visit["observation"], visit["metrics"]["seen"], read_executions(folder)) == (
        "b",
        1,
        ["R03"],
    )
    waiting = running.get("/runs", state="pending", limit=500)
    assert sorted(run["rule"] for run in waiting) == ["patient", *["visits"] * 11]
    running.wait_until(lambda: running.get("/alerts", rule="cluster-away"), "the alert")
    dask_cluster.start_scheduler()
    dask_cluster.start_worker()
    runs = wait_for_runs(running, "patient", 2)
    assert [run["metrics"]["twice"] for run in runs] == [4, 2]
    running.wait_until(running.is_idle, "what was left to be done")
    assert sorted(read_executions(folder)) == DETECTORS
    (alert,) = running.get("/alerts", rule="cluster-away")
    running.wait_until(
        lambda: running.get("/alerts", rule="cluster-away")[0]["state"] == "resolved", "its end"
    )
    assert "the scheduler tcp://127.0.0.1:" in alert["message"]
