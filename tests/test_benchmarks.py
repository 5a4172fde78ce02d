"""The benchmarks' own contestants, on few events: all find the same firings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from benchmarks import broker, cadence, contest, drawing, images, memory, rules
from benchmarks.durability import through_engine
from benchmarks.publisher import WINDOW
from benchmarks.soak import Look, judged
from benchmarks.workloads import ALL, KEYS, Workload
from catcher.model.time import wall_clock
from catcher.sources.mqtt import MqttSettings, MqttSource
from tests.servers import mosquitto
from tests.sources.test_mqtt import until

FEW = {"windows": 6_400, "by": 6 * KEYS, "dense": 300}


def small(name: str) -> tuple[Workload, int]:
    """A workload with fewer limits, and how many events to run it on."""
    workload = ALL[name]
    limits = workload.limits[4_700:5_300] if name == "dense" else workload.limits[:500]
    return replace(workload, limits=limits), FEW.get(name, 2_000)


@pytest.mark.parametrize("name", ALL)
def test_catcher_fires_as_the_function_by_hand(name: str) -> None:
    workload, count = small(name)
    by_hand = contest.run("a function by hand", workload, count)
    ours = contest.run("catcher", workload, count)
    assert by_hand["fired"]
    assert ours["checksum"] == by_hand["checksum"]


def test_making_events_of_dicts_changes_nothing() -> None:
    workload = ALL["thresholds"]
    found = [contest.run(name, workload, 2_000) for name in ("catcher", "catcher, from dicts")]
    assert found[0]["checksum"] == found[1]["checksum"]


@pytest.mark.parametrize("name", ["reactivex, a chain a rule", "reactivex, one step"])
@pytest.mark.parametrize("kind", ["thresholds", "by"])
def test_the_peer_that_is_here_fires_alike(name: str, kind: str) -> None:
    workload = replace(ALL[kind], warm=0, keys=min(ALL[kind].keys, 50))
    by_hand = contest.run("a function by hand", workload, 2_000)
    assert contest.run(name, workload, 2_000)["checksum"] == by_hand["checksum"]


def test_every_contestant_of_the_program_is_known() -> None:
    named = {name for program in rules.PROGRAM.values() for name in program}
    assert all(contest.contestant(name) for name in named)
    assert set(rules.PROGRAM) == set(ALL)


def test_the_witness_sees_every_half_million_events() -> None:
    witness = memory.Witness()
    for _ in witness.pass_on(iter([[None] * memory.WARM] * 2)):
        pass
    assert [seen for seen, _ in witness.sizes] == [memory.WARM, 2 * memory.WARM]


async def test_the_engine_keeps_all_events_of_a_durable_source() -> None:
    row = await through_engine(True, 3_000)
    assert row["events"] == 3_000
    assert row["processor"] > 0


def test_a_soak_that_grows_is_told_from_one_that_does_not() -> None:
    flat = [Look(10.0 * place, 100.0, 40, 0.01) for place in range(60)]
    growing = [look_later(one, place) for place, one in enumerate(flat)]
    assert judged(flat) == []
    assert len(judged(growing)) == 3


def look_later(look: Look, place: int) -> Look:
    return Look(look.time, look.memory + place, look.files + place, 0.01 * place)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    row = {"workload": "by", "contestant": "catcher", "rate": 1e6, "ratio": 1.0}
    rows = [row, {**row, "contestant": "other", "ratio": 12.0}]
    drawing.draw([("some", rows)], tmp_path / "some.svg")
    assert "catcher: 12" in (tmp_path / "some.svg").read_text()


@pytest.mark.server
@pytest.mark.parametrize(("qos", "pace"), [(0, ()), (1, ()), (1, ("5000",))])
async def test_the_publisher_leaves_nothing_out(
    qos: Literal[0, 1], pace: tuple[str, ...], tmp_path: Path
) -> None:
    count = 2 * WINDOW
    lines = tmp_path / "lines"
    lines.write_text("".join(f'{{"number": {number}}}\n' for number in range(count)))
    with mosquitto(tmp_path / "broker") as server:
        settings = MqttSettings(
            host="127.0.0.1", port=server.port, qos=qos, topics={"bench/+": "bench.{1}"}
        )
        source, seen = MqttSource("bench", settings, wall_clock), list[int]()
        async with source.open() as deliveries:
            await until(lambda: source.health().state == "ok")
            with broker.publishing(server.port, "bench/x", qos, lines, *pace) as begin:
                begin()
                async for delivery in deliveries:
                    seen += [event.fields["number"] for event in delivery.events]
                    await delivery.done()
                    if len(seen) >= count:
                        break
    assert seen == list(range(count))


def test_a_visit_of_lsstcam_has_189_detectors() -> None:
    assert len(set(images.names())) == images.DETECTORS == 189


@pytest.mark.server
def test_no_visit_of_a_short_night_is_skipped_and_its_burst_is_worked_off() -> None:
    """It ends the program where a visit or a part is missing, repeated or out of order."""
    row = cadence.night(visits=8, detectors=12, burst=6, workers=1)
    assert (row["visits"], row["detectors"]) == (14, 12)


@pytest.mark.parametrize(
    "change",
    [
        {"visits": ["a"]},
        {"visits": ["b", "a"]},
        {"parts": Counter(a=2, b=1)},
        {"states": Counter(done=5, failed=1)},
        {"missing": 1.0},
    ],
)
def test_a_night_with_a_fault_is_told_from_one_without(change: dict[str, Any]) -> None:
    log = cadence.Log(["a", "b"], Counter(a=2, b=2), Counter(done=6))
    cadence.check(log, ["a", "b"], 2)
    with pytest.raises(SystemExit):
        cadence.check(replace(log, **change), ["a", "b"], 2)
