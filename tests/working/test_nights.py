"""A run over the observations of a night: each by itself, and what is missing or unprocessed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from catcher.model.commit import Commit
from catcher.model.observation import Observation
from catcher.model.rule import Gather, Input, Rule
from catcher.model.run import Firing, Run
from catcher.model.time import HOUR, SECOND, Span
from catcher.ports import Query
from tests.working.conftest import NIGHT, TOPIC, World, job_rule

LOOK = """
    @job
    def one(exposure: str, frame, azimuth: Series, observation: Observation, runs):
        return {"size": float(frame.read_text()), "samples": len(azimuth), "known": len(runs)}
"""
SUMMARY = """
    @job
    def night(parts, missing, runs):
        unprocessed = [name for name in runs if runs[name].get("images") != "done"]
        return Result(
            {"seen": len(parts)},
            artifacts={"night.json": {"missing": missing, "unprocessed": unprocessed}},
        )
"""
INPUTS = {"frame": Input(image="exposure"), "azimuth": Input(topic=TOPIC, during="exposure")}


async def observed(world: World, name: str, ago: int, image: str = "") -> Observation:
    """An exposure of 30 s that began so long ago, as the engine keeps it."""
    start = NIGHT - ago
    one = Observation("exposure", name, start, start + 30 * SECOND, columns={"band": name[0]})
    await world.ledger.commit(Commit(observations=(one,)))
    if image:
        folder = world.site / "images" / name
        folder.mkdir(parents=True)
        (folder / "R22.txt").write_text(image)
    return one


async def processed(world: World, name: str, state: Any, rule: str = "images") -> None:
    """A run of a rule about an exposure, and a part of it."""
    firing = Firing(rule, "", NIGHT - HOUR, name, "why")
    run = Run(firing.id, firing, "job", state=state, observation=name)
    part = replace(run, id=f"{run.id}.R22", part="R22", parent=run.id, state="failed")
    await world.ledger.commit(Commit(finished=(run, part)))


def night_rule(**spec: Any) -> Rule:
    return job_rule(**{"each": "exposure", "inputs": INPUTS, **spec})


async def carried_out(world: World, rule: Rule, **files: str) -> Run:
    """The whole of a scheduled run, when it is over."""
    async with world.workshop(rule, **files) as shop:
        pending = await world.pending()
        shop.submit(replace(pending, firing=replace(pending.firing, event=None, time=NIGHT)))
        await world.until(lambda runs: any(not run.parent for run in runs))
    return next(run for run in world.reported if not run.parent)


async def test_each_exposure_of_the_night_is_a_part_about_itself(world: World) -> None:
    await world.telemetry([{"position": 1.0}] * 120)
    await observed(world, "r1", 90 * SECOND, "1")
    await observed(world, "g2", 40 * SECOND, "2")
    await processed(world, "r1", "done")
    whole = await carried_out(world, night_rule(), one=LOOK)
    parts = [run for run in world.reported if run.parent]
    parts.sort(key=lambda run: run.part, reverse=True)
    assert [(run.part, run.observation, run.columns) for run in parts] == [
        ("r1", "r1", {"band": "r"}),
        ("g2", "g2", {"band": "g"}),
    ]
    values = {run.part: {name: one.value for name, one in run.metrics.items()} for run in parts}
    assert values == {
        "r1": {"size": 1, "samples": 31, "known": 1},
        "g2": {"size": 2, "samples": 31, "known": 0},
    }
    assert parts[0].metrics["size"].labels == {"exposure": "r1"}
    assert whole.metrics["size_max"].value == 2
    points = await world.ledger.metrics(Query(rule="r", name="size", observation="g2"))
    assert [point.value for point in points] == [2.0]


async def test_what_is_missing_or_unprocessed_is_named(world: World) -> None:
    for name, image in (("r1", "1"), ("r2", ""), ("r3", "3"), ("r4", "4")):
        await observed(world, name, HOUR, image)
    for name, state in (("r1", "done"), ("r2", "done"), ("r3", "failed")):
        await processed(world, name, state)
    rule = night_rule(gather=Gather("night"))
    whole = await carried_out(world, rule, one=LOOK, night=SUMMARY)
    assert (whole.state, whole.metrics["seen"].value) == ("done", 3)
    assert whole.note.startswith("missing: r2 (exposure r2 has an image for each detector")
    kept = json.loads(await world.objects.get(whole.artifacts[0].key))
    assert kept["unprocessed"] == ["r3", "r4"]
    assert list(kept["missing"]) == ["r2"]


@pytest.mark.parametrize(
    ("last", "seen"), [(None, ["at dawn", "at dusk"]), (12 * HOUR, ["at dawn"])]
)
async def test_a_night_ends_where_the_rule_says(
    world: World, last: Span | None, seen: list[str]
) -> None:
    for name, ago in (("of yesterday", 30), ("at dusk", 13), ("at dawn", 2), ("to come", -1)):
        await observed(world, name, ago * HOUR)
    rule = night_rule(inputs={}, last=last)
    await carried_out(world, rule, one="@job\ndef one(exposure): return {'n': 1}")
    assert sorted(run.part for run in world.reported if run.parent) == seen


async def test_a_night_without_exposures_is_told_and_has_not_failed(world: World) -> None:
    rule = night_rule(gather=Gather("night"))
    whole = await carried_out(world, rule, one=LOOK, night=SUMMARY)
    assert (whole.state, whole.metrics["seen"].value, whole.note) == ("done", 0, "")


async def test_a_night_of_which_no_image_is_there_names_all(world: World) -> None:
    await observed(world, "r1", HOUR)
    rule = night_rule(gather=Gather("night"))
    whole = await carried_out(world, rule, one=LOOK, night=SUMMARY)
    assert (whole.state, whole.metrics["seen"].value) == ("done", 0)
    assert whole.note.startswith("missing: r1 (")
