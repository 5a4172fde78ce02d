"""A run reads what its rule asks for, as of its firing, and records what it read."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import numpy as np
import pytest

from catcher.model.commit import Commit
from catcher.model.event import Event, Series
from catcher.model.problem import CatcherError
from catcher.model.result import Metric
from catcher.model.rule import Expr, Input
from catcher.model.run import Firing, InputRecord, Run
from catcher.model.time import MINUTE, SECOND
from catcher.watching import Compiler
from catcher.working.inputs import Inputs, Request
from catcher.working.waiting import Patience
from tests.working.conftest import NIGHT, TOPIC, World, job_rule


async def fetch(
    world: World, asked: Input, event: Event | None = None, part: str = "", **constants: Any
) -> tuple[Any, InputRecord]:
    """One input of a run that fires now, and its record."""
    rule = job_rule(inputs={"x": asked}, arguments=constants)
    other = job_rule("images", each="detector")
    inputs = Inputs(
        world.history,
        world.images,
        world.ledger,
        Compiler(),
        world.observations,
        {"images": other},
        Patience(None, world.clock, asyncio.sleep),
    )
    firing = Firing("r", "", world.clock(), "c", "why", event)
    fetched = await inputs.fetch(Request(rule, firing, part), ["x"])
    return fetched.arguments["x"], fetched.records[0]


@pytest.fixture
async def mount(world: World) -> World:
    """A minute of the mount, once a second, from two salIndexes in turn."""
    rows = [{"position": float(n), "salIndex": 1 + n % 2, "note": "x"} for n in range(61)]
    await world.telemetry(rows)
    return world


def seconds_ago(series: Series) -> list[float]:
    return [round(NIGHT / SECOND - time, 6) for time in series.time]


async def test_last_is_open_at_its_start_and_closed_at_the_firing(mount: World) -> None:
    series, _ = await fetch(mount, Input(topic=TOPIC, last=3 * SECOND))
    assert seconds_ago(series) == [2, 1, 0]
    assert series["position"].tolist() == [58, 59, 60]


async def test_fields_and_where_select(mount: World) -> None:
    asked = Input(topic=TOPIC, fields=("position",), last=4 * SECOND, where=Expr("salIndex == 1"))
    series, record = await fetch(mount, asked)
    assert set(series.columns) == {"position"}
    assert series["position"].tolist() == [58, 60]
    assert record.address == f"history:{TOPIC}?fields=position&where=salIndex == 1"


async def test_during_takes_both_ends_of_the_observation(mount: World) -> None:
    event = await mount.exposure("a")
    series, record = await fetch(mount, Input(topic=TOPIC, during="exposure"), event)
    assert (len(series), seconds_ago(series)[0]) == (31, 30)
    assert (record.start, record.end) == (NIGHT - 30 * SECOND, NIGHT)


@pytest.mark.parametrize(
    ("start", "end", "ago"),
    [
        ("began", None, [2, 1, 0]),
        ("began - shift", "began", [4, 3, 2]),
        ("text", "began", [3, 2]),
    ],
)
async def test_from_and_to_are_expressions_over_the_event_and_with(
    mount: World, start: str, end: str | None, ago: list[int]
) -> None:
    event = Event("t", NIGHT, {"began": NIGHT / SECOND - 2, "text": "2023-07-28T03:59:57Z"})
    asked = Input(topic=TOPIC, start=Expr(start), end=Expr(end) if end else None)
    series, _ = await fetch(mount, asked, event, shift=2)
    assert seconds_ago(series) == ago


async def test_the_record_says_what_was_read(mount: World) -> None:
    series, record = await fetch(mount, Input(topic=TOPIC, fields=("position",), last=3 * SECOND))
    total = hashlib.sha256(series.time.tobytes() + b"position\0" + series["position"].tobytes())
    assert record == InputRecord(
        "x", f"history:{TOPIC}?fields=position", NIGHT - 3 * SECOND + 1, NIGHT, 3,
        f"sha256:{total.hexdigest()}",
    )  # fmt: skip


async def test_a_topic_without_samples_gives_an_empty_series(world: World) -> None:
    series, record = await fetch(world, Input(topic="nobody.speaks", last=MINUTE))
    assert (len(series), record.samples) == (0, 0)


async def test_a_metric_of_earlier_runs_is_a_series_in_order(world: World) -> None:
    for minutes, value in ((30, 9.0), (2, 1.0), (1, None), (0, 3.0)):
        instant = NIGHT - minutes * MINUTE
        firing = Firing("images", "", instant, "c", "why")
        metrics = {"psf": Metric(value, "pix"), "other": Metric(5.0)}
        whole = Run(firing.id, firing, "j", "done", metrics=metrics)
        labels = {"detector": "R22"}
        part = Run(f"{firing.id}.p", firing, "j", "done", part="R22", parent=firing.id,
                   metrics={"psf": Metric(77.0, labels=labels)})  # fmt: skip
        await world.ledger.commit(Commit(finished=(whole, part)))
    asked = Input(metric="psf", of="images", last=10 * MINUTE)
    series, record = await fetch(world, asked)
    np.testing.assert_array_equal(series["psf"], [1.0, np.nan, 3.0])
    assert seconds_ago(series) == [120, 60, 0]
    assert series.units == {"psf": "pix"}
    assert (record.address, record.samples) == ("metric:images/psf", 3)


async def test_an_image_is_a_path(world: World) -> None:
    event = await world.exposure("a")
    path = world.site / "images" / "a" / "R22.txt"
    path.parent.mkdir(parents=True)
    path.write_text("pixels")
    found, record = await fetch(world, Input(image="exposure"), event, part="R22")
    assert found == path
    assert record.address == path.as_uri()


@pytest.mark.parametrize(
    ("asked", "fields", "words"),
    [
        (Input(topic=TOPIC, during="exposure"), {"imageName": "b"}, "known for imageName=b"),
        (Input(topic=TOPIC, during="visit"), {}, "declares no visit"),
        (Input(topic=TOPIC, during="exposure"), None, "no event fired the rule"),
        (Input(image="exposure"), {"imageName": "a"}, "no image"),
        (Input(topic=TOPIC, start=Expr("began")), {}, "'from' of the input 'x' is unknown"),
        (Input(topic=TOPIC, start=Expr("began")), {"began": "soon"}, "'soon' is no time"),
        (Input(topic=TOPIC, start=Expr("began")), {"began": 4e9}, "ends before it starts"),
        (Input(topic=TOPIC, start=Expr("began")), {"began": [1]}, "is unknown"),
    ],
)
async def test_what_cannot_be_found_is_said_in_words(
    world: World, asked: Input, fields: dict[str, Any] | None, words: str
) -> None:
    await world.exposure("a")
    event = None if fields is None else Event("t", NIGHT, fields)
    with pytest.raises(CatcherError, match=words):
        await fetch(world, asked, event, part="R22" if asked.image else "")
