"""Recordings: what was written is there again, whatever the form and however it ended."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from catcher.model.errors import CatcherError
from catcher.model.event import Event
from catcher.model.time import MINUTE, SECOND, format_instant
from catcher.recordings.reader import iter_recorded_events
from catcher.recordings.writer import Recorder, RecorderSettings
from tests.stores.factories import NOON, FakeClock

FORMATS = ["jsonl", "jsonl.gz", "parquet"]


def create_lines(*numbers: int, topic: str = "lsst.sal.wind", **extra: Any) -> list[bytes]:
    return [
        json.dumps(
            {
                "topic": topic, "time": format_instant(NOON + n * SECOND),
                "fields": {"n": n, "speed": n / 2, "name": "x", **extra}, "source": "efd",
            }
        ).encode() + b"\n"
        for n in numbers
    ]  # fmt: skip


def create_recorder(
    folder: Path, clock: FakeClock, file_format: str = "jsonl", **settings: Any
) -> Recorder:
    return Recorder(RecorderSettings(folder=folder, form=file_format, **settings), clock)


def read_events(folder: Path) -> list[Event]:
    items = list(iter_recorded_events([folder]))
    assert all(isinstance(item, Event) for item in items), items
    return [item for item in items if isinstance(item, Event)]


@pytest.mark.parametrize("file_format", FORMATS)
def test_it_comes_back_as_it_was_over_several_files(tmp_path: Path, file_format: str) -> None:
    clock, mixed = FakeClock(), [1, "a", None, [1.5, 2.5], {"k": True}]
    with create_recorder(tmp_path, clock, file_format, age=MINUTE) as recorder:
        for minute in range(3):
            recorder.write(create_lines(10 * minute, 10 * minute + 1, flag=True))
            recorder.write(
                create_lines(10 * minute + 2, topic="b/../c", mixed=mixed[minute], gap=None)
            )
            clock.now += MINUTE
            recorder.sync_and_rotate()
    events = read_events(tmp_path)
    assert [event.fields["n"] for event in events] == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert [event.time for event in events] == [
        NOON + event.fields["n"] * SECOND for event in events
    ]
    assert {event.topic for event in events} == {"lsst.sal.wind", "b/../c"}
    assert events[0].fields["flag"] is True
    assert isinstance(events[0].fields["n"], int)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.parent.glob("*.parquet"))
    assert recorder.files == (6 if file_format == "parquet" else 3)


@pytest.mark.parametrize("file_format", FORMATS)
def test_what_a_crash_left_is_repaired_at_the_next_start(tmp_path: Path, file_format: str) -> None:
    clock = FakeClock()
    event = create_recorder(tmp_path, clock, file_format).__enter__()
    event.write(create_lines(1, 2))
    clock.now += 2 * SECOND
    event.sync_and_rotate()
    (part,) = tmp_path.glob("*.part")
    # As SIGKILL leaves it: no end, and a line that was torn.
    torn = create_lines(3)[0][:30]
    with part.open("ab") as file:
        file.write(gzip.compress(torn)[:-9] if file_format == "jsonl.gz" else torn)
    assert event._lock_file is not None and event._current_file is not None
    event._current_file._file.close()
    event._lock_file.close()
    with create_recorder(tmp_path, clock, file_format) as second:
        assert second.repaired[0].endswith("2 events of a recording that broke off are kept")
    assert [event.fields["n"] for event in read_events(tmp_path)] == [1, 2]


def test_a_file_that_is_large_enough_is_followed_by_another(tmp_path: Path) -> None:
    clock = FakeClock()
    with create_recorder(tmp_path, clock, size=1_000) as event:
        for number in range(30):
            event.write(create_lines(number))
            event.sync_and_rotate()
    assert event.files > 2
    assert [event.fields["n"] for event in read_events(tmp_path)] == list(range(30))


def test_two_recordings_do_not_share_a_folder(tmp_path: Path) -> None:
    clock = FakeClock()
    with (
        create_recorder(tmp_path, clock),
        pytest.raises(CatcherError, match="another recording goes on"),
        create_recorder(tmp_path, clock),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [({"form": "csv"}, "no form"), ({"size": 10}, "1 kB"), ({"age": 1}, "1 s")],
)
def test_settings_that_cannot_be_used_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(CatcherError, match=message):
        RecorderSettings(**{"folder": tmp_path, **options})
