"""The same stream gives the same firings, times and reasons: backtest, replay, broker, restart."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from catcher.model.time import SECOND, parse_instant
from tests.end_to_end.engine_process import list_rows, run_catcher, run_engine
from tests.end_to_end.test_recorded_night import is_connected, publish_night
from tests.servers import run_mosquitto

REPOSITORY = Path(__file__).resolve().parents[2]
WIND = """
rule: wind-forecast
trigger:
  telemetry: lsst.sal.ESS.airFlow
  where: salIndex == 301
  every: 1m
  when: mean(speed, "5m") > 1.5
job:
  run: wind_extrapolation
  inputs:
    wind: {topic: lsst.sal.ESS.airFlow, fields: [speed], where: salIndex == 301, last: 30m}
  with: {horizon: 10m, threshold: 15}
"""
NIGHT = """
rule: in-position
trigger: {telemetry: lsst.sal.MTMount.logevent_azimuthInPosition, when: inPosition}
---
rule: settled
trigger: {telemetry: lsst.sal.MTMount.logevent_elevationInPosition, when: inPosition, for: 10s,
          stale_after: 1d}
---
rule: mount-fast
trigger:
  telemetry: lsst.sal.MTMount.azimuth
  when: mean(actualVelocity, "2s") > 0.5
  clear: mean(actualVelocity, "2s") < 0.1
alert:
  warning: {when: rms(actualTorque, "1s") > 2000, for: 1s}
---
rule: quiet-mount
trigger: {absent: {topic: lsst.sal.MTMount.logevent_azimuthMotionState, for: 10m}}
---
rule: script-done
trigger:
  sequence:
    - {event: lsst.sal.Script.logevent_state, where: state == 3}
    - {event: lsst.sal.Script.logevent_state, where: state == 8}
  within: 1h
  by: salIndex
"""
SITE = """
sources:
  efd:
    mqtt:
      host: 127.0.0.1
      port: {port}
      topics: {{"sal/+/+": "{{topic}}"}}
    clock: stream
    lateness: 0s
"""


def write_site(folder: Path, rules: str, settings: str = "site: same\n") -> Path:
    (folder / "rules").mkdir(parents=True)
    (folder / "catcher.yaml").write_text(settings)
    (folder / "rules" / "rules.yaml").write_text(rules)
    shutil.copytree(REPOSITORY / "jobs", folder / "jobs")
    return folder


def run_backtest(site: Path, *files: Path) -> list[dict[str, Any]]:
    options = [option for file in files for option in ("--data", file)]
    text = run_catcher("backtest", "--site", site, *options, "--json")
    return [json.loads(line) for line in text.splitlines()]


def sort_decisions(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What makes two firings the same, in the order of time, rule and key."""
    return sorted((row["time"], row["rule"], row["key"], row["reason"], row["id"]) for row in rows)


def list_decisions(site: Path, data: Path) -> list[tuple[str, ...]]:
    options = ["--site", site, "--data", data, "--limit", "10000"]
    return sort_decisions(list_rows("query", "firings", *options))


def test_wind_rule_on_the_recorded_wind(shared_data: Path, tmp_path: Path) -> None:
    """Firings as computed here from the file alone; a forecast for each."""
    recording = shared_data / "ess-airflow-2025-04-24.jsonl"
    site = write_site(tmp_path / "site", WIND)
    rows = run_backtest(site, recording)
    firing_times = [row["time"] for row in rows if row["kind"] == "firing"]
    assert firing_times == compute_expected_firings(recording)
    assert len(firing_times) > 5
    runs = [row for row in rows if row["kind"] == "run"]
    assert [run["state"] for run in runs] == ["done"] * len(firing_times)
    assert runs[-1]["metrics"]["samples"] > 0


def compute_expected_firings(recording: Path) -> list[str]:
    """Every minute at the most, while the mean of the last five minutes is above 1.5 m/s."""
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    samples = [
        (parse_instant(line["time"]), line["fields"]["speed"], line["time"]) for line in lines
    ]
    first, last_fired, firing_times = samples[0][0], None, []
    for time, _, text in samples:
        window = [
            speed for sample_time, speed, _ in samples if time - 300 * SECOND < sample_time <= time
        ]
        is_full = time - first >= 300 * SECOND
        is_due = last_fired is None or time - last_fired >= 60 * SECOND
        if is_full and is_due and sum(window) / len(window) > 1.5:
            firing_times.append(text)
            last_fired = time
    return firing_times


@pytest.fixture
def recording(shared_data: Path) -> Path:
    return shared_data / "efd-night-2023-07-28.jsonl.gz"


def test_live_replay_and_backtest_decide_alike(recording: Path, tmp_path: Path) -> None:
    with run_mosquitto(tmp_path / "broker") as broker, gzip.open(recording, "rt") as lines:
        night = [json.loads(line) for line in lines]
        site = write_site(tmp_path / "site", NIGHT, SITE.format(port=broker.port))
        rows = run_backtest(site, recording)
        expected = sort_decisions([row for row in rows if row["kind"] == "firing"])
        assert {row[1] for row in expected} >= {"in-position", "quiet-mount", "script-done"}

        with run_engine(site, tmp_path / "live") as running:
            running.wait_until(lambda: is_connected(running), "the connection to the broker")
            publish_night(broker.port, night, json.dumps)
            running.wait_until(
                lambda: running.get_counts("efd").get("admitted") == len(night), "all of it"
            )
            assert running.stop() == 0
        live = list_decisions(site, tmp_path / "live")
        assert set(live) <= set(expected)
        # What only the end of the recording proves is not known live before time goes on.
        assert [decision for decision in expected if decision not in live] == decisions_after(
            expected, live
        )

        options = ["--site", site, "--data", tmp_path / "again", "--speed", "max", "--port", "0"]
        run_catcher("replay", recording, *options)
        assert list_decisions(site, tmp_path / "again") == expected


def decisions_after(
    expected: list[tuple[str, ...]], live: list[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """The expected firings after the last that was seen live."""
    return [decision for decision in expected if decision[0] > max(row[0] for row in live)]


def test_a_restart_in_the_middle_changes_nothing(recording: Path, tmp_path: Path) -> None:
    with run_mosquitto(tmp_path / "broker") as broker, gzip.open(recording, "rt") as lines:
        night = [json.loads(line) for line in lines]
        site = write_site(tmp_path / "site", NIGHT, SITE.format(port=broker.port))
        expected = sort_decisions(
            [row for row in run_backtest(site, recording) if row["kind"] == "firing"]
        )
        data, middle = tmp_path / "data", 3000
        for half in (night[:middle], night[middle:]):
            with run_engine(site, data) as running:
                running.wait_until(lambda: is_connected(running), "the connection to the broker")
                publish_night(broker.port, half, json.dumps)
                count = len(half)
                running.wait_until(
                    lambda count=count: running.get_counts("efd").get("admitted") == count,
                    "the part",
                )
                assert running.stop() == 0
        decided = list_decisions(site, data)
        assert [decision for decision in expected if decision not in decided] == decisions_after(
            expected, decided
        )
        assert set(decided) <= set(expected)
