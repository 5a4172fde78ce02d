"""A running engine to which always the same happens, and what of its answers changes each time."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.goldens.compare import replace_texts
from tests.sample_site import DOUBLING, TIMEOUT, WIND, ThreadedEngine, engine_in_thread, write_site

ROUTES_YAML = """
sinks:
  console: {}
  ana-phone: {console: {}}
  broken: {refusing: {}}
people: {ana: [ana-phone], bo: [console]}
noise: {flood: off, flapping: off}
route:
  to: [console]
  routes:
    - match: {rule: wind, severity: ">= serious"}
      to: [on-shift, console]
      escalate: {after: 1h, to: [console]}
    - match: {rule: doomed}
      to: [broken]
"""
REFUSING_SINK = '''
"""A sink that takes nothing."""

from catcher.ports import SinkError


async def deliver(notice, message, settings):
    raise SinkError("not_in_channel", final=True)
'''
DOOMED_RULE = """
rule: doomed
owner: nobody
tags: [wind, gusts]
trigger: {event: doom, by: mast}
alert: {serious: always, message: "Doom at {{ mast }}", labels: {place: summit}}
"""
EXTRA_RULES = """
rule: posted
about: Fires for what is posted by name.
trigger: {http: weather, where: rain > 0}
---
rule: following
trigger: {result: doubling, by: lane}
alert: {warning: {when: doubled > 1000}, failed: warning}
---
rule: torn
trigger: {event: t, where: speed >}
"""
EVENT_TIME = "2025-04-24T00:00:0{}Z"
_TIME_PATTERN = re.compile(
    r"20(?:2[6-9]|[3-9]\d)-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?)?|\b\d{19}\b"
)
_DATE_FOLDER_PATTERN = re.compile(r"20(?:2[6-9]|[3-9]\d)/\d\d/\d\d")
_ID_PATTERN = re.compile(r"(?<![0-9a-f:])(?:s[0-9a-f]{8}|[0-9a-f]{12}|[0-9a-f]{16})(?![0-9a-f])")


@dataclass
class GoldenScenario:
    """An engine after all has happened, and what its streams have told meanwhile."""

    engine: ThreadedEngine
    frames: list[str] = field(default_factory=list)
    tail_lines: list[str] = field(default_factory=list)
    responses: dict[str, Any] = field(default_factory=dict)
    alert_ids: dict[str, str] = field(default_factory=dict)
    run_ids: dict[str, str] = field(default_factory=dict)

    def normalize(self, value: Any) -> Any:
        """A JSON value without what is another in each run: folders, addresses, times, ids.

        Ids that are a digest of names alone (those of alerts) stay as they are.
        """
        engine = self.engine
        name = engine.get("/healthz", verbose="")["engine"]
        port = engine.handle.url.rpartition(":")[2]
        texts = {
            engine.handle.url: "URL", f"127.0.0.1:{port}": "ADDRESS", str(engine.site): "SITE",
            str(engine.data): "DATA", name: "ENGINE",
        }  # fmt: skip
        return mask_times_and_ids(replace_texts(value, texts), {*self.alert_ids.values()})


def mask_times_and_ids(value: Any, stable_ids: set[str]) -> Any:
    """A JSON value with signs in place of times of now and of ids that hold such a time."""
    if isinstance(value, dict):
        return {
            mask_times_and_ids(key, stable_ids): mask_times_and_ids(child, stable_ids)
            for key, child in value.items()
        }
    if isinstance(value, list):
        return [mask_times_and_ids(child, stable_ids) for child in value]
    if isinstance(value, str):
        value = _DATE_FOLDER_PATTERN.sub("<folder of the day>", _TIME_PATTERN.sub("<time>", value))
        return _ID_PATTERN.sub(lambda match: match[0] if match[0] in stable_ids else "<id>", value)
    return value


def write_full_site(folder: Path) -> Path:
    """The site of the engine."""
    rules_text = "---".join([WIND, DOUBLING, DOOMED_RULE, EXTRA_RULES])
    site = write_site(folder, rules_text, routes=ROUTES_YAML)
    (site / "alerts" / "sinks").mkdir()
    (site / "alerts" / "sinks" / "refusing.py").write_text(REFUSING_SINK)
    return site


@contextmanager
def run_scenario(folder: Path) -> Iterator[GoldenScenario]:
    """An engine to which everything of this file has happened."""
    with engine_in_thread(write_full_site(folder / "site"), folder / "data") as engine:
        scenario = GoldenScenario(engine)
        with (
            follow_stream(engine, "/stream", scenario.frames),
            follow_stream(engine, "/tail", scenario.tail_lines),
        ):
            post_all_events(scenario)
            apply_alert_actions(scenario)
            engine.post_event("number", value=1000, lane="last")
            engine.wait_for_run(key="last")
            engine.wait_until(lambda: has_last_event(scenario), "the last of the streams")
        yield scenario


def has_last_event(scenario: GoldenScenario) -> bool:
    """Whether both streams have told of the last event."""
    is_done = any(
        '"key": "last"' in frame and '"state": "done"' in frame for frame in scenario.frames
    )
    return is_done and any('"lane":"last"' in line for line in scenario.tail_lines)


@contextmanager
def follow_stream(engine: ThreadedEngine, path: str, lines: list[str]) -> Iterator[None]:
    """Appends the lines of a stream from now on, until the context ends."""
    started, stopped = threading.Event(), threading.Event()

    def read_lines() -> None:
        url = engine.handle.url + path
        with httpx.stream("GET", url, trust_env=False, timeout=TIMEOUT) as response:
            for line in response.iter_lines():
                lines.append(line)
                started.set()
                if stopped.is_set():
                    return

    thread = threading.Thread(target=read_lines)
    thread.start()
    assert started.wait(TIMEOUT), f"{path} says nothing"
    yield
    stopped.set()
    # One more event has the stream say something, at which its reader sees that it is over.
    engine.post_event("number", value=0, lane=path)
    engine.wait_for_run(key=path)
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def create_event(topic: str, second: int = 0, **fields: Any) -> dict[str, Any]:
    """An event of a time that never changes, in the form of a recorded stream."""
    return {"topic": topic, "time": EVENT_TIME.format(second), "fields": fields}


def post_all_events(scenario: GoldenScenario) -> None:
    """Two runs, one of which fails, alerts of each kind, a post by name, a firing by hand."""
    engine = scenario.engine
    engine.post_event("number", value=21, lane="a")
    scenario.run_ids["done"] = str(engine.wait_for_run(key="a")["id"])
    engine.post_event("number", value=13, lane="unlucky")
    scenario.run_ids["failed"] = str(engine.wait_for_run(key="unlucky")["id"])
    for mast, speed in (("warned", 12), ("worse", 12), ("over", 12), ("latched", 25)):
        engine.post_event("wind", mast=mast, speed=speed)
    engine.post_event("wind", mast="worse", speed=25)
    engine.post_event("wind", mast="over", speed=5)
    engine.post_event("wind", mast="latched", speed=5)
    for mast in ("shelved", "taken", "noted"):
        engine.post_event("wind", mast=mast, speed=12)
    engine.post_event("doom", mast="x", note=None, list=[1, 2.5, "a"], good=True)
    engine.wait_until(lambda: engine.get("/dead-letters"), "the dead letter")
    scenario.responses["post"] = fetch_response(engine, "POST", "/http/weather", json={"rain": 3})
    body = {"event": create_event("number", value=4, lane="hand"), "who": "ana"}
    scenario.responses["fire"] = fetch_response(engine, "POST", "/rules/doubling/fire", json=body)
    engine.wait_for_run(key="hand")
    scenario.alert_ids = {
        f"{alert['rule']} {alert['key']}": str(alert["id"]) for alert in engine.get("/alerts")
    }


def apply_alert_actions(scenario: GoldenScenario) -> None:
    """What people do at the desk."""
    engine, alert_ids = scenario.engine, scenario.alert_ids
    actions: list[tuple[str, str, dict[str, Any]]] = [
        (
            "ack",
            f"/alerts/{alert_ids['wind taken']}/ack",
            {"severity": "warning", "note": "I look"},
        ),
        (
            "shelve",
            f"/alerts/{alert_ids['wind shelved']}/shelve",
            {"span": "1h", "reason": "known"},
        ),
        (
            "note",
            f"/alerts/{alert_ids['wind noted']}/note",
            {"note": "iced", "link": "elog=https://elog.example/17"},
        ),
        ("assign", f"/alerts/{alert_ids['wind noted']}/assign", {"to": "bo"}),
        ("shift", "/shift", {"to": "ana", "note": "a quiet night"}),
        ("confirm", f"/confirm/{alert_ids['wind shelved']}", {}),
        ("unshelve", f"/alerts/{alert_ids['wind shelved']}/unshelve", {}),
        (
            "shelve again",
            f"/alerts/{alert_ids['wind shelved']}/shelve",
            {"span": "1h", "reason": "known"},
        ),
        ("silence", "/silences", {"name": "wind*", "labels": {"a": "b"}, "reason": "a test"}),
        ("resend", "/dead-letters/resend", {"ids": []}),
    ]
    for action, path, body in actions:
        scenario.responses[action] = fetch_response(
            engine, "POST", path, json={"who": "ana", **body}
        )
    silence_id = scenario.responses["silence"]["body"]["id"]
    path = f"/silences/{silence_id}/end"
    scenario.responses["unsilence"] = fetch_response(engine, "POST", path, json={"who": "ana"})
    engine.wait_until(lambda: len(engine.get("/dead-letters")) == 2, "the dead letter of the shift")
    engine.request("POST", "/silences", json={"name": "gusts", "who": "bo", "reason": "a test"})


def fetch_response(
    engine: ThreadedEngine, method: str, path: str, **options: Any
) -> dict[str, Any]:
    """Status, type and body of an answer."""
    response = engine.request(method, path, **options)
    content_type = response.headers.get("content-type", "")
    body = (
        json.loads(response.text) if content_type.startswith("application/json") else response.text
    )
    return {"status": response.status_code, "type": content_type, "body": body}
