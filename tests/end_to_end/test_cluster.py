"""`catcher run` beside a Dask cluster whose workers and scheduler are killed with -9."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.engine_process import EngineProcess, engine
from tests.executors.dask_cluster import Cluster, cluster
from tests.small_site import write_site

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
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, each with one thread; the tests take them away, one after the other."""
    with cluster(tmp_path_factory.mktemp("dask"), workers=2) as one:
        yield one


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, there: Cluster) -> Iterator[EngineProcess]:
    folder, settings = tmp_path_factory.mktemp("engine"), SETTINGS.format(url=there.url)
    site = write_site(folder / "site", RULES, settings=settings, jobs=JOBS)
    with engine(site, folder / "data") as one:
        one.until(lambda: health(one)["counts"]["workers"] == 2, "the workers' coming")
        yield one


def health(one: EngineProcess) -> dict[str, Any]:
    """What the engine says of its cluster."""
    found: dict[str, Any] = next(row for row in one.get("/health") if row["name"] == "dask")
    return found


def post(one: EngineProcess, topic: str, **fields: Any) -> None:
    assert one.post("/events", {"topic": topic, "fields": fields}).status_code == 202


def expose(one: EngineProcess, name: str) -> Path:
    """Twelve images of an exposure, and the event that it was read out."""
    folder = one.data / "images" / name
    folder.mkdir(parents=True)
    for number, detector in enumerate(DETECTORS):
        (folder / f"{detector}.txt").write_text(str(number))
    post(one, "readout", image=name)
    return folder


def executions(folder: Path) -> list[str]:
    note = folder / "executions"
    return note.read_text().split() if note.exists() else []


def whole(one: EngineProcess, rule: str = "visits", number: int = 1) -> list[dict[str, Any]]:
    """The runs of a rule that are over, once there are so many, parts left out."""

    def over() -> list[dict[str, Any]]:
        runs = [run for run in one.get("/runs", rule=rule, limit=500) if not run["part"]]
        done = [run for run in runs if run["finished"]]
        return done if len(done) >= number else []

    found: list[dict[str, Any]] = one.until(over, f"the end of {number} runs of {rule}")
    return found


def test_a_worker_killed_in_mid_visit_and_the_visit_completes_once(
    running: EngineProcess, there: Cluster
) -> None:
    folder = expose(running, "a")
    running.until(lambda: len(executions(folder)) == 2, "the first parts")
    there.workers[0].kill()
    (folder / "gate").touch()
    (visit,) = whole(running)
    assert (visit["state"], visit["metrics"]["seen"]) == ("done", 12)
    assert visit["metrics"]["level"] == sum(range(12))
    parts = [run for run in running.get("/runs", rule="visits", limit=500) if run["part"]]
    assert sorted((run["part"], run["state"]) for run in parts) == [(d, "done") for d in DETECTORS]
    # One was under way on the worker that died; it alone was begun a second time.
    assert len(executions(folder)) == 13


def test_without_the_scheduler_what_must_be_done_is_and_the_rest_comes_later(
    running: EngineProcess, there: Cluster
) -> None:
    post(running, "number", value=1)
    assert whole(running, "urgent")[0]["note"] != str(running.process.pid)
    whole(running, "patient")
    whole(running, "now-or-never")
    there.kill()
    running.until(lambda: health(running)["state"] == "away", "the loss")
    post(running, "number", value=2)
    assert whole(running, "urgent", 2)[0]["metrics"]["twice"] == 4
    assert whole(running, "now-or-never", 2)[0]["state"] == "skipped"
    folder = expose(running, "b")
    (folder / "gate").touch()
    visit = whole(running, "visits", 2)[0]
    assert (visit["observation"], visit["metrics"]["seen"], executions(folder)) == ("b", 1, ["R03"])
    waiting = running.get("/runs", state="pending", limit=500)
    assert sorted(run["rule"] for run in waiting) == ["patient", *["visits"] * 11]
    running.until(lambda: running.get("/alerts", rule="cluster-away"), "the alert")
    there.start_scheduler()
    there.start_worker()
    done = whole(running, "patient", 2)
    assert [run["metrics"]["twice"] for run in done] == [4, 2]
    running.until(running.settled, "what was left to be done")
    assert sorted(executions(folder)) == DETECTORS
    (alert,) = running.get("/alerts", rule="cluster-away")
    running.until(
        lambda: running.get("/alerts", rule="cluster-away")[0]["state"] == "resolved", "its end"
    )
    assert "the scheduler tcp://127.0.0.1:" in alert["message"]
