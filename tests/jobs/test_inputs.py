"""A run reads what its rule asks for, as of its firing, and records what it read."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import numpy as np
import pytest

from catcher.expressions import ExpressionCompiler
from catcher.jobs.inputs import InputFetcher, InputRequest
from catcher.jobs.late_data import LateDataPolicy
from catcher.model.commit import Commit
from catcher.model.errors import CatcherError
from catcher.model.event import Event, Series
from catcher.model.result import Metric
from catcher.model.rule import Expression, InputSpec
from catcher.model.run import Firing, InputRecord, Run
from catcher.model.time import MINUTE, SECOND
from tests.jobs.conftest import NIGHT, TOPIC, JobHarness, create_job_rule


async def fetch_input(
    harness: JobHarness,
    spec: InputSpec,
    event: Event | None = None,
    part: str = "",
    **constants: Any,
) -> tuple[Any, InputRecord]:
    """One input of a run that fires now, and its record."""
    rule = create_job_rule(inputs={"x": spec}, arguments=constants)
    images_rule = create_job_rule("images", each="detector")
    inputs = InputFetcher(
        harness.history,
        harness.images,
        harness.ledger,
        ExpressionCompiler(),
        harness.observations,
        {"images": images_rule},
        LateDataPolicy(None, harness.clock, asyncio.sleep),
    )
    firing = Firing("r", "", harness.clock(), "c", "why", event)
    result = await inputs.fetch(InputRequest(rule, firing, part), ["x"])
    return result.arguments["x"], result.records[0]


@pytest.fixture
async def mount_harness(harness: JobHarness) -> JobHarness:
    """A minute of the mount, once a second, from two salIndexes in turn."""
    rows = [{"position": float(n), "salIndex": 1 + n % 2, "note": "x"} for n in range(61)]
    await harness.append_telemetry(rows)
    return harness


def list_seconds_ago(series: Series) -> list[float]:
    return [round(NIGHT / SECOND - time, 6) for time in series.time]


async def test_last_is_open_at_its_start_and_closed_at_the_firing(
    mount_harness: JobHarness,
) -> None:
    series, _ = await fetch_input(mount_harness, InputSpec(topic=TOPIC, last=3 * SECOND))
    assert list_seconds_ago(series) == [2, 1, 0]
    assert series["position"].tolist() == [58, 59, 60]


async def test_fields_and_where_select(mount_harness: JobHarness) -> None:
    spec = InputSpec(
        topic=TOPIC, fields=("position",), last=4 * SECOND, where=Expression("salIndex == 1")
    )
    series, record = await fetch_input(mount_harness, spec)
    assert set(series.columns) == {"position"}
    assert series["position"].tolist() == [58, 60]
    assert record.address == f"history:{TOPIC}?fields=position&where=salIndex == 1"


async def test_during_includes_both_ends_of_the_observation(mount_harness: JobHarness) -> None:
    event = await mount_harness.declare_exposure("a")
    series, record = await fetch_input(
        mount_harness, InputSpec(topic=TOPIC, during="exposure"), event
    )
    assert (len(series), list_seconds_ago(series)[0]) == (31, 30)
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
    mount_harness: JobHarness, start: str, end: str | None, ago: list[int]
) -> None:
    event = Event("t", NIGHT, {"began": NIGHT / SECOND - 2, "text": "2023-07-28T03:59:57Z"})
    spec = InputSpec(topic=TOPIC, start=Expression(start), end=Expression(end) if end else None)
    series, _ = await fetch_input(mount_harness, spec, event, shift=2)
    assert list_seconds_ago(series) == ago


async def test_the_record_says_what_was_read(mount_harness: JobHarness) -> None:
    series, record = await fetch_input(
        mount_harness, InputSpec(topic=TOPIC, fields=("position",), last=3 * SECOND)
    )
    expected_digest = hashlib.sha256(
        series.time.tobytes() + b"position\0" + series["position"].tobytes()
    )
    assert record == InputRecord(
        "x", f"history:{TOPIC}?fields=position", NIGHT - 3 * SECOND + 1, NIGHT, 3,
        f"sha256:{expected_digest.hexdigest()}",
    )  # fmt: skip


async def test_a_topic_without_samples_gives_an_empty_series(harness: JobHarness) -> None:
    series, record = await fetch_input(harness, InputSpec(topic="nobody.speaks", last=MINUTE))
    assert (len(series), record.samples) == (0, 0)


async def test_a_metric_of_earlier_runs_is_a_series_in_order(harness: JobHarness) -> None:
    for minutes, value in ((30, 9.0), (2, 1.0), (1, None), (0, 3.0)):
        instant = NIGHT - minutes * MINUTE
        firing = Firing("images", "", instant, "c", "why")
        metrics = {"psf": Metric(value, "pix"), "other": Metric(5.0)}
        run = Run(firing.id, firing, "j", "done", metrics=metrics)
        labels = {"detector": "R22"}
        part = Run(f"{firing.id}.p", firing, "j", "done", part="R22", parent=firing.id,
                   metrics={"psf": Metric(77.0, labels=labels)})  # fmt: skip
        await harness.ledger.commit(Commit(finished=(run, part)))
    spec = InputSpec(metric="psf", of="images", last=10 * MINUTE)
    series, record = await fetch_input(harness, spec)
    np.testing.assert_array_equal(series["psf"], [1.0, np.nan, 3.0])
    assert list_seconds_ago(series) == [120, 60, 0]
    assert series.units == {"psf": "pix"}
    assert (record.address, record.samples) == ("metric:images/psf", 3)


async def test_an_image_is_a_path(harness: JobHarness) -> None:
    event = await harness.declare_exposure("a")
    path = harness.site / "images" / "a" / "R22.txt"
    path.parent.mkdir(parents=True)
    path.write_text("pixels")
    result, record = await fetch_input(harness, InputSpec(image="exposure"), event, part="R22")
    assert result == path
    assert record.address == path.as_uri()


@pytest.mark.parametrize(
    ("spec", "fields", "message"),
    [
        (InputSpec(topic=TOPIC, during="exposure"), {"imageName": "b"}, "known for imageName=b"),
        (InputSpec(topic=TOPIC, during="visit"), {}, "declares no visit"),
        (InputSpec(topic=TOPIC, during="exposure"), None, "no event fired the rule"),
        (InputSpec(image="exposure"), {"imageName": "a"}, "no image"),
        (
            InputSpec(topic=TOPIC, start=Expression("began")),
            {},
            "'from' of the input 'x' is unknown",
        ),
        (InputSpec(topic=TOPIC, start=Expression("began")), {"began": "soon"}, "'soon' is no time"),
        (
            InputSpec(topic=TOPIC, start=Expression("began")),
            {"began": 4e9},
            "ends before it starts",
        ),
        (InputSpec(topic=TOPIC, start=Expression("began")), {"began": [1]}, "is unknown"),
    ],
)
async def test_what_cannot_be_found_is_explained(
    harness: JobHarness, spec: InputSpec, fields: dict[str, Any] | None, message: str
) -> None:
    await harness.declare_exposure("a")
    event = None if fields is None else Event("t", NIGHT, fields)
    with pytest.raises(CatcherError, match=message):
        await fetch_input(harness, spec, event, part="R22" if spec.image else "")
