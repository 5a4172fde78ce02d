"""Recordings: what was written is there again, whatever the form and however it ended."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from catcher.model.event import Event
from catcher.model.problem import CatcherError
from catcher.model.time import MINUTE, SECOND, format_instant
from catcher.sources.recorded import read_recorded
from catcher.stores.recording import Recorder, RecorderSettings
from tests.stores.making import NOON, FakeClock

FORMS = ["jsonl", "jsonl.gz", "parquet"]


def lines(*numbers: int, topic: str = "lsst.sal.wind", **more: Any) -> list[bytes]:
    return [
        json.dumps(
            {
                "topic": topic, "time": format_instant(NOON + n * SECOND),
                "fields": {"n": n, "speed": n / 2, "name": "x", **more}, "source": "efd",
            }
        ).encode() + b"\n"
        for n in numbers
    ]  # fmt: skip


def recorder(folder: Path, clock: FakeClock, form: str = "jsonl", **more: Any) -> Recorder:
    return Recorder(RecorderSettings(folder=folder, form=form, **more), clock)


def replayed(folder: Path) -> list[Event]:
    found = list(read_recorded([folder]))
    assert all(isinstance(one, Event) for one in found), found
    return [one for one in found if isinstance(one, Event)]


@pytest.mark.parametrize("form", FORMS)
def test_it_comes_back_as_it_was_over_several_files(tmp_path: Path, form: str) -> None:
    clock, mixed = FakeClock(), [1, "a", None, [1.5, 2.5], {"k": True}]
    with recorder(tmp_path, clock, form, age=MINUTE) as one:
        for minute in range(3):
            one.write(lines(10 * minute, 10 * minute + 1, flag=True))
            one.write(lines(10 * minute + 2, topic="b/../c", mixed=mixed[minute], gap=None))
            clock.now += MINUTE
            one.look()
    events = replayed(tmp_path)
    assert [one.fields["n"] for one in events] == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert [one.time for one in events] == [NOON + one.fields["n"] * SECOND for one in events]
    assert {one.topic for one in events} == {"lsst.sal.wind", "b/../c"}
    assert events[0].fields["flag"] is True
    assert isinstance(events[0].fields["n"], int)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.parent.glob("*.parquet"))
    assert one.files == (6 if form == "parquet" else 3)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_crash_left_is_mended_at_the_next_start(tmp_path: Path, form: str) -> None:
    clock = FakeClock()
    one = recorder(tmp_path, clock, form).__enter__()
    one.write(lines(1, 2))
    clock.now += 2 * SECOND
    one.look()
    (part,) = tmp_path.glob("*.part")
    # As SIGKILL leaves it: no end, and a line that was torn.
    torn = lines(3)[0][:30]
    with part.open("ab") as file:
        file.write(gzip.compress(torn)[:-9] if form == "jsonl.gz" else torn)
    assert one._lock is not None and one._part is not None
    one._part._file.close()
    one._lock.close()
    with recorder(tmp_path, clock, form) as other:
        assert other.mended[0].endswith("2 events of a recording that broke off are kept")
    assert [one.fields["n"] for one in replayed(tmp_path)] == [1, 2]


def test_a_file_that_is_large_enough_is_followed_by_another(tmp_path: Path) -> None:
    clock = FakeClock()
    with recorder(tmp_path, clock, size=1_000) as one:
        for number in range(30):
            one.write(lines(number))
            one.look()
    assert one.files > 2
    assert [one.fields["n"] for one in replayed(tmp_path)] == list(range(30))


def test_two_recordings_do_not_share_a_folder(tmp_path: Path) -> None:
    clock = FakeClock()
    with (
        recorder(tmp_path, clock),
        pytest.raises(CatcherError, match="another recording goes on"),
        recorder(tmp_path, clock),
    ):
        pass


@pytest.mark.parametrize(
    ("said", "words"),
    [({"form": "csv"}, "no form"), ({"size": 10}, "1 kB"), ({"age": 1}, "1 s")],
)
def test_settings_that_cannot_be_used_say_so(
    tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    with pytest.raises(CatcherError, match=words):
        RecorderSettings(**{"folder": tmp_path, **said})
