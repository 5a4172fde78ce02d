"""`catcher record`, `tail` and `topics` beside a running engine, and `replay` of a recording."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.engine_process import catcher, engine, listed
from tests.small_site import DOUBLING, write_site


def test_a_night_that_was_recorded_is_replayed_to_the_same_runs(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", DOUBLING)
    recorded, log = tmp_path / "recorded", tmp_path / "record.log"
    with engine(site, tmp_path / "data") as running:
        options = ["--site", str(site), "--data", str(running.data)]
        with log.open("wb") as output:
            recording = subprocess.Popen(
                [sys.executable, "-m", "catcher", "record", *options, "--to", str(recorded),
                 "number", "--format", "parquet"], stderr=output, env={**os.environ},
            )  # fmt: skip

        def watched(by: int) -> bool:  # The terminal of the engine watches, too.
            board = next(one for one in running.get("/health") if one["name"] == "watchers")
            return int(board["counts"]["watching"]) == by

        running.until(lambda: watched(2), "the recording")
        with subprocess.Popen(
            [sys.executable, "-m", "catcher", "tail", *options, "-n", "4", "--json"],
            stdout=subprocess.PIPE,
        ) as tail:
            running.until(lambda: watched(3), "the tail")
            for value in range(3):
                body = {"topic": "number", "fields": {"value": value, "lane": 1}}
                assert running.post("/events", body).status_code == 202
            running.until(lambda: len(running.get("/runs", state="done")) == 3, "three runs")
            told, _ = tail.communicate(timeout=60)
        rows = [json.loads(line) for line in told.splitlines()]
        assert [one["fields"]["value"] for one in rows if one["topic"] == "number"][:2] == [0, 1]
        assert "number" in [one["topic"] for one in listed("topics", *options)]
        recording.send_signal(signal.SIGTERM)
        assert recording.wait(60) == 0
        expected = sorted(one["metrics"]["doubled"] for one in running.get("/runs"))
    assert "3 events in 1 files" in log.read_text()
    (file,) = recorded.glob("*.parquet")
    assert file.name.startswith("number.")
    replay = ["replay", str(recorded), "--site", str(site), "--data", str(tmp_path / "again")]
    catcher(*replay, "--speed", "max")
    runs = listed("runs", "--site", site, "--data", tmp_path / "again")
    assert sorted(one["metrics"]["doubled"] for one in runs) == expected == [0.0, 2.0, 4.0]


def test_without_an_engine_they_say_so(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", DOUBLING)
    for command in (["tail"], ["topics", "--listen", "1s"], ["record", "--to", "x"]):
        told = subprocess.run(
            [sys.executable, "-m", "catcher", *command, "--site", str(site)],
            capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert told.returncode == 2
        assert "no engine runs on" in told.stderr
