"""Inputs wait for rows that come late, as long as it is stated, and the run says how it went."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from catcher.expressions import ExpressionCompiler
from catcher.jobs.inputs import InputError, InputFetcher, InputRequest
from catcher.jobs.late_data import LateDataPolicy
from catcher.jobs.predicate_pushdown import add_pushdown
from catcher.model.event import Event
from catcher.model.rule import InputSpec
from catcher.model.time import SECOND, Span
from catcher.stores.history.embedded import EmbeddedHistory
from tests.jobs.conftest import NIGHT, TOPIC, JobHarness, SettableClock, create_job_rule


@dataclass
class LateSampleClock:
    """Time goes on as it is waited; at its hour a sample comes in."""

    history: EmbeddedHistory
    clock: SettableClock
    arrives_after: Span
    pauses: list[float] = field(default_factory=list)

    async def advance_time(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.now += round(seconds * SECOND)
        if self.clock.now >= NIGHT + self.arrives_after:
            await self.history.append([Event(TOPIC, NIGHT, {"x": 2.0})])


@pytest.mark.parametrize(
    ("max_wait", "input_max_wait", "outcome", "samples"),
    [
        (30 * SECOND, None, "whole", 2),
        (5 * SECOND, None, "patience", 1),
        (5 * SECOND, 30 * SECOND, "whole", 2),
        (30 * SECOND, 0, "patience", 1),
        (None, 30 * SECOND, "", 1),
    ],
)
async def test_an_input_waits_until_its_span_is_complete_or_its_max_wait_ends(
    harness: JobHarness,
    max_wait: Span | None,
    input_max_wait: Span | None,
    outcome: str,
    samples: int,
) -> None:
    await harness.history.append([Event(TOPIC, NIGHT - 10 * SECOND, {"x": 1.0})])
    late_clock = LateSampleClock(harness.history, harness.clock, 11 * SECOND)
    spec = InputSpec(topic=TOPIC, last=60 * SECOND, max_wait=input_max_wait)
    inputs = InputFetcher(
        harness.history,
        harness.images,
        harness.ledger,
        ExpressionCompiler(),
        harness.observations,
        {},
        LateDataPolicy(max_wait, harness.clock, late_clock.advance_time),
    )
    run = await harness.create_pending_run()
    result = await inputs.fetch(
        InputRequest(create_job_rule(inputs={"x": spec}), run.firing), ["x"]
    )
    (record,) = result.records
    assert (record.whole, record.samples) == (outcome, samples)
    if outcome == "whole":
        assert 11 * SECOND <= record.waited < 14 * SECOND
        assert len(late_clock.pauses) < 20
    elif outcome == "patience":
        assert record.waited == (max_wait if input_max_wait is None else input_max_wait)


async def test_what_is_complete_is_not_waited_for(harness: JobHarness) -> None:
    await harness.history.append([Event("other", NIGHT + 2 * SECOND, {"x": 1.0})])
    late_clock = LateSampleClock(harness.history, harness.clock, 0)
    result = await LateDataPolicy(
        SECOND, harness.clock, late_clock.advance_time
    ).wait_until_complete(harness.history, TOPIC, NIGHT)
    assert (result, late_clock.pauses) == (("whole", 0), [])


@pytest.mark.parametrize(
    ("text", "equal", "names", "exact"),
    [
        ("salIndex == 301", {"salIndex": 301}, {"salIndex"}, True),
        ("301 == salIndex", {"salIndex": 301}, {"salIndex"}, True),
        ("salIndex == 301 and note == 'a'", {"salIndex": 301, "note": "a"}, {"salIndex", "note"},
         True),
        ("salIndex == 1 and salIndex == 2", {"salIndex": 2}, {"salIndex"}, False),
        ("salIndex == 301 and speed > 2", {"salIndex": 301}, {"salIndex", "speed"}, False),
        ("salIndex == 301 or speed > 2", {}, {"salIndex", "speed"}, False),
        ("not salIndex == 301", {}, {"salIndex"}, False),
        ("ok == True", {}, {"ok"}, False),
        ("abs(site.z) == 1", {}, {"site", "site.z"}, False),
        ("force[3] == 1", {}, {"force"}, False),
        ("1 == 1", {}, set(), False),
        ("a == 1 == 1", {}, {"a"}, False),
    ],
)  # fmt: skip
def test_a_store_sees_which_values_pass(
    text: str, equal: dict[str, object], names: set[str], exact: bool
) -> None:
    where = add_pushdown(text, lambda row: True)
    assert (where.equals, where.names, where.exact) == (equal, names, exact)  # type: ignore[attr-defined]


async def test_a_packed_input_comes_sample_by_sample(harness: JobHarness) -> None:
    start = NIGHT / SECOND - 3 + 37
    await harness.append_telemetry(
        [{"clock": start + n, "angle": [4.0 * n + m for m in range(4)]} for n in range(3)]
    )
    spec = InputSpec(topic=TOPIC, fields=("angle",), packed="clock", last=60 * SECOND)
    inputs = InputFetcher(
        harness.history,
        harness.images,
        harness.ledger,
        ExpressionCompiler(),
        harness.observations,
        {},
        LateDataPolicy(None, harness.clock, harness.record_pause),
    )
    run = await harness.create_pending_run()
    rule = create_job_rule(inputs={"x": spec, "y": replace(spec, fields=("angel",))})
    result = await inputs.fetch(InputRequest(rule, run.firing), ["x"])
    series = result.arguments["x"]
    assert series["angle"].tolist() == list(range(12))
    assert series.time.tolist() == [NIGHT / SECOND - 3 + n / 4 for n in range(12)]
    assert result.records[0].address == f"history:{TOPIC}?fields=angle&packed=clock"
    with pytest.raises(InputError, match="no packed field 'angel'"):
        await inputs.fetch(InputRequest(rule, run.firing), ["y"])
