"""The benchmarks' own contestants, on few events: all find the same firings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from benchmarks import broker, cadence, contestant_process, drawing, images, memory, rules
from benchmarks.durability import measure_engine
from benchmarks.publisher import MAX_IN_FLIGHT
from benchmarks.soak import ResourceSample, find_problems
from benchmarks.workloads import ALL, KEY_COUNT, Workload
from catcher.model.time import wall_clock
from catcher.sources.mqtt import MqttSource, MqttSourceSettings
from tests.servers import run_mosquitto
from tests.sources.test_mqtt import wait_until

EVENT_COUNTS = {"windows": 6_400, "by": 6 * KEY_COUNT, "dense": 300}


def create_small_workload(name: str) -> tuple[Workload, int]:
    """A workload with fewer limits, and how many events to run it on."""
    workload = ALL[name]
    limits = workload.limits[4_700:5_300] if name == "dense" else workload.limits[:500]
    return replace(workload, limits=limits), EVENT_COUNTS.get(name, 2_000)


@pytest.mark.parametrize("name", ALL)
def test_catcher_fires_as_the_handwritten_function(name: str) -> None:
    workload, count = create_small_workload(name)
    expected = contestant_process.run_contestant("a function by hand", workload, count)
    result = contestant_process.run_contestant("catcher", workload, count)
    assert expected["fired"]
    assert result["checksum"] == expected["checksum"]


def test_creating_events_from_dicts_changes_nothing() -> None:
    workload = ALL["thresholds"]
    results = [
        contestant_process.run_contestant(name, workload, 2_000)
        for name in ("catcher", "catcher, from dicts")
    ]
    assert results[0]["checksum"] == results[1]["checksum"]


@pytest.mark.parametrize("name", ["reactivex, a chain a rule", "reactivex, one step"])
@pytest.mark.parametrize("kind", ["thresholds", "by"])
def test_installed_competitor_fires_alike(name: str, kind: str) -> None:
    workload = replace(ALL[kind], warmup_count=0, keys=min(ALL[kind].keys, 50))
    expected = contestant_process.run_contestant("a function by hand", workload, 2_000)
    assert (
        contestant_process.run_contestant(name, workload, 2_000)["checksum"] == expected["checksum"]
    )


def test_every_contestant_of_the_program_exists() -> None:
    names = {name for program in rules.EVENT_COUNTS.values() for name in program}
    assert all(contestant_process.find_contestant(name) for name in names)
    assert set(rules.EVENT_COUNTS) == set(ALL)


def test_memory_is_sampled_every_half_million_events() -> None:
    sampler = memory.MemorySampler()
    for _ in sampler.sample_batches(iter([[None] * memory.WARMUP_EVENTS] * 2)):
        pass
    assert [event_count for event_count, _ in sampler.sizes] == [
        memory.WARMUP_EVENTS,
        2 * memory.WARMUP_EVENTS,
    ]


async def test_engine_commits_all_events_of_a_durable_source() -> None:
    row = await measure_engine(True, 3_000)
    assert row["events"] == 3_000
    assert row["processor"] > 0


def test_growing_soak_run_is_detected() -> None:
    flat = [ResourceSample(10.0 * index, 100.0, 40, 0.01) for index in range(60)]
    growing = [add_growth(sample, index) for index, sample in enumerate(flat)]
    assert find_problems(flat) == []
    assert len(find_problems(growing)) == 3


def add_growth(sample: ResourceSample, index: int) -> ResourceSample:
    return ResourceSample(sample.time, sample.memory + index, sample.files + index, 0.01 * index)


def test_plot_is_drawn(tmp_path: Path) -> None:
    row = {"workload": "by", "contestant": "catcher", "rate": 1e6, "ratio": 1.0}
    rows = [row, {**row, "contestant": "other", "ratio": 12.0}]
    drawing.draw_chart([("some", rows)], tmp_path / "some.svg")
    assert "catcher: 12" in (tmp_path / "some.svg").read_text()


@pytest.mark.server
@pytest.mark.parametrize(("qos", "pace"), [(0, ()), (1, ()), (1, ("5000",))])
async def test_publisher_sends_every_line(
    qos: Literal[0, 1], pace: tuple[str, ...], tmp_path: Path
) -> None:
    count = 2 * MAX_IN_FLIGHT
    lines = tmp_path / "lines"
    lines.write_text("".join(f'{{"number": {number}}}\n' for number in range(count)))
    with run_mosquitto(tmp_path / "broker") as server:
        settings = MqttSourceSettings(
            host="127.0.0.1", port=server.port, qos=qos, topics={"bench/+": "bench.{1}"}
        )
        source, numbers = MqttSource("bench", settings, wall_clock), list[int]()
        async with source.open() as batches:
            await wait_until(lambda: source.health().state == "ok")
            with broker.open_publisher(
                server.port, "bench/x", qos, lines, *pace
            ) as start_publishing:
                start_publishing()
                async for batch in batches:
                    numbers += [event.fields["number"] for event in batch.events]
                    await batch.acknowledge()
                    if len(numbers) >= count:
                        break
    assert numbers == list(range(count))


def test_a_visit_of_lsstcam_has_189_detectors() -> None:
    assert len(set(images.detector_names())) == images.DETECTOR_COUNT == 189


@pytest.mark.server
def test_no_visit_of_a_short_night_is_skipped_and_its_burst_is_processed() -> None:
    """It ends the program where a visit or a part is missing, repeated or out of order."""
    row = cadence.run_night(visits=8, detectors=12, burst=6, workers=1)
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
def test_faulty_night_is_detected(change: dict[str, Any]) -> None:
    log = cadence.RunLog(["a", "b"], Counter(a=2, b=2), Counter(done=6))
    cadence.check_log(log, ["a", "b"], 2)
    with pytest.raises(SystemExit):
        cadence.check_log(replace(log, **change), ["a", "b"], 2)
