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
from tests.small_site import (
    DOUBLING,
    PATIENCE,
    WIND,
    ThreadedEngine,
    engine_in_thread,
    write_site,
)

ROUTES = """
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
REFUSING = '''
"""A sink that takes nothing."""

from catcher.ports import SinkError


async def deliver(notice, message, settings):
    raise SinkError("not_in_channel", final=True)
'''
DOOMED = """
rule: doomed
owner: nobody
tags: [wind, gusts]
trigger: {event: doom, by: mast}
alert: {serious: always, message: "Doom at {{ mast }}", labels: {place: summit}}
"""
MORE_RULES = """
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
FIXED = "2025-04-24T00:00:0{}Z"
_TIME = re.compile(r"20(?:2[6-9]|[3-9]\d)-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?)?|\b\d{19}\b")
_FOLDER = re.compile(r"20(?:2[6-9]|[3-9]\d)/\d\d/\d\d")
_ID = re.compile(r"(?<![0-9a-f:])(?:s[0-9a-f]{8}|[0-9a-f]{12}|[0-9a-f]{16})(?![0-9a-f])")


@dataclass
class Happened:
    """An engine after all has happened, and what its streams have told meanwhile."""

    engine: ThreadedEngine
    frames: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    def settle(self, value: Any) -> Any:
        """A JSON value without what is another in each run: folders, addresses, times, ids.

        Ids that are a digest of names alone (those of alerts) stay as they are.
        """
        engine = self.engine
        name = engine.get("/healthz", verbose="")["engine"]
        port = engine.running.url.rpartition(":")[2]
        texts = {
            engine.running.url: "URL", f"127.0.0.1:{port}": "ADDRESS", str(engine.site): "SITE",
            str(engine.data): "DATA", name: "ENGINE",
        }  # fmt: skip
        return settle_times(replace_texts(value, texts), {*self.ids.values()})


def settle_times(value: Any, kept: set[str]) -> Any:
    """A JSON value with signs in place of times of now and of ids that hold such a time."""
    if isinstance(value, dict):
        return {settle_times(key, kept): settle_times(one, kept) for key, one in value.items()}
    if isinstance(value, list):
        return [settle_times(one, kept) for one in value]
    if isinstance(value, str):
        value = _FOLDER.sub("<folder of the day>", _TIME.sub("<time>", value))
        return _ID.sub(lambda found: found[0] if found[0] in kept else "<id>", value)
    return value


def write_full_site(folder: Path) -> Path:
    """The site of the engine."""
    rules = "---".join([WIND, DOUBLING, DOOMED, MORE_RULES])
    site = write_site(folder, rules, routes=ROUTES)
    (site / "alerts" / "sinks").mkdir()
    (site / "alerts" / "sinks" / "refusing.py").write_text(REFUSING)
    return site


@contextmanager
def engine_after_all(top: Path) -> Iterator[Happened]:
    """An engine to which everything of this file has happened."""
    with engine_in_thread(write_full_site(top / "site"), top / "data") as engine:
        happened = Happened(engine)
        with follow(engine, "/stream", happened.frames), follow(engine, "/tail", happened.lines):
            post_events(happened)
            act_on_alerts(happened)
            engine.post("number", value=1000, lane="last")
            engine.the_run(key="last")
            engine.until(lambda: ends_in(happened), "the last of the streams")
        yield happened


def ends_in(happened: Happened) -> bool:
    """Whether both streams have told of the last event."""
    done = any('"key": "last"' in one and '"state": "done"' in one for one in happened.frames)
    return done and any('"lane":"last"' in one for one in happened.lines)


@contextmanager
def follow(engine: ThreadedEngine, path: str, lines: list[str]) -> Iterator[None]:
    """Appends the lines of a stream from now on, until the context ends."""
    begun, over = threading.Event(), threading.Event()

    def read() -> None:
        url = engine.running.url + path
        with httpx.stream("GET", url, trust_env=False, timeout=PATIENCE) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                begun.set()
                if over.is_set():
                    return

    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(PATIENCE), f"{path} says nothing"
    yield
    over.set()
    # One more event has the stream say something, at which its reader sees that it is over.
    engine.post("number", value=0, lane=path)
    engine.the_run(key=path)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def event_of(topic: str, second: int = 0, **fields: Any) -> dict[str, Any]:
    """An event of a time that never changes, in the form of a recorded stream."""
    return {"topic": topic, "time": FIXED.format(second), "fields": fields}


def post_events(happened: Happened) -> None:
    """Two runs, one of which fails, alerts of each kind, a post by name, a firing by hand."""
    engine = happened.engine
    engine.post("number", value=21, lane="a")
    happened.runs["done"] = str(engine.the_run(key="a")["id"])
    engine.post("number", value=13, lane="unlucky")
    happened.runs["failed"] = str(engine.the_run(key="unlucky")["id"])
    for mast, speed in (("warned", 12), ("worse", 12), ("over", 12), ("latched", 25)):
        engine.post("wind", mast=mast, speed=speed)
    engine.post("wind", mast="worse", speed=25)
    engine.post("wind", mast="over", speed=5)
    engine.post("wind", mast="latched", speed=5)
    for mast in ("shelved", "taken", "noted"):
        engine.post("wind", mast=mast, speed=12)
    engine.post("doom", mast="x", note=None, list=[1, 2.5, "a"], good=True)
    engine.until(lambda: engine.get("/dead-letters"), "the dead letter")
    happened.answers["post"] = answer_of(engine, "POST", "/http/weather", json={"rain": 3})
    body = {"event": event_of("number", value=4, lane="hand"), "who": "ana"}
    happened.answers["fire"] = answer_of(engine, "POST", "/rules/doubling/fire", json=body)
    engine.the_run(key="hand")
    happened.ids = {f"{one['rule']} {one['key']}": str(one["id"]) for one in engine.get("/alerts")}


def act_on_alerts(happened: Happened) -> None:
    """What people do at the desk."""
    engine, ids = happened.engine, happened.ids
    acts: list[tuple[str, str, dict[str, Any]]] = [
        ("ack", f"/alerts/{ids['wind taken']}/ack", {"severity": "warning", "note": "I look"}),
        ("shelve", f"/alerts/{ids['wind shelved']}/shelve", {"span": "1h", "reason": "known"}),
        ("note", f"/alerts/{ids['wind noted']}/note",
         {"note": "iced", "link": "elog=https://elog.example/17"}),
        ("assign", f"/alerts/{ids['wind noted']}/assign", {"to": "bo"}),
        ("shift", "/shift", {"to": "ana", "note": "a quiet night"}),
        ("confirm", f"/confirm/{ids['wind shelved']}", {}),
        ("unshelve", f"/alerts/{ids['wind shelved']}/unshelve", {}),
        ("shelve again", f"/alerts/{ids['wind shelved']}/shelve",
         {"span": "1h", "reason": "known"}),
        ("silence", "/silences", {"name": "wind*", "labels": {"a": "b"}, "reason": "a test"}),
        ("resend", "/dead-letters/resend", {"ids": []}),
    ]  # fmt: skip
    for what, path, body in acts:
        happened.answers[what] = answer_of(engine, "POST", path, json={"who": "ana", **body})
    silence = happened.answers["silence"]["body"]["id"]
    path = f"/silences/{silence}/end"
    happened.answers["unsilence"] = answer_of(engine, "POST", path, json={"who": "ana"})
    engine.until(lambda: len(engine.get("/dead-letters")) == 2, "the dead letter of the shift")
    engine.ask("POST", "/silences", json={"name": "gusts", "who": "bo", "reason": "a test"})


def answer_of(engine: ThreadedEngine, method: str, path: str, **how: Any) -> dict[str, Any]:
    """Status, type and body of an answer."""
    answer = engine.ask(method, path, **how)
    kind = answer.headers.get("content-type", "")
    body = json.loads(answer.text) if kind.startswith("application/json") else answer.text
    return {"status": answer.status_code, "type": kind, "body": body}
