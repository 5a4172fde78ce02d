"""Inputs wait for rows that come late, as long as it is stated, and the run says how it went."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from catcher.model.event import Event
from catcher.model.rule import Input
from catcher.model.time import SECOND, Span
from catcher.stores.history import EmbeddedHistory
from catcher.watching import Compiler
from catcher.working.inputs import InputError, Inputs, Request
from catcher.working.narrowing import narrowed
from catcher.working.waiting import Patience
from tests.working.conftest import NIGHT, TOPIC, Clock, World, job_rule


@dataclass
class Waiter:
    """Time goes on as it is waited; at its hour a sample comes in."""

    history: EmbeddedHistory
    clock: Clock
    comes: Span
    waits: list[float] = field(default_factory=list)

    async def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.now += round(seconds * SECOND)
        if self.clock.now >= NIGHT + self.comes:
            await self.history.append([Event(TOPIC, NIGHT, {"x": 2.0})])


@pytest.mark.parametrize(
    ("patience", "own", "whole", "samples"),
    [
        (30 * SECOND, None, "whole", 2),
        (5 * SECOND, None, "patience", 1),
        (5 * SECOND, 30 * SECOND, "whole", 2),
        (30 * SECOND, 0, "patience", 1),
        (None, 30 * SECOND, "", 1),
    ],
)
async def test_an_input_waits_until_its_span_is_whole_or_its_patience_over(
    world: World, patience: Span | None, own: Span | None, whole: str, samples: int
) -> None:
    await world.history.append([Event(TOPIC, NIGHT - 10 * SECOND, {"x": 1.0})])
    waiter = Waiter(world.history, world.clock, 11 * SECOND)
    asked = Input(topic=TOPIC, last=60 * SECOND, patience=own)
    inputs = Inputs(
        world.history, world.images, world.ledger, Compiler(), world.observations, {},
        Patience(patience, world.clock, waiter.pause),
    )  # fmt: skip
    run = await world.pending()
    fetched = await inputs.fetch(Request(job_rule(inputs={"x": asked}), run.firing), ["x"])
    (record,) = fetched.records
    assert (record.whole, record.samples) == (whole, samples)
    if whole == "whole":
        assert 11 * SECOND <= record.waited < 14 * SECOND
        assert len(waiter.waits) < 20
    elif whole == "patience":
        assert record.waited == (patience if own is None else own)


async def test_what_is_whole_is_not_waited_for(world: World) -> None:
    await world.history.append([Event("other", NIGHT + 2 * SECOND, {"x": 1.0})])
    waiter = Waiter(world.history, world.clock, 0)
    waited = await Patience(SECOND, world.clock, waiter.pause).until_whole(
        world.history, TOPIC, NIGHT
    )
    assert (waited, waiter.waits) == (("whole", 0), [])


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
    where = narrowed(text, lambda row: True)
    assert (where.equal, where.names, where.exact) == (equal, names, exact)  # type: ignore[attr-defined]


async def test_a_packed_input_comes_sample_by_sample(world: World) -> None:
    begin = NIGHT / SECOND - 3 + 37
    await world.telemetry(
        [{"clock": begin + n, "angle": [4.0 * n + m for m in range(4)]} for n in range(3)]
    )
    asked = Input(topic=TOPIC, fields=("angle",), packed="clock", last=60 * SECOND)
    inputs = Inputs(
        world.history, world.images, world.ledger, Compiler(), world.observations, {},
        Patience(None, world.clock, world.pause),
    )  # fmt: skip
    run = await world.pending()
    rule = job_rule(inputs={"x": asked, "y": replace(asked, fields=("angel",))})
    fetched = await inputs.fetch(Request(rule, run.firing), ["x"])
    series = fetched.arguments["x"]
    assert series["angle"].tolist() == list(range(12))
    assert series.time.tolist() == [NIGHT / SECOND - 3 + n / 4 for n in range(12)]
    assert fetched.records[0].address == f"history:{TOPIC}?fields=angle&packed=clock"
    with pytest.raises(InputError, match="no packed field 'angel'"):
        await inputs.fetch(Request(rule, run.firing), ["y"])
