"""Recorded streams are read whole, in order, and played at any speed."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.time import SECOND, parse_instant, wall_clock
from catcher.ports import EventBatch
from catcher.recordings.reader import RejectedLine, iter_recorded_events
from catcher.recordings.source import ReplaySettings, ReplaySource

START = parse_instant("2025-04-24T00:00:00Z")


def create_line(topic: str, second: float, **fields: object) -> str:
    time = START / SECOND + second
    return json.dumps({"topic": topic, "time": time, "fields": fields})


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


def create_source(*files: Path, speed: str | float = "max", position: str = "") -> ReplaySource:
    settings = ReplaySettings(files=tuple(map(str, files)), speed=speed)
    return ReplaySource("night", settings, wall_clock, position=position)


async def replay_all(replay: ReplaySource) -> list[EventBatch]:
    async with replay.open() as batches:
        return [batch async for batch in batches]


def list_events(batches: Sequence[EventBatch]) -> list[Event]:
    return [event for batch in batches for event in batch.events]


def test_a_real_night_is_read_completely_and_in_order(shared_data: Path) -> None:
    path = shared_data / "efd-night-2023-07-28.jsonl.gz"
    with gzip.open(path, "rt") as file:
        expected = [json.loads(text) for text in file]
    items = list(iter_recorded_events([path]))
    assert len(items) == 6710
    events = [item for item in items if isinstance(item, Event)]
    assert Counter(item.topic for item in events) == Counter(item["topic"] for item in expected)
    assert [item.fields for item in events] == [item["fields"] for item in expected]
    assert [item.time for item in events] == [parse_instant(item["time"]) for item in expected]


async def test_a_real_night_is_replayed_completely(shared_data: Path) -> None:
    replay = create_source(shared_data / "efd-night-2023-07-28.jsonl.gz")
    events = list_events(await replay_all(replay))
    assert len(events) == 6710
    assert {event.source for event in events} == {"night"}
    assert replay.health().state == "ended"
    assert replay.health().counts["events"] == 6710


def test_several_files_are_merged_by_time(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl", create_line("a", 1), create_line("a", 3))
    second = write_lines(
        tmp_path / "b.jsonl", create_line("b", 2), create_line("b", 3), create_line("b", 4)
    )
    topics = [
        item.topic for item in iter_recorded_events([first, second]) if isinstance(item, Event)
    ]
    assert topics == ["a", "b", "a", "b", "b"]


def test_within_a_file_the_recorded_order_stays(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", create_line("late", 5), create_line("early", 1))
    assert [item.topic for item in iter_recorded_events([path]) if isinstance(item, Event)] == [
        "late",
        "early",
    ]


def test_a_bad_line_is_named_by_file_and_line_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl", "\ufeff" + create_line("a", 1), "", "{oops", create_line("a", 2), "[]"
    )
    items = list(iter_recorded_events([path]))
    assert [item.topic for item in items if isinstance(item, Event)] == ["a", "a"]
    messages = [str(item) for item in items if isinstance(item, RejectedLine)]
    assert messages[0].startswith(f"{path}:3: it is not JSON")
    assert messages[1].startswith(f"{path}:5: a list is no event")


def test_a_line_without_end_is_rejected_and_the_next_is_read(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", "x" * 25_000_000, create_line("a", 1))
    items = list(iter_recorded_events([path]))
    assert "25000001 bytes is larger than" in str(items[0])
    assert isinstance(items[1], Event)


def test_gzip_is_known_by_its_content_and_a_cut_one_is_reported(tmp_path: Path) -> None:
    compressed = gzip.compress("".join(create_line("a", n) + "\n" for n in range(2000)).encode())
    path = tmp_path / "night.jsonl"
    path.write_bytes(compressed[: len(compressed) // 2])
    items = list(iter_recorded_events([path]))
    assert len(items) > 100
    assert all(isinstance(item, Event) for item in items[:-2])
    assert "ends in the middle of its gzip stream" in str(items[-1])


def test_damaged_gzip_is_reported(tmp_path: Path) -> None:
    compressed = bytearray(gzip.compress(create_line("a", 1).encode() * 50))
    compressed[20:40] = b"\xff" * 20
    path = tmp_path / "night.jsonl.gz"
    path.write_bytes(compressed)
    assert "cannot be read further" in str(list(iter_recorded_events([path]))[-1])


def test_parquet_gives_the_same_events_as_lines(tmp_path: Path) -> None:
    table = pa.table(
        {
            "time": pa.array([START, START + SECOND // 2], pa.timestamp("ns", tz="UTC")),
            "speed": pa.array([7.5, float("nan")]),
            "salIndex": pa.array([301, None], pa.int32()),
            "name": pa.array(["a", "b"]),
            "forces": pa.array([[1.0, float("inf")], None], pa.list_(pa.float64())),
            "raw": pa.array([b"x\xff", None]),
            "day": pa.array([datetime(2025, 4, 24, tzinfo=UTC), None]),
        }
    )
    path = tmp_path / "lsst.sal.ESS.airFlow.parquet"
    pq.write_table(table, path)
    first, second = iter_recorded_events([path])
    assert isinstance(first, Event)
    assert first.topic == "lsst.sal.ESS.airFlow"
    assert first.time == START
    assert first.fields["forces"] == [1.0, None]
    assert first.fields["raw"] == "x\N{REPLACEMENT CHARACTER}"
    assert str(first.fields["day"]).startswith("2025-04-24")
    assert isinstance(second, Event)
    assert second.time == START + SECOND // 2
    assert second.fields["speed"] is None
    assert second.fields["salIndex"] is None


def test_parquet_may_hold_time_as_seconds_and_name_its_topic(tmp_path: Path) -> None:
    table = pa.table({"time": [START / SECOND, 5.0], "x": [1, 2]})
    path = tmp_path / "other.parquet"
    pq.write_table(table.replace_schema_metadata({"topic": "a.b"}), path)
    good, bad = iter_recorded_events([path])
    assert good == Event("a.b", START, {"x": 1}, "")
    assert str(bad).startswith(f"{path}:2: a.b: time 5.0 is no time")


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"x" * 200])
def test_a_broken_parquet_file_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert "the Parquet file cannot be read further" in str(
        next(iter(iter_recorded_events([path])))
    )


def test_parquet_without_a_time_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    assert "it has no column 'time', only x" in str(next(iter(iter_recorded_events([path]))))


def test_a_folder_means_the_recordings_in_it(tmp_path: Path) -> None:
    write_lines(tmp_path / "b.jsonl", create_line("b", 2))
    write_lines(tmp_path / "a.jsonl", create_line("a", 1))
    write_lines(tmp_path / "notes.txt", "not this one")
    assert len(list(iter_recorded_events([tmp_path]))) == 2


async def test_a_missing_recording_is_reported_before_anything_is_replayed(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match="there is no recorded stream"):
        await replay_all(create_source(tmp_path / "none.jsonl"))
    with pytest.raises(CatcherError, match="holds no recorded stream"):
        list(iter_recorded_events([tmp_path]))


async def test_it_continues_from_a_position(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl", *(create_line("a", 2 * n, n=n) for n in range(800)))
    second = write_lines(
        tmp_path / "b.jsonl", "bad", *(create_line("b", 2 * n + 1, n=n) for n in range(800))
    )
    batches = await replay_all(create_source(first, second))
    assert len(batches) > 2
    remaining = await replay_all(create_source(first, second, position=batches[0].position))
    assert list_events(batches[:1]) + list_events(remaining) == list_events(batches)
    assert not remaining[0].rejected


async def test_bad_lines_are_rejected_with_their_location(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", create_line("a", 1), "bad")
    replay = create_source(path)
    batches = await replay_all(replay)
    assert batches[0].rejected[0].startswith(f"{path}:2: ")
    assert replay.health().counts == {"events": 1, "rejected": 1}


async def test_at_a_speed_events_come_no_sooner_than_they_are_due(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", *(create_line("a", n) for n in range(6)))
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with create_source(path, speed=20).open() as batches:
        async for batch in batches:
            for event in batch.events:
                assert loop.time() - started >= (event.time - START) / SECOND / 20 - 0.001


async def test_closing_midway_ends_it(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", *(create_line("a", 1000 * n) for n in range(6)))
    replay = create_source(path, speed=1)
    async with replay.open() as batches:
        assert (await anext(batches)).events
        task = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert replay.health().state == "ended"


@pytest.mark.parametrize("speed", ["fast", -1, "nan", "inf"])
def test_an_invalid_speed_is_refused(speed: str) -> None:
    with pytest.raises(CatcherError, match="is no speed"):
        ReplaySettings(files=("a",), speed=speed)
