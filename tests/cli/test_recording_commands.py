"""`catcher record`, `tail` and `topics` beside a running engine, and `replay` of a recording."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.engine_process import list_rows, run_catcher, run_engine
from tests.sample_site import DOUBLING, write_site


def test_recorded_night_is_replayed_to_the_same_runs(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", DOUBLING)
    recorded, log = tmp_path / "recorded", tmp_path / "record.log"
    with run_engine(site, tmp_path / "data") as running:
        options = ["--site", str(site), "--data", str(running.data)]
        with log.open("wb") as log_file:
            recording = subprocess.Popen(
                [sys.executable, "-m", "catcher", "record", *options, "--to", str(recorded),
                 "number", "--format", "parquet"], stderr=log_file, env={**os.environ},
            )  # fmt: skip

        def has_subscribers(count: int) -> bool:  # The terminal of the engine watches, too.
            health = next(row for row in running.get("/health") if row["name"] == "watchers")
            return int(health["counts"]["watching"]) == count

        running.wait_until(lambda: has_subscribers(2), "the recording")
        with subprocess.Popen(
            [sys.executable, "-m", "catcher", "tail", *options, "-n", "4", "--json"],
            stdout=subprocess.PIPE,
        ) as tail:
            running.wait_until(lambda: has_subscribers(3), "the tail")
            for value in range(3):
                body = {"topic": "number", "fields": {"value": value, "lane": 1}}
                assert running.post("/events", body).status_code == 202
            running.wait_until(lambda: len(running.get("/runs", state="done")) == 3, "three runs")
            tail_output, _ = tail.communicate(timeout=60)
        rows = [json.loads(line) for line in tail_output.splitlines()]
        assert [row["fields"]["value"] for row in rows if row["topic"] == "number"][:2] == [0, 1]
        assert "number" in [row["topic"] for row in list_rows("topics", *options)]
        recording.send_signal(signal.SIGTERM)
        assert recording.wait(60) == 0
        expected = sorted(run["metrics"]["doubled"] for run in running.get("/runs"))
    assert "3 events in 1 files" in log.read_text()
    (file,) = recorded.glob("*.parquet")
    assert file.name.startswith("number.")
    replay = ["replay", str(recorded), "--site", str(site), "--data", str(tmp_path / "again")]
    run_catcher(*replay, "--speed", "max")
    runs = list_rows("runs", "--site", site, "--data", tmp_path / "again")
    assert sorted(run["metrics"]["doubled"] for run in runs) == expected == [0.0, 2.0, 4.0]


def test_without_an_engine_they_fail(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", DOUBLING)
    for command in (["tail"], ["topics", "--listen", "1s"], ["record", "--to", "x"]):
        result = subprocess.run(
            [sys.executable, "-m", "catcher", *command, "--site", str(site)],
            capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert result.returncode == 2
        assert "no engine runs on" in result.stderr
