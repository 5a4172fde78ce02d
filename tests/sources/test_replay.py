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

from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.time import SECOND, parse_instant, wall_clock
from catcher.ports import Delivery
from catcher.sources.recorded import Rejected, read_recorded
from catcher.sources.replay import ReplaySettings, ReplaySource

START = parse_instant("2025-04-24T00:00:00Z")


def line(topic: str, second: float, **fields: object) -> str:
    time = START / SECOND + second
    return json.dumps({"topic": topic, "time": time, "fields": fields})


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{one}\n" for one in lines))
    return path


def source(*files: Path, speed: str | float = "max", position: str = "") -> ReplaySource:
    settings = ReplaySettings(files=tuple(map(str, files)), speed=speed)
    return ReplaySource("night", settings, wall_clock, position=position)


async def play(replay: ReplaySource) -> list[Delivery]:
    async with replay.open() as deliveries:
        return [delivery async for delivery in deliveries]


def events_of(deliveries: Sequence[Delivery]) -> list[Event]:
    return [event for delivery in deliveries for event in delivery.events]


def test_a_real_night_is_read_whole_and_in_order(shared_data: Path) -> None:
    path = shared_data / "efd-night-2023-07-28.jsonl.gz"
    with gzip.open(path, "rt") as file:
        expected = [json.loads(one) for one in file]
    read = list(read_recorded([path]))
    assert len(read) == 6710
    events = [one for one in read if isinstance(one, Event)]
    assert Counter(one.topic for one in events) == Counter(one["topic"] for one in expected)
    assert [one.fields for one in events] == [one["fields"] for one in expected]
    assert [one.time for one in events] == [parse_instant(one["time"]) for one in expected]


async def test_a_real_night_is_played_whole(shared_data: Path) -> None:
    replay = source(shared_data / "efd-night-2023-07-28.jsonl.gz")
    events = events_of(await play(replay))
    assert len(events) == 6710
    assert {event.source for event in events} == {"night"}
    assert replay.health().state == "ended"
    assert replay.health().counts["events"] == 6710


def test_several_files_are_merged_by_time(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", line("a", 1), line("a", 3))
    second = write(tmp_path / "b.jsonl", line("b", 2), line("b", 3), line("b", 4))
    topics = [one.topic for one in read_recorded([first, second]) if isinstance(one, Event)]
    assert topics == ["a", "b", "a", "b", "b"]


def test_within_a_file_the_recorded_order_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", line("late", 5), line("early", 1))
    assert [one.topic for one in read_recorded([path]) if isinstance(one, Event)] == [
        "late",
        "early",
    ]


def test_a_bad_line_is_named_by_file_and_line_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "\ufeff" + line("a", 1), "", "{oops", line("a", 2), "[]")
    read = list(read_recorded([path]))
    assert [one.topic for one in read if isinstance(one, Event)] == ["a", "a"]
    words = [str(one) for one in read if isinstance(one, Rejected)]
    assert words[0].startswith(f"{path}:3: it is not JSON")
    assert words[1].startswith(f"{path}:5: a list is no event")


def test_a_line_without_end_is_rejected_and_the_next_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "x" * 25_000_000, line("a", 1))
    read = list(read_recorded([path]))
    assert "25000001 bytes is larger than" in str(read[0])
    assert isinstance(read[1], Event)


def test_gzip_is_known_by_its_content_and_a_cut_one_is_reported(tmp_path: Path) -> None:
    whole = gzip.compress("".join(line("a", n) + "\n" for n in range(2000)).encode())
    path = tmp_path / "night.jsonl"
    path.write_bytes(whole[: len(whole) // 2])
    read = list(read_recorded([path]))
    assert len(read) > 100
    assert all(isinstance(one, Event) for one in read[:-2])
    assert "ends in the middle of its gzip stream" in str(read[-1])


def test_damaged_gzip_is_reported(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(line("a", 1).encode() * 50))
    whole[20:40] = b"\xff" * 20
    path = tmp_path / "night.jsonl.gz"
    path.write_bytes(whole)
    assert "cannot be read further" in str(list(read_recorded([path]))[-1])


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
    first, second = read_recorded([path])
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
    good, bad = read_recorded([path])
    assert good == Event("a.b", START, {"x": 1}, "")
    assert str(bad).startswith(f"{path}:2: a.b: time 5.0 is no time")


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"x" * 200])
def test_a_broken_parquet_file_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert "the Parquet file cannot be read further" in str(next(iter(read_recorded([path]))))


def test_parquet_without_a_time_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    assert "it has no column 'time', only x" in str(next(iter(read_recorded([path]))))


def test_a_folder_stands_for_the_recordings_in_it(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", line("b", 2))
    write(tmp_path / "a.jsonl", line("a", 1))
    write(tmp_path / "notes.txt", "not this one")
    assert len(list(read_recorded([tmp_path]))) == 2


async def test_what_is_not_there_is_said_before_anything_is_played(tmp_path: Path) -> None:
    with pytest.raises(CatcherError, match="there is no recorded stream"):
        await play(source(tmp_path / "none.jsonl"))
    with pytest.raises(CatcherError, match="holds no recorded stream"):
        list(read_recorded([tmp_path]))


async def test_it_goes_on_from_a_position(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", *(line("a", 2 * n, n=n) for n in range(800)))
    second = write(tmp_path / "b.jsonl", "bad", *(line("b", 2 * n + 1, n=n) for n in range(800)))
    whole = await play(source(first, second))
    assert len(whole) > 2
    rest = await play(source(first, second, position=whole[0].position))
    assert events_of(whole[:1]) + events_of(rest) == events_of(whole)
    assert not rest[0].rejected


async def test_bad_lines_are_rejected_with_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", line("a", 1), "bad")
    replay = source(path)
    deliveries = await play(replay)
    assert deliveries[0].rejected[0].startswith(f"{path}:2: ")
    assert replay.health().counts == {"events": 1, "rejected": 1}


async def test_at_a_speed_events_come_no_sooner_than_they_are_due(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *(line("a", n) for n in range(6)))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with source(path, speed=20).open() as deliveries:
        async for delivery in deliveries:
            for event in delivery.events:
                assert loop.time() - begun >= (event.time - START) / SECOND / 20 - 0.001


async def test_leaving_in_the_middle_ends_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *(line("a", 1000 * n) for n in range(6)))
    replay = source(path, speed=1)
    async with replay.open() as deliveries:
        assert (await anext(deliveries)).events
        waiting = asyncio.ensure_future(anext(deliveries))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
    assert replay.health().state == "ended"


@pytest.mark.parametrize("speed", ["fast", -1, "nan", "inf"])
def test_a_speed_that_is_none_is_refused(speed: str) -> None:
    with pytest.raises(CatcherError, match="is no speed"):
        ReplaySettings(files=("a",), speed=speed)
