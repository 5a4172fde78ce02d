"""The embedded history gives telemetry back: in order, each sample once, after a crash too."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catcher.model.errors import CatcherError, NotFound
from catcher.model.event import Event
from catcher.model.telemetry import build_index_predicate
from catcher.model.time import DAY, HOUR, MILLISECOND, MINUTE, SECOND, Instant, parse_instant
from catcher.stores.history.columns import events_to_table
from catcher.stores.history.embedded import EmbeddedHistory
from catcher.stores.history.merge_read import merge_batches_to_series
from catcher.stores.history.segments import Segments
from catcher.stores.history.write_buffer import MAX_BUFFER_SAMPLES
from tests.stores.factories import NOON, FakeClock, wait_until

WIND = "lsst.sal.ESS.airFlow"
ALL_TIME = (0, 2**62)


def create_sample(n: int, speed: float | None = None, **fields: Any) -> Event:
    """The n-th sample of a wind that blows at n m/s, one a second."""
    value = float(n) if speed is None else speed
    return Event(WIND, NOON + n * SECOND, {"salIndex": 301, "speed": value, **fields}, "efd")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def history(tmp_path: Path, clock: FakeClock) -> AsyncIterator[EmbeddedHistory]:
    async with EmbeddedHistory(tmp_path / "history", clock=clock) as store:
        yield store


async def wait_until_flushed(history: EmbeddedHistory) -> None:
    """Returns when the disk has taken or refused what was sealed."""
    await wait_until(lambda: history.health().counts["waiting"] == 0)


async def read_speeds(
    history: EmbeddedHistory, start: Instant = 0, end: Instant = 2**62
) -> list[float]:
    series = await history.read(WIND, ["speed"], start, end)
    return series["speed"].tolist()


async def test_a_span_is_read_with_both_its_ends(history: EmbeddedHistory) -> None:
    await history.append([create_sample(n) for n in range(10)])
    series = await history.read(WIND, ["speed"], NOON + 2 * SECOND, NOON + 4 * SECOND)
    assert series["speed"].tolist() == [2.0, 3.0, 4.0]
    assert series.time.tolist() == [NOON / SECOND + n for n in (2, 3, 4)]
    assert series.topic == WIND


async def test_samples_on_disk_and_in_memory_are_one_series(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    for n in range(3 * MAX_BUFFER_SAMPLES // 2):
        await history.append([create_sample(n)])
    clock.now += HOUR
    await history.append(
        [create_sample(n) for n in range(3 * MAX_BUFFER_SAMPLES // 2, 2 * MAX_BUFFER_SAMPLES)]
    )
    assert await read_speeds(history) == [float(n) for n in range(2 * MAX_BUFFER_SAMPLES)]
    await wait_until_flushed(history)
    assert await read_speeds(history) == [float(n) for n in range(2 * MAX_BUFFER_SAMPLES)]
    assert history.health().counts["segments"] >= 1


async def test_late_samples_are_read_in_order(history: EmbeddedHistory, clock: FakeClock) -> None:
    order = list(range(300))
    random.Random(7).shuffle(order)
    for n in order:
        await history.append([create_sample(n)])
        clock.now += SECOND
    assert await read_speeds(history) == [float(n) for n in range(300)]


async def test_a_repeated_sample_is_read_once_two_of_one_time_twice(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    other_sample = create_sample(1, speed=9.5)._replace(fields={"salIndex": 302, "speed": 9.5})
    await history.append([create_sample(0), create_sample(1), other_sample, create_sample(1)])
    clock.now += HOUR
    await history.append([create_sample(0), create_sample(1)])
    await history.append(
        [
            create_sample(2, note="again"),
            create_sample(2, note="again"),
            create_sample(2, note="other"),
        ]
    )
    assert await read_speeds(history) == [0.0, 1.0, 9.5, 2.0, 2.0]


async def test_all_numeric_fields_come_when_none_is_named(history: EmbeddedHistory) -> None:
    await history.append(
        [
            create_sample(
                0, direction=10, ok=True, note="gusty", forces=[1.0, 2.5], site={"dome": {"t": 9}}
            ),
            create_sample(
                1, direction=None, ok=False, note=None, forces=[3.0], site={"dome": {"t": None}}
            ),
        ]
    )
    series = await history.read(WIND, [], *ALL_TIME)
    expected = {
        "salIndex": [301, 301],
        "speed": [0, 1],
        "direction": [10, np.nan],
        "ok": [1, 0],
        "forces0": [1, 3],
        "forces1": [2.5, np.nan],
        "site.dome.t": [9, np.nan],
    }
    assert list(series.columns) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(series[name], values)


async def test_a_named_array_is_all_its_elements_in_order(history: EmbeddedHistory) -> None:
    await history.append([create_sample(0, force=list(range(12)), force_sum=66.0)])
    series = await history.read(WIND, ["force"], *ALL_TIME)
    assert list(series.columns) == [f"force{n}" for n in range(12)]


async def test_a_field_that_no_sample_has_is_unknown(history: EmbeddedHistory) -> None:
    await history.append([create_sample(0)])
    series = await history.read(WIND, ["speed", "gust"], *ALL_TIME)
    assert np.isnan(series["gust"]).tolist() == [True]
    empty = await history.read("lsst.sal.no.topic", ["speed"], *ALL_TIME)
    assert (len(empty), empty["speed"].tolist()) == (0, [])


async def test_a_column_that_once_had_text_keeps_its_numbers(history: EmbeddedHistory) -> None:
    await history.append(
        [create_sample(0), create_sample(1)._replace(fields={"speed": "n/a"}), create_sample(2)]
    )
    np.testing.assert_array_equal(await read_speeds(history), [0.0, np.nan, 2.0])


async def test_a_where_sees_each_sample_as_it_was(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    samples = [
        create_sample(n, note="odd" if n % 2 else "even", ok=n < 4, at={"z": n}) for n in range(8)
    ]
    await history.append(samples[:5])
    clock.now += HOUR
    await history.append(samples[5:])
    seen_rows: list[Mapping[str, Any]] = []

    def is_odd_and_ok(row: Mapping[str, Any]) -> bool:
        seen_rows.append({name: row[name] for name in ("note", "ok", "at", "salIndex")})
        return bool(row["note"] == "odd" and row["ok"] is True and row.get("absent") is None)

    series = await history.read(WIND, ["speed"], *ALL_TIME, where=is_odd_and_ok)
    assert series["speed"].tolist() == [1.0, 3.0]
    assert seen_rows == [
        {name: sample.fields[name] for name in ("note", "ok", "at", "salIndex")}
        for sample in samples
    ]


async def test_it_survives_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    for first in (0, 100):
        async with EmbeddedHistory(tmp_path, clock=clock) as history:
            await history.append([create_sample(n) for n in range(first, first + 100)])
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        assert await read_speeds(history) == [float(n) for n in range(200)]
        assert await history.list_topics() == [WIND]


async def test_a_block_torn_by_a_crash_is_dropped_and_the_rest_read(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        await history.append([create_sample(n) for n in range(MAX_BUFFER_SAMPLES)])
        await history.append(
            [create_sample(n) for n in range(MAX_BUFFER_SAMPLES, MAX_BUFFER_SAMPLES + 100)]
        )
    (file,) = list_block_files(tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[:-7])
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        assert await read_speeds(history) == [float(n) for n in range(MAX_BUFFER_SAMPLES)]
        assert history.health().counts["torn"] == 1
        await history.append(
            [create_sample(n) for n in range(MAX_BUFFER_SAMPLES, MAX_BUFFER_SAMPLES + 100)]
        )
        assert len(await read_speeds(history)) == MAX_BUFFER_SAMPLES + 100
    assert file.read_bytes() == content[:-7]


@pytest.mark.parametrize("offset", [0, 3, 9, 40, 300, -20])
async def test_a_damaged_byte_costs_one_block_and_gives_no_wrong_number(
    tmp_path: Path, clock: FakeClock, offset: int
) -> None:
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        await history.append([create_sample(n) for n in range(500)])
    (file,) = list_block_files(tmp_path)
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x55
    file.write_bytes(data)
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        await history.append([create_sample(n) for n in range(500, 510)])
        assert await read_speeds(history) == [float(n) for n in range(500, 510)]
        assert history.health().counts["torn"] >= 1


async def test_it_stays_within_its_size_oldest_dropped_first(
    tmp_path: Path, clock: FakeClock
) -> None:
    max_bytes, noise = 400_000, random.Random(1)
    async with EmbeddedHistory(tmp_path, max_bytes=max_bytes, clock=clock) as history:
        for n in range(20 * MAX_BUFFER_SAMPLES):
            await history.append([create_sample(n, speed=noise.random())])
    assert sum(file.stat().st_size for file in list_block_files(tmp_path)) <= max_bytes
    async with EmbeddedHistory(tmp_path, max_bytes=max_bytes, clock=clock) as history:
        series = await history.read(WIND, ["speed"], *ALL_TIME)
        assert series.time[-1] == NOON / SECOND + 20 * MAX_BUFFER_SAMPLES - 1
        assert np.all(np.diff(series.time) == 1.0)
        assert MAX_BUFFER_SAMPLES < len(series) < 15 * MAX_BUFFER_SAMPLES


async def test_what_was_written_before_the_horizon_is_deleted(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with EmbeddedHistory(tmp_path, horizon=DAY, clock=clock) as history:
        await history.append([create_sample(0), Event("other", NOON, {"x": 1})])
        clock.now += 2 * MINUTE
        await history.append([Event("tick", clock.now, {"x": 1})])
        clock.now += 2 * DAY
        await history.append([create_sample(1)])
        await wait_until_flushed(history)
        assert await read_speeds(history) == [1.0]
        assert await history.list_topics() == [WIND, "tick"]
        assert history.health().counts["removed"] == 1


async def test_without_a_folder_it_serves_from_memory_within_its_size(clock: FakeClock) -> None:
    async with EmbeddedHistory(None, max_bytes=300_000, clock=clock) as history:
        for n in range(40):
            batch = [create_sample(n * MAX_BUFFER_SAMPLES + i) for i in range(MAX_BUFFER_SAMPLES)]
            await history.append(batch)
        await wait_until_flushed(history)
        series = await history.read(WIND, ["speed"], *ALL_TIME)
        assert series["speed"][-1] == 40 * MAX_BUFFER_SAMPLES - 1
        assert 0 < history.health().counts["bytes"] <= 300_000
        assert history.health().counts["removed"] > 0


async def test_a_disk_that_fails_is_reported_and_unwritten_samples_are_kept(
    tmp_path: Path, clock: FakeClock
) -> None:
    folder = tmp_path / "history"
    async with EmbeddedHistory(folder, clock=clock) as history:
        folder.rmdir()
        await history.append([create_sample(n) for n in range(MAX_BUFFER_SAMPLES)])
        assert len(await read_speeds(history)) == MAX_BUFFER_SAMPLES
        await wait_until_flushed(history)
        assert len(await read_speeds(history)) == MAX_BUFFER_SAMPLES
        assert history.health().state == "away"
        assert "disk" in history.health().problem
        assert await history.list_topics() == [WIND]
        folder.mkdir()
        await history.append(
            [create_sample(n) for n in range(MAX_BUFFER_SAMPLES, 2 * MAX_BUFFER_SAMPLES)]
        )
        await wait_until_flushed(history)
        assert len(await read_speeds(history)) == 2 * MAX_BUFFER_SAMPLES
        assert history.health().state == "ok"
    async with EmbeddedHistory(folder, clock=clock) as history:
        assert len(await read_speeds(history)) == 2 * MAX_BUFFER_SAMPLES


async def test_a_disk_that_hangs_blocks_nothing_and_the_oldest_are_dropped(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.stores.history.write_buffer.STALL_TIMEOUT", 0.05)
    monkeypatch.setattr(
        "catcher.stores.history.write_buffer.MAX_QUEUED_CELLS", 4 * MAX_BUFFER_SAMPLES
    )
    monkeypatch.setattr("catcher.stores.history.embedded.Segments", HangingSegments)
    async with EmbeddedHistory(tmp_path / "history", clock=clock) as history:
        HangingSegments.gate.clear()
        for start in range(0, 6 * MAX_BUFFER_SAMPLES, MAX_BUFFER_SAMPLES):
            await history.append(
                [create_sample(n) for n in range(start, start + MAX_BUFFER_SAMPLES)]
            )
        health = history.health()
        assert (health.state, health.problem) == ("away", "the disk does not answer")
        remaining = await read_speeds(history)
        assert health.counts["dropped"] == 6 * MAX_BUFFER_SAMPLES - len(remaining) > 0
        assert remaining[-1] == 6 * MAX_BUFFER_SAMPLES - 1
        assert remaining[0] == 0.0, "what the disk has in hand is there still"
        HangingSegments.gate.set()
        await wait_until_flushed(history)
        assert await read_speeds(history) == remaining
        assert history.health().state == "ok"


class HangingSegments(Segments):
    """Blocks on a disk that answers when a test lets it."""

    gate = threading.Event()

    def append_block(self, block: bytes, now: Instant) -> None:
        assert self.gate.wait(30)
        super().append_block(block, now)


async def test_a_folder_that_cannot_be_used_is_reported_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CatcherError, match=r"cannot be used.*--data"):
        async with EmbeddedHistory(tmp_path / "file" / "history"):
            pass


async def test_hostile_samples_harm_nothing(history: EmbeddedHistory) -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    hostile = {
        "deep": deep,
        "wide": list(range(100_000)),
        "many": {str(n): n for n in range(20_000)},
        "huge": 10**400,
        "text": "\ud800\0",
        "mixed": [1, "a", {"b": [None]}],
        "": 1,
    }
    await history.append(
        [create_sample(0), create_sample(1, **hostile), Event(WIND, 2**70, {"speed": 1.0})]
    )
    assert await read_speeds(history) == [0.0, 1.0]
    assert history.health().counts["dropped"] == 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
FIELDS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        SCALARS,
        lambda cell: st.lists(cell, max_size=3) | st.dictionaries(st.text(), cell, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), FIELDS), max_size=4))
def test_any_samples_can_be_stored_and_read(samples: Sequence[tuple[int, dict[str, Any]]]) -> None:
    events = [Event("t", time, fields) for time, fields in samples]
    parts = [events_to_table(events)] if events else []
    series = merge_batches_to_series("t", parts, (), -3, 3, lambda row: bool(dict(row)) or True)
    assert np.all(np.diff(series.time) >= 0)
    assert len(series) <= len(events)


async def test_the_telemetry_of_a_real_night_comes_back(
    shared_data: Path, tmp_path: Path, clock: FakeClock
) -> None:
    lines = (shared_data / "efd-mount-demand-2023-06-01.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    events = [Event(row["topic"], parse_instant(row["time"]), row["fields"]) for row in rows]
    topic = events[0].topic
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        await history.append(events[::-1])
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        series = await history.read(topic, ["actualPosition", "demandPosition"], *ALL_TIME)
    in_order = sorted(events, key=lambda event: event.time)
    for name in series.columns:
        assert series[name].tolist() == [event.fields[name] for event in in_order]
    assert series.time.tolist() == [event.time / SECOND for event in in_order]


async def test_times_keep_their_nanoseconds_order(history: EmbeddedHistory) -> None:
    times = [NOON + n * MILLISECOND + n for n in (5, 3, 4)]
    await history.append([Event(WIND, time, {"n": time % SECOND}) for time in times])
    series = await history.read(WIND, ["n"], *ALL_TIME)
    assert series["n"].tolist() == sorted(time % SECOND for time in times)
    assert series.time.tolist() == [time / SECOND for time in sorted(times)]


def list_block_files(folder: Path) -> list[Path]:
    """The history's files, oldest first."""
    return sorted(folder.glob("*.blocks"))


async def test_the_newest_samples_are_found_however_far_apart(history: EmbeddedHistory) -> None:
    await history.append(
        [
            create_sample(0),
            create_sample(100_000),
            create_sample(100_001),
            create_sample(100_002, salIndex=302),
        ]
    )
    newest = await history.read_latest(WIND, ["speed"], 3)
    assert newest["speed"].tolist() == [100_000.0, 100_001.0, 100_002.0]
    before = await history.read_latest(WIND, ["speed"], 1, end=NOON + 99_999 * SECOND)
    assert before["speed"].tolist() == [0.0]
    filtered = await history.read_latest(WIND, ["speed"], 2, where=build_index_predicate(301))
    assert filtered["speed"].tolist() == [100_000.0, 100_001.0]
    assert len(await history.read_latest("lsst.sal.no.topic", [], 5)) == 0
    with pytest.raises(CatcherError, match="0 samples cannot be asked for"):
        await history.read_latest(WIND, [], 0)


async def test_fields_are_listed_with_their_types_on_disk_and_in_memory(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    sample = create_sample(0, ok=True, note="gust", force=list(range(11)))
    expected = [("force0", "float"), ("force1", "float"), ("force2", "float"),
        ("force10", "float"), ("note", "string"), ("ok", "boolean"),
        ("salIndex", "float"), ("speed", "float")]  # fmt: skip

    async def list_field_types() -> list[tuple[str, str]]:
        pairs = [(field.name, field.type) for field in await history.list_fields(WIND)]
        return [field for field in pairs if field[0] not in {f"force{n}" for n in range(3, 10)}]

    await history.append([sample])
    assert await list_field_types() == expected
    clock.now += HOUR
    await history.append([])
    await wait_until_flushed(history)
    assert await list_field_types() == expected
    with pytest.raises(NotFound, match=r"no topic 'lsst.sal.ESS.airflow'; did you mean"):
        await history.list_fields("lsst.sal.ESS.airflow")


async def test_the_watermark_goes_on_with_the_stream(history: EmbeddedHistory) -> None:
    assert await history.get_watermark(WIND) is None
    await history.append([create_sample(0)])
    assert await history.get_watermark(WIND) == NOON
    await history.append([Event("tick", NOON + MINUTE, {"x": 1})])
    assert await history.get_watermark(WIND) == NOON + MINUTE - SECOND
