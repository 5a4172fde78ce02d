"""A night of the Rubin EFD through a real broker: counts as they stand in the file."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from tests.end_to_end.engine_process import EngineProcess, engine, listed
from tests.servers import mosquitto

REPOSITORY = Path(__file__).resolve().parents[2]
SITE = """
site: test-night
sources:
  efd:
    mqtt:
      host: 127.0.0.1
      port: {port}
      topics: {{"sal/+/+": "lsst.sal.{{1}}.{{2}}"}}
      time: time
    clock: stream
"""
RULES = """
rule: mount-in-position
trigger:
  telemetry: lsst.sal.MTMount.logevent_azimuthInPosition
  when: inPosition == true
job:
  run: mount_jitter
  inputs:
    azimuth: {topic: lsst.sal.MTMount.azimuth, last: 1m}
    elevation: {topic: lsst.sal.MTMount.elevation, last: 1m}
---
rule: script-failed
trigger: {event: lsst.sal.Script.logevent_state, where: state == 10, by: salIndex}
alert:
  serious: always
  message: "Script {{ salIndex }} failed at {{ lastCheckpoint | default('its start') }}"
"""


@pytest.fixture
def night(shared_data: Path) -> list[dict[str, Any]]:
    with gzip.open(shared_data / "efd-night-2023-07-28.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    with mosquitto(tmp_path / "broker") as server:
        yield server.port


def write_site(folder: Path, port: int) -> Path:
    (folder / "rules").mkdir(parents=True)
    (folder / "catcher.yaml").write_text(SITE.format(port=port))
    (folder / "rules" / "night.yaml").write_text(RULES)
    shutil.copytree(REPOSITORY / "jobs", folder / "jobs")
    return folder


def sal_payload(line: dict[str, Any]) -> str:
    """A sample as the observatory's own publisher would send it."""
    return json.dumps({"time": line["time"], **line["fields"]})


def publish(
    port: int,
    night: list[dict[str, Any]],
    payload: Callable[[dict[str, Any]], str] = sal_payload,
) -> None:
    """Sends the night in its order, at least once, and returns when the broker has it all."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for line in night:
        topic = line["topic"].removeprefix("lsst.").replace(".", "/")
        sent = client.publish(topic, payload(line), qos=1)
    sent.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def rising_edges(night: list[dict[str, Any]]) -> int:
    states = [
        line["fields"]["inPosition"]
        for line in night
        if line["topic"] == "lsst.sal.MTMount.logevent_azimuthInPosition"
    ]
    return sum(now and not before for before, now in zip([False, *states], states, strict=False))


def failed_scripts(night: list[dict[str, Any]]) -> list[str]:
    return [
        str(line["fields"]["salIndex"])
        for line in night
        if line["topic"] == "lsst.sal.Script.logevent_state" and line["fields"]["state"] == 10
    ]


def test_a_night_through_the_broker(
    night: list[dict[str, Any]], broker_port: int, tmp_path: Path
) -> None:
    site, data = write_site(tmp_path / "site", broker_port), tmp_path / "data"
    with engine(site, data) as running:
        running.until(lambda: connected(running), "the connection to the broker")
        publish(broker_port, night)
        running.until(
            lambda: running.counts("efd").get("admitted") == len(night), "the whole night"
        )
        running.until(running.settled, "the end of the last run")
        assert running.stop() == 0

    edges, failed = rising_edges(night), failed_scripts(night)
    assert edges > 100
    assert failed
    found = ["--site", site, "--data", data, "--limit", "5000"]
    runs = listed("runs", "--rule", "mount-in-position", *found)
    assert len(runs) == edges
    assert {run["state"] for run in runs} == {"done"}
    firings = listed("query", "firings", "--rule", "script-failed", *found)
    assert sorted(one["key"] for one in firings) == sorted(failed)
    alerts = listed("alerts", "--all", "--rule", "script-failed", *found)
    assert {one["key"] for one in alerts} == set(failed)
    assert {one["max_severity"] for one in alerts} == {"SERIOUS"}


def connected(running: EngineProcess) -> bool:
    return any(one["name"] == "efd" and one["state"] == "ok" for one in running.get("/health"))
