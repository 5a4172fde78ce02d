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

from catcher.model.event import Event
from catcher.model.problem import CatcherError, Unknown
from catcher.model.telemetry import indexed
from catcher.model.time import DAY, HOUR, MILLISECOND, MINUTE, SECOND, Instant, parse_instant
from catcher.stores.history import EmbeddedHistory
from catcher.stores.history_reading import series_of
from catcher.stores.history_segments import Segments
from catcher.stores.history_table import table_of
from catcher.stores.history_tails import LONGEST_TAIL
from tests.stores.making import NOON, FakeClock, until

WIND = "lsst.sal.ESS.airFlow"
ALWAYS = (0, 2**62)


def wind(n: int, speed: float | None = None, **fields: Any) -> Event:
    """The n-th sample of a wind that blows at n m/s, one a second."""
    value = float(n) if speed is None else speed
    return Event(WIND, NOON + n * SECOND, {"salIndex": 301, "speed": value, **fields}, "efd")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def history(tmp_path: Path, clock: FakeClock) -> AsyncIterator[EmbeddedHistory]:
    async with EmbeddedHistory(tmp_path / "history", clock=clock) as opened:
        yield opened


async def settled(history: EmbeddedHistory) -> None:
    """Returns when the disk has taken or refused what was sealed."""
    await until(lambda: history.health().counts["waiting"] == 0)


async def speeds(history: EmbeddedHistory, start: Instant = 0, end: Instant = 2**62) -> list[float]:
    series = await history.read(WIND, ["speed"], start, end)
    return series["speed"].tolist()


async def test_a_span_is_read_with_both_its_ends(history: EmbeddedHistory) -> None:
    await history.append([wind(n) for n in range(10)])
    series = await history.read(WIND, ["speed"], NOON + 2 * SECOND, NOON + 4 * SECOND)
    assert series["speed"].tolist() == [2.0, 3.0, 4.0]
    assert series.time.tolist() == [NOON / SECOND + n for n in (2, 3, 4)]
    assert series.topic == WIND


async def test_samples_on_disk_and_in_memory_are_one_series(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    for n in range(3 * LONGEST_TAIL // 2):
        await history.append([wind(n)])
    clock.now += HOUR
    await history.append([wind(n) for n in range(3 * LONGEST_TAIL // 2, 2 * LONGEST_TAIL)])
    assert await speeds(history) == [float(n) for n in range(2 * LONGEST_TAIL)]
    await settled(history)
    assert await speeds(history) == [float(n) for n in range(2 * LONGEST_TAIL)]
    assert history.health().counts["segments"] >= 1


async def test_what_comes_late_is_read_in_its_place(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    order = list(range(300))
    random.Random(7).shuffle(order)
    for n in order:
        await history.append([wind(n)])
        clock.now += SECOND
    assert await speeds(history) == [float(n) for n in range(300)]


async def test_a_sample_that_comes_again_is_read_once_two_of_one_time_twice(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    other = wind(1, speed=9.5)._replace(fields={"salIndex": 302, "speed": 9.5})
    await history.append([wind(0), wind(1), other, wind(1)])
    clock.now += HOUR
    await history.append([wind(0), wind(1)])
    await history.append([wind(2, note="again"), wind(2, note="again"), wind(2, note="other")])
    assert await speeds(history) == [0.0, 1.0, 9.5, 2.0, 2.0]


async def test_all_numeric_fields_come_when_none_is_named(history: EmbeddedHistory) -> None:
    await history.append(
        [
            wind(
                0, direction=10, ok=True, note="gusty", forces=[1.0, 2.5], site={"dome": {"t": 9}}
            ),
            wind(1, direction=None, ok=False, note=None, forces=[3.0], site={"dome": {"t": None}}),
        ]
    )
    series = await history.read(WIND, [], *ALWAYS)
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


async def test_a_named_array_is_all_its_places_in_their_order(history: EmbeddedHistory) -> None:
    await history.append([wind(0, force=list(range(12)), force_sum=66.0)])
    series = await history.read(WIND, ["force"], *ALWAYS)
    assert list(series.columns) == [f"force{n}" for n in range(12)]


async def test_a_field_that_no_sample_has_is_unknown(history: EmbeddedHistory) -> None:
    await history.append([wind(0)])
    series = await history.read(WIND, ["speed", "gust"], *ALWAYS)
    assert np.isnan(series["gust"]).tolist() == [True]
    nothing = await history.read("lsst.sal.no.topic", ["speed"], *ALWAYS)
    assert (len(nothing), nothing["speed"].tolist()) == (0, [])


async def test_a_column_that_once_held_text_keeps_its_numbers(history: EmbeddedHistory) -> None:
    await history.append([wind(0), wind(1)._replace(fields={"speed": "n/a"}), wind(2)])
    np.testing.assert_array_equal(await speeds(history), [0.0, np.nan, 2.0])


async def test_a_where_sees_each_sample_as_it_was(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    samples = [wind(n, note="odd" if n % 2 else "even", ok=n < 4, at={"z": n}) for n in range(8)]
    await history.append(samples[:5])
    clock.now += HOUR
    await history.append(samples[5:])
    seen: list[Mapping[str, Any]] = []

    def odd_and_ok(row: Mapping[str, Any]) -> bool:
        seen.append({name: row[name] for name in ("note", "ok", "at", "salIndex")})
        return bool(row["note"] == "odd" and row["ok"] is True and row.get("absent") is None)

    series = await history.read(WIND, ["speed"], *ALWAYS, where=odd_and_ok)
    assert series["speed"].tolist() == [1.0, 3.0]
    assert seen == [
        {name: sample.fields[name] for name in ("note", "ok", "at", "salIndex")}
        for sample in samples
    ]


async def test_it_survives_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    for begin in (0, 100):
        async with EmbeddedHistory(tmp_path, clock=clock) as history:
            await history.append([wind(n) for n in range(begin, begin + 100)])
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        assert await speeds(history) == [float(n) for n in range(200)]
        assert await history.topics() == [WIND]


async def test_a_block_torn_by_a_crash_is_dropped_and_the_rest_read(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        await history.append([wind(n) for n in range(LONGEST_TAIL)])
        await history.append([wind(n) for n in range(LONGEST_TAIL, LONGEST_TAIL + 100)])
    (file,) = written(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-7])
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        assert await speeds(history) == [float(n) for n in range(LONGEST_TAIL)]
        assert history.health().counts["torn"] == 1
        await history.append([wind(n) for n in range(LONGEST_TAIL, LONGEST_TAIL + 100)])
        assert len(await speeds(history)) == LONGEST_TAIL + 100
    assert file.read_bytes() == whole[:-7]


@pytest.mark.parametrize("place", [0, 3, 9, 40, 300, -20])
async def test_a_damaged_byte_costs_one_block_and_gives_no_wrong_number(
    tmp_path: Path, clock: FakeClock, place: int
) -> None:
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        await history.append([wind(n) for n in range(500)])
    (file,) = written(tmp_path)
    data = bytearray(file.read_bytes())
    data[place] ^= 0x55
    file.write_bytes(data)
    async with EmbeddedHistory(tmp_path, clock=clock) as history:
        await history.append([wind(n) for n in range(500, 510)])
        assert await speeds(history) == [float(n) for n in range(500, 510)]
        assert history.health().counts["torn"] >= 1


async def test_it_is_kept_within_its_size_oldest_first(tmp_path: Path, clock: FakeClock) -> None:
    bound, noise = 400_000, random.Random(1)
    async with EmbeddedHistory(tmp_path, max_bytes=bound, clock=clock) as history:
        for n in range(20 * LONGEST_TAIL):
            await history.append([wind(n, speed=noise.random())])
    assert sum(file.stat().st_size for file in written(tmp_path)) <= bound
    async with EmbeddedHistory(tmp_path, max_bytes=bound, clock=clock) as history:
        series = await history.read(WIND, ["speed"], *ALWAYS)
        assert series.time[-1] == NOON / SECOND + 20 * LONGEST_TAIL - 1
        assert np.all(np.diff(series.time) == 1.0)
        assert LONGEST_TAIL < len(series) < 15 * LONGEST_TAIL


async def test_what_was_written_before_the_horizon_is_deleted(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with EmbeddedHistory(tmp_path, horizon=DAY, clock=clock) as history:
        await history.append([wind(0), Event("other", NOON, {"x": 1})])
        clock.now += 2 * MINUTE
        await history.append([Event("tick", clock.now, {"x": 1})])
        clock.now += 2 * DAY
        await history.append([wind(1)])
        await settled(history)
        assert await speeds(history) == [1.0]
        assert await history.topics() == [WIND, "tick"]
        assert history.health().counts["removed"] == 1


async def test_without_a_folder_it_serves_from_memory_within_its_size(clock: FakeClock) -> None:
    async with EmbeddedHistory(None, max_bytes=300_000, clock=clock) as history:
        for n in range(40):
            batch = [wind(n * LONGEST_TAIL + i) for i in range(LONGEST_TAIL)]
            await history.append(batch)
        await settled(history)
        series = await history.read(WIND, ["speed"], *ALWAYS)
        assert series["speed"][-1] == 40 * LONGEST_TAIL - 1
        assert 0 < history.health().counts["bytes"] <= 300_000
        assert history.health().counts["removed"] > 0


async def test_a_disk_that_fails_is_told_and_what_it_did_not_take_is_kept(
    tmp_path: Path, clock: FakeClock
) -> None:
    folder = tmp_path / "history"
    async with EmbeddedHistory(folder, clock=clock) as history:
        folder.rmdir()
        await history.append([wind(n) for n in range(LONGEST_TAIL)])
        assert len(await speeds(history)) == LONGEST_TAIL
        await settled(history)
        assert len(await speeds(history)) == LONGEST_TAIL
        assert history.health().state == "away"
        assert "disk" in history.health().problem
        assert await history.topics() == [WIND]
        folder.mkdir()
        await history.append([wind(n) for n in range(LONGEST_TAIL, 2 * LONGEST_TAIL)])
        await settled(history)
        assert len(await speeds(history)) == 2 * LONGEST_TAIL
        assert history.health().state == "ok"
    async with EmbeddedHistory(folder, clock=clock) as history:
        assert len(await speeds(history)) == 2 * LONGEST_TAIL


async def test_a_disk_that_hangs_holds_nobody_up_and_the_oldest_are_dropped(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catcher.stores.history_tails.LONGEST_STALL", 0.05)
    monkeypatch.setattr("catcher.stores.history_tails.MOST_WAITING", 4 * LONGEST_TAIL)
    monkeypatch.setattr("catcher.stores.history.Segments", Hanging)
    async with EmbeddedHistory(tmp_path / "history", clock=clock) as history:
        Hanging.gate.clear()
        for start in range(0, 6 * LONGEST_TAIL, LONGEST_TAIL):
            await history.append([wind(n) for n in range(start, start + LONGEST_TAIL)])
        health = history.health()
        assert (health.state, health.problem) == ("away", "the disk does not answer")
        kept = await speeds(history)
        assert health.counts["dropped"] == 6 * LONGEST_TAIL - len(kept) > 0
        assert kept[-1] == 6 * LONGEST_TAIL - 1
        assert kept[0] == 0.0, "what the disk has in hand is there still"
        Hanging.gate.set()
        await settled(history)
        assert await speeds(history) == kept
        assert history.health().state == "ok"


class Hanging(Segments):
    """Blocks on a disk that answers when a test lets it."""

    gate = threading.Event()

    def append(self, block: bytes, now: Instant) -> None:
        assert self.gate.wait(30)
        super().append(block, now)


async def test_a_folder_that_cannot_be_used_is_told_with_what_to_do(tmp_path: Path) -> None:
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
    await history.append([wind(0), wind(1, **hostile), Event(WIND, 2**70, {"speed": 1.0})])
    assert await speeds(history) == [0.0, 1.0]
    assert history.health().counts["dropped"] == 1


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
FIELDS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        CELLS,
        lambda cell: st.lists(cell, max_size=3) | st.dictionaries(st.text(), cell, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), FIELDS), max_size=4))
def test_any_samples_can_be_kept_and_read(samples: Sequence[tuple[int, dict[str, Any]]]) -> None:
    events = [Event("t", time, fields) for time, fields in samples]
    parts = [table_of(events)] if events else []
    series = series_of("t", parts, (), -3, 3, lambda row: bool(dict(row)) or True)
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
        series = await history.read(topic, ["actualPosition", "demandPosition"], *ALWAYS)
    in_order = sorted(events, key=lambda event: event.time)
    for name in series.columns:
        assert series[name].tolist() == [event.fields[name] for event in in_order]
    assert series.time.tolist() == [event.time / SECOND for event in in_order]


async def test_times_keep_their_nanoseconds_order(history: EmbeddedHistory) -> None:
    times = [NOON + n * MILLISECOND + n for n in (5, 3, 4)]
    await history.append([Event(WIND, time, {"n": time % SECOND}) for time in times])
    series = await history.read(WIND, ["n"], *ALWAYS)
    assert series["n"].tolist() == sorted(time % SECOND for time in times)
    assert series.time.tolist() == [time / SECOND for time in sorted(times)]


def written(folder: Path) -> list[Path]:
    """The history's files, oldest first."""
    return sorted(folder.glob("*.blocks"))


async def test_the_newest_samples_are_found_however_far_apart(history: EmbeddedHistory) -> None:
    await history.append([wind(0), wind(100_000), wind(100_001), wind(100_002, salIndex=302)])
    newest = await history.newest(WIND, ["speed"], 3)
    assert newest["speed"].tolist() == [100_000.0, 100_001.0, 100_002.0]
    before = await history.newest(WIND, ["speed"], 1, end=NOON + 99_999 * SECOND)
    assert before["speed"].tolist() == [0.0]
    one = await history.newest(WIND, ["speed"], 2, where=indexed(301))
    assert one["speed"].tolist() == [100_000.0, 100_001.0]
    assert len(await history.newest("lsst.sal.no.topic", [], 5)) == 0
    with pytest.raises(CatcherError, match="0 samples cannot be asked for"):
        await history.newest(WIND, [], 0)


async def test_fields_are_told_with_their_types_on_disk_and_in_memory(
    history: EmbeddedHistory, clock: FakeClock
) -> None:
    sample = wind(0, ok=True, note="gust", force=list(range(11)))
    expected = [("force0", "float"), ("force1", "float"), ("force2", "float"),
        ("force10", "float"), ("note", "string"), ("ok", "boolean"),
        ("salIndex", "float"), ("speed", "float")]  # fmt: skip

    async def told() -> list[tuple[str, str]]:
        known = [(one.name, one.type) for one in await history.fields(WIND)]
        return [one for one in known if one[0] not in {f"force{n}" for n in range(3, 10)}]

    await history.append([sample])
    assert await told() == expected
    clock.now += HOUR
    await history.append([])
    await settled(history)
    assert await told() == expected
    with pytest.raises(Unknown, match=r"no topic 'lsst.sal.ESS.airflow'; did you mean"):
        await history.fields("lsst.sal.ESS.airflow")


async def test_the_watermark_goes_on_with_the_stream(history: EmbeddedHistory) -> None:
    assert await history.watermark(WIND) is None
    await history.append([wind(0)])
    assert await history.watermark(WIND) == NOON
    await history.append([Event("tick", NOON + MINUTE, {"x": 1})])
    assert await history.watermark(WIND) == NOON + MINUTE - SECOND
