"""The same stream gives the same firings, times and reasons: backtest, replay, broker, restart."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from catcher.model.time import SECOND, parse_instant
from tests.end_to_end.engine_process import catcher, engine, listed
from tests.end_to_end.test_a_recorded_night import connected, publish
from tests.servers import mosquitto

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


def backtested(site: Path, *files: Path) -> list[dict[str, Any]]:
    options = [part for file in files for part in ("--data", file)]
    text = catcher("backtest", "--site", site, *options, "--json")
    return [json.loads(line) for line in text.splitlines()]


def decisions(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What makes two firings the same, in the order of time, rule and key."""
    return sorted((row["time"], row["rule"], row["key"], row["reason"], row["id"]) for row in rows)


def kept(site: Path, data: Path) -> list[tuple[str, ...]]:
    options = ["--site", site, "--data", data, "--limit", "10000"]
    return decisions(listed("query", "firings", *options))


def test_the_wind_rule_on_the_recorded_wind(shared_data: Path, tmp_path: Path) -> None:
    """Firings as computed here from the file alone; a forecast for each."""
    recording = shared_data / "ess-airflow-2025-04-24.jsonl"
    site = write_site(tmp_path / "site", WIND)
    rows = backtested(site, recording)
    fired = [row["time"] for row in rows if row["kind"] == "firing"]
    assert fired == expected_wind(recording)
    assert len(fired) > 5
    runs = [row for row in rows if row["kind"] == "run"]
    assert [run["state"] for run in runs] == ["done"] * len(fired)
    assert runs[-1]["metrics"]["samples"] > 0


def expected_wind(recording: Path) -> list[str]:
    """Every minute at the most, while the mean of the last five minutes is above 1.5 m/s."""
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    samples = [(parse_instant(one["time"]), one["fields"]["speed"], one["time"]) for one in lines]
    first, last, fired = samples[0][0], None, []
    for time, _, text in samples:
        window = [speed for at, speed, _ in samples if time - 300 * SECOND < at <= time]
        full = time - first >= 300 * SECOND
        due = last is None or time - last >= 60 * SECOND
        if full and due and sum(window) / len(window) > 1.5:
            fired.append(text)
            last = time
    return fired


@pytest.fixture
def recording(shared_data: Path) -> Path:
    return shared_data / "efd-night-2023-07-28.jsonl.gz"


def test_live_replay_and_backtest_decide_alike(recording: Path, tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, gzip.open(recording, "rt") as lines:
        night = [json.loads(line) for line in lines]
        site = write_site(tmp_path / "site", NIGHT, SITE.format(port=broker.port))
        rows = backtested(site, recording)
        expected = decisions([row for row in rows if row["kind"] == "firing"])
        assert {row[1] for row in expected} >= {"in-position", "quiet-mount", "script-done"}

        with engine(site, tmp_path / "live") as running:
            running.until(lambda: connected(running), "the connection to the broker")
            publish(broker.port, night, json.dumps)
            running.until(lambda: running.counts("efd").get("admitted") == len(night), "all of it")
            assert running.stop() == 0
        live = kept(site, tmp_path / "live")
        assert set(live) <= set(expected)
        # What only the end of the recording proves is not known live before time goes on.
        assert [one for one in expected if one not in live] == ends_of(expected, live)

        options = ["--site", site, "--data", tmp_path / "again", "--speed", "max", "--port", "0"]
        catcher("replay", recording, *options)
        assert kept(site, tmp_path / "again") == expected


def ends_of(expected: list[tuple[str, ...]], live: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The expected firings after the last that was seen live."""
    return [one for one in expected if one[0] > max(row[0] for row in live)]


def test_a_restart_in_the_middle_changes_nothing(recording: Path, tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, gzip.open(recording, "rt") as lines:
        night = [json.loads(line) for line in lines]
        site = write_site(tmp_path / "site", NIGHT, SITE.format(port=broker.port))
        expected = decisions(
            [row for row in backtested(site, recording) if row["kind"] == "firing"]
        )
        data, middle = tmp_path / "data", 3000
        for part in (night[:middle], night[middle:]):
            with engine(site, data) as running:
                running.until(lambda: connected(running), "the connection to the broker")
                publish(broker.port, part, json.dumps)
                count = len(part)
                running.until(
                    lambda count=count: running.counts("efd").get("admitted") == count, "the part"
                )
                assert running.stop() == 0
        split = kept(site, data)
        assert [one for one in expected if one not in split] == ends_of(expected, split)
        assert set(split) <= set(expected)
