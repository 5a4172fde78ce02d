"""A run in parts: each detector by itself, then the visit from what came in."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from catcher.model.event import Event
from catcher.model.rule import Gather, Input
from catcher.model.run import Run
from catcher.model.time import MILLISECOND
from catcher.ports import Query
from tests.working.conftest import TOPIC, World, job_rule

DETECTOR = """
    @job
    def one(frame, detector: str, observation: Observation):
        text = frame.read_text()
        assert observation.id in str(frame)
        return Result({"fwhm": Metric(float(text), "pix")}, artifacts={"seen.txt": detector})
"""
SUMMARY = """
    @job
    def visit(parts, missing, observation: Observation, scale: float = 1.0):
        worst = max(part.metrics["fwhm"].value for part in parts.values())
        return Result(
            {"fwhm": worst * scale, "seen": len(parts)},
            artifacts={"missing.json": dict(missing)},
            note=observation.id,
        )
"""


def write_frames(world: World, exposure: str, **frames: str) -> None:
    """The images of an exposure, by detector."""
    folder = world.site / "images" / exposure
    folder.mkdir(parents=True)
    for detector, text in frames.items():
        (folder / f"{detector}.txt").write_text(text)


async def carried_out(world: World, event: Event, files: dict[str, str], **spec: Any) -> Run:
    """The whole, when it is over; its parts are in `world.reported`."""
    spec = {"inputs": {"frame": Input(image="exposure")}, "each": "detector", **spec}
    async with world.workshop(job_rule(**spec), **files) as shop:
        shop.submit(await world.pending(event=event))
        await world.until(lambda runs: any(not run.parent for run in runs))
    return next(run for run in world.reported if not run.parent)


async def test_each_detector_is_a_part_with_a_result_of_its_own(world: World) -> None:
    write_frames(world, "a", R10="1.0", R11="2.0", R12="4.0")
    whole = await carried_out(world, await world.exposure("a"), {"one": DETECTOR})
    parts = sorted(world.reported[:-1], key=lambda run: run.part)
    assert [run.part for run in parts] == ["R10", "R11", "R12"]
    assert {run.parent for run in parts} == {whole.id}
    assert parts[0].id == f"{whole.id}.R10"
    assert parts[0].metrics["fwhm"].labels == {"detector": "R10"}
    assert parts[1].artifacts[0].key == f"r/2023/07/28/{whole.id}/R11/seen.txt"
    assert parts[2].inputs[0].address.endswith("/images/a/R12.txt")
    # What was read is checked where it was read, by the worker.
    assert (parts[2].inputs[0].samples, parts[2].inputs[0].checksum) == (
        3, f"sha256:{hashlib.sha256(b'4.0').hexdigest()}"
    )  # fmt: skip
    points = await world.ledger.metrics(Query(rule="r", name="fwhm"))
    assert sorted(point.labels["detector"] for point in points) == ["R10", "R11", "R12"]


async def test_without_a_gather_job_the_whole_has_least_median_and_greatest(world: World) -> None:
    write_frames(world, "a", R10="1.0", R11="2.0", R12="4.0", R13="no number")
    whole = await carried_out(world, await world.exposure("a"), {"one": DETECTOR})
    values = {name: metric.value for name, metric in whole.metrics.items()}
    assert values == {
        "parts": 3, "parts_missing": 1, "fwhm_min": 1.0, "fwhm_median": 2.0, "fwhm_max": 4.0
    }  # fmt: skip
    assert whole.metrics["fwhm_max"].unit == "pix"
    assert whole.note.startswith("missing: R13 (ValueError: could not convert")


async def test_a_gather_job_gets_the_parts_and_those_missing(world: World) -> None:
    write_frames(world, "a", R10="1.0", R11="2.0", R13="no number")
    whole = await carried_out(
        world,
        await world.exposure("a"),
        {"one": DETECTOR, "visit": SUMMARY},
        gather=Gather("visit", arguments={"scale": 10.0}),
    )
    assert whole.state == "done"
    assert {name: metric.value for name, metric in whole.metrics.items()} == {
        "fwhm": 20.0, "seen": 2.0
    }  # fmt: skip
    assert whole.note.startswith("a; missing: R13")
    assert b"ValueError" in await world.objects.get(whole.artifacts[0].key)
    assert whole.artifacts[0].key == f"r/2023/07/28/{whole.id}/missing.json"


async def test_patience_ends_and_the_late_part_is_kept_all_the_same(world: World) -> None:
    job = """
        @job
        async def one(frame, detector, gate):
            if detector == "R11":
                await gate.wait()
            return {"fwhm": 1.0}
    """
    write_frames(world, "a", R10="", R11="")
    gate = asyncio.Event()
    rule = job_rule(
        inputs={"frame": Input(image="exposure")},
        each="detector",
        arguments={"gate": gate},
        gather=Gather("visit", patience=300 * MILLISECOND),
    )
    async with world.workshop(rule, one=job, visit=SUMMARY) as shop:
        shop.submit(await world.pending(event=await world.exposure("a")))
        await world.until(lambda runs: len(runs) == 2)
        assert [run.part for run in world.reported] == ["R10", ""]
        assert world.reported[1].note == "a; missing: R11 (not done in time)"
        gate.set()
        await world.until(lambda runs: len(runs) == 3)
    assert (world.reported[2].part, world.reported[2].state) == ("R11", "done")


@pytest.mark.parametrize("killed", [False, True])
async def test_a_late_part_is_done_by_the_next_engine(world: World, killed: bool) -> None:
    job = """
        @job
        async def one(frame, detector, gate):
            if detector == "R11":
                await gate.wait()
            return {"fwhm": 1.0}
    """
    write_frames(world, "a", R10="", R11="")
    gate = asyncio.Event()
    rule = job_rule(
        inputs={"frame": Input(image="exposure")},
        each="detector",
        arguments={"gate": gate},
        gather=Gather("visit", patience=300 * MILLISECOND),
    )
    async with world.workshop(rule, one=job, visit=SUMMARY) as shop:
        shop.submit(await world.pending(event=await world.exposure("a")))
        await world.until(lambda runs: any(not run.parent for run in runs))
        if not killed:
            await shop.drain(limit=MILLISECOND)
    (late,) = await world.ledger.runs(Query(state="pending"))
    assert (late.part, late.parent) == ("R11", world.reported[-1].id)
    gate.set()
    async with world.workshop(rule, one=job, visit=SUMMARY) as shop:
        shop.recover([late])
        await world.until(lambda runs: runs[-1].part == "R11")
    assert (world.reported[-1].id, world.reported[-1].state) == (late.id, "done")
    assert await world.state(late) == "done"
    assert len(await world.ledger.metrics(Query(rule="r", name="fwhm"))) == 3


async def test_parts_whose_names_are_alike_have_runs_and_artifacts_of_their_own(
    world: World,
) -> None:
    frames = {"R22 S11": "1.0", "R22_S11": "2.0", "R22:S11": "4.0"}
    write_frames(world, "a", **frames)
    await carried_out(world, await world.exposure("a"), {"one": DETECTOR})
    parts = {run.part: run for run in world.reported[:-1]}
    assert {part: run.metrics["fwhm"].value for part, run in parts.items()} == {
        part: float(text) for part, text in frames.items()
    }
    assert len({run.id for run in parts.values()}) == 3
    assert len({run.artifacts[0].key for run in parts.values()}) == 3
    assert len(await world.ledger.runs(Query())) == 4


async def test_the_telemetry_of_all_parts_is_read_once(world: World) -> None:
    job = """
        @job
        async def one(frame, azimuth: Series, seen: list):
            seen.append(id(azimuth))
    """
    write_frames(world, "a", R10="", R11="", R12="")
    await world.telemetry([{"position": 1.0}])
    inputs = {"frame": Input(image="exposure"), "azimuth": Input(topic=TOPIC, last=10**9)}
    seen: list[int] = []
    await carried_out(
        world, await world.exposure("a"), {"one": job}, inputs=inputs, arguments={"seen": seen}
    )
    assert (len(seen), len(set(seen))) == (3, 1)
    assert {len(run.inputs) for run in world.reported if run.parent} == {3}


async def test_when_no_part_is_done_the_whole_has_failed(world: World) -> None:
    write_frames(world, "a", R10="x", R11="y")
    whole = await carried_out(
        world, await world.exposure("a"), {"one": DETECTOR, "visit": SUMMARY},
        gather=Gather("visit"),
    )  # fmt: skip
    assert whole.state == "failed"
    assert whole.error.startswith("none of the 2 parts was done; R10: ValueError")


async def test_a_site_whose_images_are_not_split_has_one_part(world: World) -> None:
    write_frames(world, "a", whole="3.0")
    path = f"{world.site}/images/{{id}}/whole.txt"
    world.use_images(path)
    whole = await carried_out(world, await world.exposure("a"), {"one": DETECTOR})
    assert [run.part for run in world.reported] == ["all", ""]
    assert whole.metrics["fwhm_max"].value == 3.0


async def test_images_that_are_not_there_yet_are_looked_for_again(world: World) -> None:
    whole = await carried_out(world, await world.exposure("a"), {"one": DETECTOR}, retry=2)
    assert (whole.state, world.pauses) == ("failed", [1.0, 2.0])
    assert whole.error.startswith("no detector of exposure a has an image; it was looked for at")


async def test_without_an_observation_there_are_no_parts(world: World) -> None:
    whole = await carried_out(world, Event(TOPIC, world.clock(), {}), {"one": DETECTOR})
    assert "there are no parts: no observation is known for imageName=None" in whole.error


async def test_a_stop_ends_the_parts_too(world: World) -> None:
    job = """
        @job
        async def one(frame, entered):
            entered.put_nowait(1)
            import asyncio
            await asyncio.Event().wait()
    """
    write_frames(world, "a", R10="", R11="")
    entered: asyncio.Queue[int] = asyncio.Queue()
    rule = job_rule(
        inputs={"frame": Input(image="exposure")}, each="detector", arguments={"entered": entered}
    )
    async with world.workshop(rule, one=job) as shop:
        run = await world.pending(event=await world.exposure("a"))
        shop.submit(run)
        await entered.get()
        await entered.get()
        assert await shop.drain(limit=MILLISECOND) == 1
    assert (world.reported, await world.state(run)) == ([], "running")
