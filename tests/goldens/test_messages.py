"""What leaves Catcher: messages of each sink, announcements, heartbeats, files of jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from catcher.alerting import Renderer, composer
from catcher.app.sink_kinds import show
from catcher.model.alert import (
    Acknowledgement,
    Alert,
    Notice,
    NoticeKind,
    Remark,
    Severity,
    Shelf,
    alert_id,
)
from catcher.model.large_files import LargeFiles
from catcher.model.result import Metric
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import SECOND, Instant, parse_instant
from catcher.sinks.layouts import state
from catcher.sinks.love_alarm import subscriptions
from catcher.sinks.records import (
    ALERT_SCHEMA,
    FILE_SCHEMA,
    RESULT_SCHEMA,
    alert_record,
    result_row,
)
from catcher.site import Site, load
from catcher.vitals import Beat
from catcher.vitals.outlets import (
    HttpOutlet,
    HttpSettings,
    LoveSettings,
    MqttOutlet,
    love_message,
    will,
)
from tests.goldens.compare import compare_json
from tests.small_site import write_site

NIGHT = parse_instant("2025-04-24T00:00:00Z")
NONE, WARNING, SERIOUS, CRITICAL = Severity
ROUTES = """
sinks:
  console: {}
  slack: {slack: {channel: "#tma", token: "${GOLDEN_TOKEN}", mention: "<!here>"}}
  buttons: {slack: {channel: "#tma", token: "${GOLDEN_TOKEN}", app_token: "${GOLDEN_TOKEN}"}}
  love: {love: {url: "ws://love.example/manager/ws/subscription", password: "${GOLDEN_TOKEN}"}}
  mqtt: {mqtt: {host: broker.example}}
  kafka: {kafka: {servers: "kafka.example:9092"}}
  http: {http: {url: "https://log.example/messages", json: {all: "{{ headline }}"}}}
  http-state: {http: {url: "https://log.example/messages"}}
  narrative:
    http:
      url: "https://log.example/narrativelog/messages"
      json: {message_text: "{{ headline }}: {{ message }}", level: 10, tags: ["catcher"]}
  template:
    http:
      url: "https://log.example/x"
      template: "{{ headline }} {{ severity }}"
      content_type: text/plain
  mail: {apprise: {urls: ["mailto://u:${GOLDEN_TOKEN}@mail.example/?to=crew@obs.example"]}}
  journal: {journal: {file: journal.txt}}
route: {to: [console]}
"""
JOURNAL = Path(__file__).parents[2] / "alerts" / "sinks" / "journal.py"


def later(seconds: float) -> Instant:
    return NIGHT + round(seconds * SECOND)


def make_notices() -> dict[str, Notice]:
    """One notice of each step in the life of an alert."""
    opened = Alert(
        id=alert_id("wind-high", "301", "E1"), rule="wind-high", key="301", per="E1", episode=1,
        state="firing", severity=WARNING, max_severity=WARNING, opened=NIGHT, changed=NIGHT,
        reason='mean(speed, "30s") = 12.3 > 10', message="Wind is <12.3> m/s & rising",
        owner="tma", labels={"place": "summit"}, links={"rubintv": "https://rubin.example/E1"},
        run="0123456789ab", sequence=1, data_time=NIGHT, since=NIGHT, worst_since=NIGHT,
        runbook="https://run.book/wind", tags=("wind",),
    )  # fmt: skip
    worse = replace(
        opened, severity=CRITICAL, max_severity=CRITICAL, changed=later(60), sequence=2,
        reason="speed = 19 > 18", message="Wind is 19 m/s", data_time=later(59), latched=True,
        worst_since=later(60), escalates=later(360), escalate_to=("on-shift",),
    )  # fmt: skip
    taken = replace(
        worse, state="acknowledged", changed=later(90), sequence=3,
        acknowledgement=Acknowledgement("ana", CRITICAL, later(90), "I look"), assignee="ana",
    )  # fmt: skip
    shelved = replace(
        worse, state="shelved", changed=later(100), sequence=4,
        shelf=Shelf("bo", CRITICAL, later(3700), "known", later(100)),
    )  # fmt: skip
    noted = replace(worse, notes=(Remark("ana", later(95), "iced"),), sequence=5)
    better = replace(worse, severity=WARNING, changed=later(200), sequence=6)
    cleared = replace(worse, severity=NONE, changed=later(300), sequence=7, reason="speed = 5")
    unknown = replace(opened, unknown=True, sequence=8, reason="the stream is silent")
    flapping = replace(opened, flapping=True, sequence=9, untold=4)
    resolved = replace(
        cleared, state="resolved", resolved=later(400), changed=later(400), sequence=10,
        latched=False,
    )  # fmt: skip
    steps: dict[str, tuple[NoticeKind, Alert, Severity]] = {
        "opened": ("opened", opened, NONE),
        "worse": ("raised", worse, WARNING),
        "acknowledged": ("updated", taken, CRITICAL),
        "shelved": ("updated", shelved, CRITICAL),
        "noted": ("updated", noted, CRITICAL),
        "reminder": ("reminder", worse, CRITICAL),
        "better": ("lowered", better, CRITICAL),
        "cleared": ("lowered", cleared, WARNING),
        "unknown": ("updated", unknown, WARNING),
        "flapping": ("updated", flapping, WARNING),
        "resolved": ("resolved", resolved, NONE),
        "test": ("test", opened, NONE),
    }
    return {
        step: Notice(f"notice-{step}", "", kind, alert, alert.sequence, later(500), before)
        for step, (kind, alert, before) in steps.items()
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = write_site(tmp_path_factory.mktemp("messages") / "site", routes=ROUTES)
    (folder / "alerts" / "sinks").mkdir()
    (folder / "alerts" / "sinks" / "journal.py").write_text(JOURNAL.read_text())
    found = load(folder, {"GOLDEN_TOKEN": "xoxb-golden"})
    assert not found.errors
    return found


SINKS = (
    "console", "slack", "buttons", "love", "mqtt", "kafka", "http", "http-state", "narrative",
    "template", "mail", "journal",
)  # fmt: skip


@pytest.mark.parametrize("sink", SINKS)
def test_a_sink_sends_the_same_in_each_step_of_an_alert(site: Site, sink: str) -> None:
    assert set(SINKS) == set(site.sinks)
    found = {}
    for step, notice in make_notices().items():
        made = show(site, Renderer(), sink, replace(notice, sink=sink))
        found[step] = {"text": made.text, "sent": made.sent}
    unrecorded = replace(make_notices()["opened"], sink=sink, unrecorded=True)
    made = show(site, Renderer(), sink, unrecorded)
    found["unrecorded"] = {"text": made.text, "sent": made.sent}
    compare_json(f"messages/{sink}.json", json.loads(json.dumps(found)))


def test_the_words_of_an_alert_are_the_same() -> None:
    compose, found = composer(Renderer()), {}
    for step, notice in make_notices().items():
        message = compose(notice)
        found[step] = {
            "headline": message.headline, "text": message.text,
            "facts": [list(pair) for pair in message.facts],
            "links": [list(pair) for pair in message.links],
        }  # fmt: skip
    compare_json("messages/words.json", found)


def test_the_subscriptions_to_love_are_the_same() -> None:
    compare_json("messages/love_subscriptions.json", subscriptions())


# -- announcements -----------------------------------------------------------------------------


def make_run() -> Run:
    """A run that is over, with everything that is announced of it."""
    firing = Firing(
        rule="images", key="E1", time=NIGHT, cause="cause", reason="it came"
    )  # fmt: skip
    artifact = ArtifactRecord(
        key="images/2025/04/24/0123456789ab/plot.png", name="plot.png", run=firing.id,
        rule="images", time=NIGHT, size=12, mime="image/png", checksum="sha256:00",
        observation="E1", url="https://objects.example/plot.png",
    )  # fmt: skip
    return Run(
        id=firing.id, firing=firing, job="measure", state="done",
        observation="E1", finished=later(3), artifacts=(artifact,), columns={"band": "r"},
        metrics={"fwhm": Metric(0.7, "arcsec"), "lost": Metric(float("nan"), reason="dark")},
    )  # fmt: skip


def test_announcements_are_the_same() -> None:
    run = make_run()
    files = LargeFiles("Catcher", 1)
    notice = make_notices()["worse"]
    found = {
        "result": result_row(run, "summit"),
        "file": files.event(run, run.artifacts[0]),
        "topic of files": files.topic("lsst.sal.{salname}.{event}"),
        "alert": alert_record(state(notice, composer(Renderer())(notice))),
        "schemas": [RESULT_SCHEMA, ALERT_SCHEMA, FILE_SCHEMA],
    }
    compare_json("messages/announcements.json", found)


# -- heartbeats --------------------------------------------------------------------------------

GOOD = Beat(NIGHT, "summit", "engine-1", "ok")
BAD = replace(GOOD, state="degraded", problems=("a", "b", "c", "d", "e", "f", "g"))
STOPPED = replace(GOOD, state="stopped")


class Kept:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.said: list[list[Any]] = []

    async def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        self.said.append([topic, json.loads(payload), qos, retain])


@pytest.fixture
def web() -> Iterator[tuple[str, list[list[Any]]]]:
    """A web server that keeps what it is asked."""
    asked: list[list[Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name: self.headers[name] for name in ("Content-Type", "User-Agent")}
            asked.append([self.command, self.path, headers, json.loads(body) if body else None])
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/ping", asked
        server.shutdown()
        thread.join()


async def test_heartbeats_are_the_same(web: tuple[str, list[list[Any]]]) -> None:
    url, asked = web
    publisher = Kept()
    broker = MqttOutlet(publisher, "catcher/summit/heartbeat", 10 * SECOND, lambda: NIGHT)
    ways = [broker] + [
        HttpOutlet(HttpSettings(url=url, method=method), lambda: NIGHT)
        for method in ("POST", "GET")
    ]
    for beat in (GOOD, BAD, STOPPED):
        for way in ways:
            await way.beat(beat)
    found = {
        "mqtt": publisher.said,
        "will": json.loads(will("summit", "engine-1")),
        "http": asked,
        "love": love_message(GOOD, LoveSettings(sink="love")),
    }
    compare_json("messages/heartbeats.json", found)
