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

from tests.end_to_end.engine_process import EngineProcess, list_rows, run_engine
from tests.servers import run_mosquitto

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
    with run_mosquitto(tmp_path / "broker") as server:
        yield server.port


def write_site(folder: Path, port: int) -> Path:
    (folder / "rules").mkdir(parents=True)
    (folder / "catcher.yaml").write_text(SITE.format(port=port))
    (folder / "rules" / "night.yaml").write_text(RULES)
    shutil.copytree(REPOSITORY / "jobs", folder / "jobs")
    return folder


def encode_sal_payload(line: dict[str, Any]) -> str:
    """A sample as the observatory's own publisher would send it."""
    return json.dumps({"time": line["time"], **line["fields"]})


def publish_night(
    port: int,
    night: list[dict[str, Any]],
    encode_payload: Callable[[dict[str, Any]], str] = encode_sal_payload,
) -> None:
    """Sends the night in its order, at least once, and returns when the broker has it all."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for line in night:
        topic = line["topic"].removeprefix("lsst.").replace(".", "/")
        publication = client.publish(topic, encode_payload(line), qos=1)
    publication.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def count_rising_edges(night: list[dict[str, Any]]) -> int:
    states = [
        line["fields"]["inPosition"]
        for line in night
        if line["topic"] == "lsst.sal.MTMount.logevent_azimuthInPosition"
    ]
    return sum(
        current and not previous
        for previous, current in zip([False, *states], states, strict=False)
    )


def list_failed_scripts(night: list[dict[str, Any]]) -> list[str]:
    return [
        str(line["fields"]["salIndex"])
        for line in night
        if line["topic"] == "lsst.sal.Script.logevent_state" and line["fields"]["state"] == 10
    ]


def test_a_night_through_the_broker(
    night: list[dict[str, Any]], broker_port: int, tmp_path: Path
) -> None:
    site, data = write_site(tmp_path / "site", broker_port), tmp_path / "data"
    with run_engine(site, data) as running:
        running.wait_until(lambda: is_connected(running), "the connection to the broker")
        publish_night(broker_port, night)
        running.wait_until(
            lambda: running.get_counts("efd").get("admitted") == len(night), "the whole night"
        )
        running.wait_until(running.is_idle, "the end of the last run")
        assert running.stop() == 0

    edges, failed = count_rising_edges(night), list_failed_scripts(night)
    assert edges > 100
    assert failed
    options = ["--site", site, "--data", data, "--limit", "5000"]
    runs = list_rows("runs", "--rule", "mount-in-position", *options)
    assert len(runs) == edges
    assert {run["state"] for run in runs} == {"done"}
    firings = list_rows("query", "firings", "--rule", "script-failed", *options)
    assert sorted(firing["key"] for firing in firings) == sorted(failed)
    alerts = list_rows("alerts", "--all", "--rule", "script-failed", *options)
    assert {alert["key"] for alert in alerts} == set(failed)
    assert {alert["max_severity"] for alert in alerts} == {"SERIOUS"}


def is_connected(running: EngineProcess) -> bool:
    return any(row["name"] == "efd" and row["state"] == "ok" for row in running.get("/health"))
