"""A run over the observations of a night: each by itself, and what is missing or unprocessed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from catcher.model.commit import Commit
from catcher.model.observation import Observation
from catcher.model.rule import GatherSpec, InputSpec, Rule
from catcher.model.run import Firing, Run
from catcher.model.time import HOUR, SECOND, Span
from catcher.ports import Query
from tests.jobs.conftest import NIGHT, TOPIC, JobHarness, create_job_rule

EXPOSURE_JOB = """
    @job
    def one(exposure: str, frame, azimuth: Series, observation: Observation, runs):
        return {"size": float(frame.read_text()), "samples": len(azimuth), "known": len(runs)}
"""
NIGHT_JOB = """
    @job
    def night(parts, missing, runs):
        unprocessed = [name for name in runs if runs[name].get("images") != "done"]
        return Result(
            {"seen": len(parts)},
            artifacts={"night.json": {"missing": missing, "unprocessed": unprocessed}},
        )
"""
INPUTS = {
    "frame": InputSpec(image="exposure"),
    "azimuth": InputSpec(topic=TOPIC, during="exposure"),
}


async def create_exposure(harness: JobHarness, name: str, ago: int, image: str = "") -> Observation:
    """An exposure of 30 s that began so long ago, as the engine keeps it."""
    start = NIGHT - ago
    exposure = Observation("exposure", name, start, start + 30 * SECOND, columns={"band": name[0]})
    await harness.ledger.commit(Commit(observations=(exposure,)))
    if image:
        folder = harness.site / "images" / name
        folder.mkdir(parents=True)
        (folder / "R22.txt").write_text(image)
    return exposure


async def create_processed_run(
    harness: JobHarness, name: str, state: Any, rule: str = "images"
) -> None:
    """A run of a rule about an exposure, and a part of it."""
    firing = Firing(rule, "", NIGHT - HOUR, name, "why")
    run = Run(firing.id, firing, "job", state=state, observation=name)
    part = replace(run, id=f"{run.id}.R22", part="R22", parent=run.id, state="failed")
    await harness.ledger.commit(Commit(finished=(run, part)))


def create_night_rule(**spec: Any) -> Rule:
    return create_job_rule(**{"each": "exposure", "inputs": INPUTS, **spec})


async def run_to_completion(harness: JobHarness, rule: Rule, **files: str) -> Run:
    """The whole of a scheduled run, when it is over."""
    async with harness.create_scheduler(rule, **files) as scheduler:
        pending = await harness.create_pending_run()
        scheduler.submit(replace(pending, firing=replace(pending.firing, event=None, time=NIGHT)))
        await harness.wait_until(lambda runs: any(not run.parent for run in runs))
    return next(run for run in harness.reported_runs if not run.parent)


async def test_each_exposure_of_the_night_is_a_part_about_itself(harness: JobHarness) -> None:
    await harness.append_telemetry([{"position": 1.0}] * 120)
    await create_exposure(harness, "r1", 90 * SECOND, "1")
    await create_exposure(harness, "g2", 40 * SECOND, "2")
    await create_processed_run(harness, "r1", "done")
    parent = await run_to_completion(harness, create_night_rule(), one=EXPOSURE_JOB)
    parts = [run for run in harness.reported_runs if run.parent]
    parts.sort(key=lambda run: run.part, reverse=True)
    assert [(run.part, run.observation, run.columns) for run in parts] == [
        ("r1", "r1", {"band": "r"}),
        ("g2", "g2", {"band": "g"}),
    ]
    values = {
        run.part: {name: metric.value for name, metric in run.metrics.items()} for run in parts
    }
    assert values == {
        "r1": {"size": 1, "samples": 31, "known": 1},
        "g2": {"size": 2, "samples": 31, "known": 0},
    }
    assert parts[0].metrics["size"].labels == {"exposure": "r1"}
    assert parent.metrics["size_max"].value == 2
    points = await harness.ledger.list_metrics(Query(rule="r", name="size", observation="g2"))
    assert [point.value for point in points] == [2.0]


async def test_what_is_missing_or_unprocessed_is_named(harness: JobHarness) -> None:
    for name, image in (("r1", "1"), ("r2", ""), ("r3", "3"), ("r4", "4")):
        await create_exposure(harness, name, HOUR, image)
    for name, state in (("r1", "done"), ("r2", "done"), ("r3", "failed")):
        await create_processed_run(harness, name, state)
    rule = create_night_rule(gather=GatherSpec("night"))
    parent = await run_to_completion(harness, rule, one=EXPOSURE_JOB, night=NIGHT_JOB)
    assert (parent.state, parent.metrics["seen"].value) == ("done", 3)
    assert parent.note.startswith("missing: r2 (exposure r2 has an image for each detector")
    report = json.loads(await harness.objects.get(parent.artifacts[0].key))
    assert report["unprocessed"] == ["r3", "r4"]
    assert list(report["missing"]) == ["r2"]


@pytest.mark.parametrize(
    ("last", "expected"), [(None, ["at dawn", "at dusk"]), (12 * HOUR, ["at dawn"])]
)
async def test_a_night_ends_where_the_rule_says(
    harness: JobHarness, last: Span | None, expected: list[str]
) -> None:
    for name, ago in (("of yesterday", 30), ("at dusk", 13), ("at dawn", 2), ("to come", -1)):
        await create_exposure(harness, name, ago * HOUR)
    rule = create_night_rule(inputs={}, last=last)
    await run_to_completion(harness, rule, one="@job\ndef one(exposure): return {'n': 1}")
    assert sorted(run.part for run in harness.reported_runs if run.parent) == expected


async def test_a_night_without_exposures_is_reported_and_has_not_failed(
    harness: JobHarness,
) -> None:
    rule = create_night_rule(gather=GatherSpec("night"))
    parent = await run_to_completion(harness, rule, one=EXPOSURE_JOB, night=NIGHT_JOB)
    assert (parent.state, parent.metrics["seen"].value, parent.note) == ("done", 0, "")


async def test_a_night_of_which_no_image_is_there_names_all(harness: JobHarness) -> None:
    await create_exposure(harness, "r1", HOUR)
    rule = create_night_rule(gather=GatherSpec("night"))
    parent = await run_to_completion(harness, rule, one=EXPOSURE_JOB, night=NIGHT_JOB)
    assert (parent.state, parent.metrics["seen"].value) == ("done", 0)
    assert parent.note.startswith("missing: r1 (")
