"""A run in parts: each detector by itself, then the visit from what came in."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from catcher.model.event import Event
from catcher.model.rule import GatherSpec, InputSpec
from catcher.model.run import Run
from catcher.model.time import MILLISECOND
from catcher.ports import Query
from tests.jobs.conftest import TOPIC, JobHarness, create_job_rule

DETECTOR_JOB = """
    @job
    def one(frame, detector: str, observation: Observation):
        text = frame.read_text()
        assert observation.id in str(frame)
        return Result({"fwhm": Metric(float(text), "pix")}, artifacts={"seen.txt": detector})
"""
SUMMARY_JOB = """
    @job
    def visit(parts, missing, observation: Observation, scale: float = 1.0):
        worst = max(part.metrics["fwhm"].value for part in parts.values())
        return Result(
            {"fwhm": worst * scale, "seen": len(parts)},
            artifacts={"missing.json": dict(missing)},
            note=observation.id,
        )
"""


def write_frames(harness: JobHarness, exposure: str, **frames: str) -> None:
    """The images of an exposure, by detector."""
    folder = harness.site / "images" / exposure
    folder.mkdir(parents=True)
    for detector, text in frames.items():
        (folder / f"{detector}.txt").write_text(text)


async def run_to_completion(
    harness: JobHarness, event: Event, files: dict[str, str], **spec: Any
) -> Run:
    """The whole, when it is over; its parts are in `harness.reported`."""
    spec = {"inputs": {"frame": InputSpec(image="exposure")}, "each": "detector", **spec}
    async with harness.create_scheduler(create_job_rule(**spec), **files) as scheduler:
        scheduler.submit(await harness.create_pending_run(event=event))
        await harness.wait_until(lambda runs: any(not run.parent for run in runs))
    return next(run for run in harness.reported_runs if not run.parent)


async def test_each_detector_is_a_part_with_a_result_of_its_own(harness: JobHarness) -> None:
    write_frames(harness, "a", R10="1.0", R11="2.0", R12="4.0")
    parent = await run_to_completion(
        harness, await harness.declare_exposure("a"), {"one": DETECTOR_JOB}
    )
    parts = sorted(harness.reported_runs[:-1], key=lambda run: run.part)
    assert [run.part for run in parts] == ["R10", "R11", "R12"]
    assert {run.parent for run in parts} == {parent.id}
    assert parts[0].id == f"{parent.id}.R10"
    assert parts[0].metrics["fwhm"].labels == {"detector": "R10"}
    assert parts[1].artifacts[0].key == f"r/2023/07/28/{parent.id}/R11/seen.txt"
    assert parts[2].inputs[0].address.endswith("/images/a/R12.txt")
    # What was read is checked where it was read, by the worker.
    assert (parts[2].inputs[0].samples, parts[2].inputs[0].checksum) == (
        3, f"sha256:{hashlib.sha256(b'4.0').hexdigest()}"
    )  # fmt: skip
    points = await harness.ledger.list_metrics(Query(rule="r", name="fwhm"))
    assert sorted(point.labels["detector"] for point in points) == ["R10", "R11", "R12"]


async def test_without_a_reduce_job_the_parent_has_min_median_and_max(harness: JobHarness) -> None:
    write_frames(harness, "a", R10="1.0", R11="2.0", R12="4.0", R13="no number")
    parent = await run_to_completion(
        harness, await harness.declare_exposure("a"), {"one": DETECTOR_JOB}
    )
    values = {name: metric.value for name, metric in parent.metrics.items()}
    assert values == {
        "parts": 3, "parts_missing": 1, "fwhm_min": 1.0, "fwhm_median": 2.0, "fwhm_max": 4.0
    }  # fmt: skip
    assert parent.metrics["fwhm_max"].unit == "pix"
    assert parent.note.startswith("missing: R13 (ValueError: could not convert")


async def test_a_reduce_job_gets_the_parts_and_the_missing_ones(harness: JobHarness) -> None:
    write_frames(harness, "a", R10="1.0", R11="2.0", R13="no number")
    parent = await run_to_completion(
        harness,
        await harness.declare_exposure("a"),
        {"one": DETECTOR_JOB, "visit": SUMMARY_JOB},
        gather=GatherSpec("visit", arguments={"scale": 10.0}),
    )
    assert parent.state == "done"
    assert {name: metric.value for name, metric in parent.metrics.items()} == {
        "fwhm": 20.0, "seen": 2.0
    }  # fmt: skip
    assert parent.note.startswith("a; missing: R13")
    assert b"ValueError" in await harness.objects.get(parent.artifacts[0].key)
    assert parent.artifacts[0].key == f"r/2023/07/28/{parent.id}/missing.json"


async def test_max_wait_ends_and_the_late_part_is_still_stored(harness: JobHarness) -> None:
    job = """
        @job
        async def one(frame, detector, gate):
            if detector == "R11":
                await gate.wait()
            return {"fwhm": 1.0}
    """
    write_frames(harness, "a", R10="", R11="")
    gate = asyncio.Event()
    rule = create_job_rule(
        inputs={"frame": InputSpec(image="exposure")},
        each="detector",
        arguments={"gate": gate},
        gather=GatherSpec("visit", max_wait=300 * MILLISECOND),
    )
    async with harness.create_scheduler(rule, one=job, visit=SUMMARY_JOB) as scheduler:
        scheduler.submit(
            await harness.create_pending_run(event=await harness.declare_exposure("a"))
        )
        await harness.wait_until(lambda runs: len(runs) == 2)
        assert [run.part for run in harness.reported_runs] == ["R10", ""]
        assert harness.reported_runs[1].note == "a; missing: R11 (not done in time)"
        gate.set()
        await harness.wait_until(lambda runs: len(runs) == 3)
    assert (harness.reported_runs[2].part, harness.reported_runs[2].state) == ("R11", "done")


@pytest.mark.parametrize("killed", [False, True])
async def test_a_late_part_is_done_by_the_next_engine(harness: JobHarness, killed: bool) -> None:
    job = """
        @job
        async def one(frame, detector, gate):
            if detector == "R11":
                await gate.wait()
            return {"fwhm": 1.0}
    """
    write_frames(harness, "a", R10="", R11="")
    gate = asyncio.Event()
    rule = create_job_rule(
        inputs={"frame": InputSpec(image="exposure")},
        each="detector",
        arguments={"gate": gate},
        gather=GatherSpec("visit", max_wait=300 * MILLISECOND),
    )
    async with harness.create_scheduler(rule, one=job, visit=SUMMARY_JOB) as scheduler:
        scheduler.submit(
            await harness.create_pending_run(event=await harness.declare_exposure("a"))
        )
        await harness.wait_until(lambda runs: any(not run.parent for run in runs))
        if not killed:
            await scheduler.drain_and_cancel(timeout=MILLISECOND)
    (late_part,) = await harness.ledger.list_runs(Query(state="pending"))
    assert (late_part.part, late_part.parent) == ("R11", harness.reported_runs[-1].id)
    gate.set()
    async with harness.create_scheduler(rule, one=job, visit=SUMMARY_JOB) as scheduler:
        scheduler.recover_runs([late_part])
        await harness.wait_until(lambda runs: runs[-1].part == "R11")
    assert (harness.reported_runs[-1].id, harness.reported_runs[-1].state) == (late_part.id, "done")
    assert await harness.read_state(late_part) == "done"
    assert len(await harness.ledger.list_metrics(Query(rule="r", name="fwhm"))) == 3


async def test_parts_whose_names_are_alike_have_runs_and_artifacts_of_their_own(
    harness: JobHarness,
) -> None:
    frames = {"R22 S11": "1.0", "R22_S11": "2.0", "R22:S11": "4.0"}
    write_frames(harness, "a", **frames)
    await run_to_completion(harness, await harness.declare_exposure("a"), {"one": DETECTOR_JOB})
    parts = {run.part: run for run in harness.reported_runs[:-1]}
    assert {part: run.metrics["fwhm"].value for part, run in parts.items()} == {
        part: float(text) for part, text in frames.items()
    }
    assert len({run.id for run in parts.values()}) == 3
    assert len({run.artifacts[0].key for run in parts.values()}) == 3
    assert len(await harness.ledger.list_runs(Query())) == 4


async def test_the_telemetry_of_all_parts_is_read_once(harness: JobHarness) -> None:
    job = """
        @job
        async def one(frame, azimuth: Series, seen: list):
            seen.append(id(azimuth))
    """
    write_frames(harness, "a", R10="", R11="", R12="")
    await harness.append_telemetry([{"position": 1.0}])
    inputs = {"frame": InputSpec(image="exposure"), "azimuth": InputSpec(topic=TOPIC, last=10**9)}
    series_ids: list[int] = []
    await run_to_completion(
        harness,
        await harness.declare_exposure("a"),
        {"one": job},
        inputs=inputs,
        arguments={"seen": series_ids},
    )
    assert (len(series_ids), len(set(series_ids))) == (3, 1)
    assert {len(run.inputs) for run in harness.reported_runs if run.parent} == {3}


async def test_when_no_part_is_done_the_parent_has_failed(harness: JobHarness) -> None:
    write_frames(harness, "a", R10="x", R11="y")
    parent = await run_to_completion(
        harness, await harness.declare_exposure("a"), {"one": DETECTOR_JOB, "visit": SUMMARY_JOB},
        gather=GatherSpec("visit"),
    )  # fmt: skip
    assert parent.state == "failed"
    assert parent.error.startswith("none of the 2 parts was done; R10: ValueError")


async def test_a_site_whose_images_are_not_split_has_one_part(harness: JobHarness) -> None:
    write_frames(harness, "a", whole="3.0")
    path = f"{harness.site}/images/{{id}}/whole.txt"
    harness.use_images(path)
    parent = await run_to_completion(
        harness, await harness.declare_exposure("a"), {"one": DETECTOR_JOB}
    )
    assert [run.part for run in harness.reported_runs] == ["all", ""]
    assert parent.metrics["fwhm_max"].value == 3.0


async def test_images_that_are_not_there_yet_are_retried(harness: JobHarness) -> None:
    parent = await run_to_completion(
        harness, await harness.declare_exposure("a"), {"one": DETECTOR_JOB}, retry=2
    )
    assert (parent.state, harness.pauses) == ("failed", [1.0, 2.0])
    assert parent.error.startswith("no detector of exposure a has an image; it was looked for at")


async def test_without_an_observation_there_are_no_parts(harness: JobHarness) -> None:
    parent = await run_to_completion(
        harness, Event(TOPIC, harness.clock(), {}), {"one": DETECTOR_JOB}
    )
    assert "there are no parts: no observation is known for imageName=None" in parent.error


async def test_a_stop_ends_the_parts_too(harness: JobHarness) -> None:
    job = """
        @job
        async def one(frame, entered):
            entered.put_nowait(1)
            import asyncio
            await asyncio.Event().wait()
    """
    write_frames(harness, "a", R10="", R11="")
    entered: asyncio.Queue[int] = asyncio.Queue()
    rule = create_job_rule(
        inputs={"frame": InputSpec(image="exposure")},
        each="detector",
        arguments={"entered": entered},
    )
    async with harness.create_scheduler(rule, one=job) as scheduler:
        run = await harness.create_pending_run(event=await harness.declare_exposure("a"))
        scheduler.submit(run)
        await entered.get()
        await entered.get()
        assert await scheduler.drain_and_cancel(timeout=MILLISECOND) == 1
    assert (harness.reported_runs, await harness.read_state(run)) == ([], "running")
