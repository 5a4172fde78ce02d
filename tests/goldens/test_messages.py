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

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.app.sink_registry import preview_notification
from catcher.model.alert import (
    Acknowledgement,
    Alert,
    Comment,
    Notification,
    NotificationKind,
    Severity,
    Shelving,
    compute_alert_id,
)
from catcher.model.large_files import LargeFiles
from catcher.model.result import Metric
from catcher.model.run import ArtifactRecord, Firing, Run
from catcher.model.time import SECOND, Instant, parse_instant
from catcher.monitoring import HeartbeatMessage
from catcher.monitoring.heartbeat_targets import (
    HttpHeartbeatSettings,
    HttpHeartbeatTarget,
    LoveHeartbeatSettings,
    MqttHeartbeatTarget,
    build_last_will,
    build_love_message,
)
from catcher.sinks.love_alarm import build_subscription_requests
from catcher.sinks.message_formats import build_state_payload
from catcher.sinks.payload_schemas import (
    ALERT_SCHEMA,
    FILE_SCHEMA,
    RESULT_SCHEMA,
    build_alert_row,
    build_result_row,
)
from catcher.site import Site, load_site_folder
from tests.goldens.compare import compare_json
from tests.sample_site import write_site

BASE_TIME = parse_instant("2025-04-24T00:00:00Z")
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
JOURNAL_SINK = Path(__file__).parents[2] / "alerts" / "sinks" / "journal.py"


def time_after(seconds: float) -> Instant:
    return BASE_TIME + round(seconds * SECOND)


def create_notifications() -> dict[str, Notification]:
    """One notice of each step in the life of an alert."""
    opened = Alert(
        id=compute_alert_id("wind-high", "301", "E1"),
        rule="wind-high",
        key="301",
        per="E1",
        episode=1,
        state="firing",
        severity=WARNING,
        max_severity=WARNING,
        opened=BASE_TIME,
        changed=BASE_TIME,
        reason='mean(speed, "30s") = 12.3 > 10',
        message="Wind is <12.3> m/s & rising",
        owner="tma",
        labels={"place": "summit"},
        links={"rubintv": "https://rubin.example/E1"},
        run="0123456789ab",
        sequence=1,
        data_time=BASE_TIME,
        since=BASE_TIME,
        worst_since=BASE_TIME,
        runbook="https://run.book/wind",
        tags=("wind",),
    )
    raised = replace(
        opened, severity=CRITICAL, max_severity=CRITICAL, changed=time_after(60), sequence=2,
        reason="speed = 19 > 18", message="Wind is 19 m/s", data_time=time_after(59), latched=True,
        worst_since=time_after(60), escalates=time_after(360), escalate_to=("on-shift",),
    )  # fmt: skip
    acknowledged = replace(
        raised, state="acknowledged", changed=time_after(90), sequence=3,
        acknowledgement=Acknowledgement("ana", CRITICAL, time_after(90), "I look"), assignee="ana",
    )  # fmt: skip
    shelved = replace(
        raised, state="shelved", changed=time_after(100), sequence=4,
        shelf=Shelving("bo", CRITICAL, time_after(3700), "known", time_after(100)),
    )  # fmt: skip
    commented = replace(raised, notes=(Comment("ana", time_after(95), "iced"),), sequence=5)
    lowered = replace(raised, severity=WARNING, changed=time_after(200), sequence=6)
    cleared = replace(
        raised, severity=NONE, changed=time_after(300), sequence=7, reason="speed = 5"
    )
    unknown = replace(opened, unknown=True, sequence=8, reason="the stream is silent")
    flapping = replace(opened, flapping=True, sequence=9, untold=4)
    resolved = replace(
        cleared, state="resolved", resolved=time_after(400), changed=time_after(400), sequence=10,
        latched=False,
    )  # fmt: skip
    steps: dict[str, tuple[NotificationKind, Alert, Severity]] = {
        "opened": ("opened", opened, NONE),
        "worse": ("raised", raised, WARNING),
        "acknowledged": ("updated", acknowledged, CRITICAL),
        "shelved": ("updated", shelved, CRITICAL),
        "noted": ("updated", commented, CRITICAL),
        "reminder": ("reminder", raised, CRITICAL),
        "better": ("lowered", lowered, CRITICAL),
        "cleared": ("lowered", cleared, WARNING),
        "unknown": ("updated", unknown, WARNING),
        "flapping": ("updated", flapping, WARNING),
        "resolved": ("resolved", resolved, NONE),
        "test": ("test", opened, NONE),
    }
    return {
        step: Notification(
            f"notice-{step}", "", kind, alert, alert.sequence, time_after(500), previous_severity
        )
        for step, (kind, alert, previous_severity) in steps.items()
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = write_site(tmp_path_factory.mktemp("messages") / "site", routes=ROUTES)
    (folder / "alerts" / "sinks").mkdir()
    (folder / "alerts" / "sinks" / "journal.py").write_text(JOURNAL_SINK.read_text())
    loaded_site = load_site_folder(folder, {"GOLDEN_TOKEN": "xoxb-golden"})
    assert not loaded_site.errors
    return loaded_site


SINKS = (
    "console", "slack", "buttons", "love", "mqtt", "kafka", "http", "http-state", "narrative",
    "template", "mail", "journal",
)  # fmt: skip


@pytest.mark.parametrize("sink", SINKS)
def test_a_sink_sends_the_same_in_each_step_of_an_alert(site: Site, sink: str) -> None:
    assert set(SINKS) == set(site.sinks)
    messages = {}
    for step, notification in create_notifications().items():
        preview = preview_notification(
            site, TemplateRenderer(), sink, replace(notification, sink=sink)
        )
        messages[step] = {"text": preview.text, "sent": preview.payload}
    unrecorded = replace(create_notifications()["opened"], sink=sink, unrecorded=True)
    preview = preview_notification(site, TemplateRenderer(), sink, unrecorded)
    messages["unrecorded"] = {"text": preview.text, "sent": preview.payload}
    compare_json(f"messages/{sink}.json", json.loads(json.dumps(messages)))


def test_the_text_of_an_alert_is_the_same() -> None:
    compose, messages = create_message_composer(TemplateRenderer()), {}
    for step, notification in create_notifications().items():
        message = compose(notification)
        messages[step] = {
            "headline": message.headline, "text": message.text,
            "facts": [list(pair) for pair in message.facts],
            "links": [list(pair) for pair in message.links],
        }  # fmt: skip
    compare_json("messages/words.json", messages)


def test_the_subscriptions_to_love_are_the_same() -> None:
    compare_json("messages/love_subscriptions.json", build_subscription_requests())


# -- announcements -----------------------------------------------------------------------------


def create_run() -> Run:
    """A run that is over, with everything that is announced of it."""
    firing = Firing(
        rule="images", key="E1", time=BASE_TIME, cause="cause", reason="it came"
    )  # fmt: skip
    artifact = ArtifactRecord(
        key="images/2025/04/24/0123456789ab/plot.png", name="plot.png", run=firing.id,
        rule="images", time=BASE_TIME, size=12, mime="image/png", checksum="sha256:00",
        observation="E1", url="https://objects.example/plot.png",
    )  # fmt: skip
    return Run(
        id=firing.id, firing=firing, job="measure", state="done",
        observation="E1", finished=time_after(3), artifacts=(artifact,), columns={"band": "r"},
        metrics={"fwhm": Metric(0.7, "arcsec"), "lost": Metric(float("nan"), reason="dark")},
    )  # fmt: skip


def test_announcements_are_the_same() -> None:
    run = create_run()
    files = LargeFiles("Catcher", 1)
    notification = create_notifications()["worse"]
    announcements = {
        "result": build_result_row(run, "summit"),
        "file": files.build_event_fields(run, run.artifacts[0]),
        "topic of files": files.format_topic("lsst.sal.{salname}.{event}"),
        "alert": build_alert_row(
            build_state_payload(
                notification, create_message_composer(TemplateRenderer())(notification)
            )
        ),
        "schemas": [RESULT_SCHEMA, ALERT_SCHEMA, FILE_SCHEMA],
    }
    compare_json("messages/announcements.json", announcements)


# -- heartbeats --------------------------------------------------------------------------------

HEALTHY = HeartbeatMessage(BASE_TIME, "summit", "engine-1", "ok")
DEGRADED = replace(HEALTHY, state="degraded", problems=("a", "b", "c", "d", "e", "f", "g"))
STOPPED = replace(HEALTHY, state="stopped")


class FakePublisher:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.published: list[list[Any]] = []

    async def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        self.published.append([topic, json.loads(payload), qos, retain])


@pytest.fixture
def web_server() -> Iterator[tuple[str, list[list[Any]]]]:
    """A web server that keeps what it is asked."""
    requests: list[list[Any]] = []

    class HeartbeatHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name: self.headers[name] for name in ("Content-Type", "User-Agent")}
            requests.append([self.command, self.path, headers, json.loads(body) if body else None])
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), HeartbeatHandler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/ping", requests
        server.shutdown()
        thread.join()


async def test_heartbeats_are_the_same(web_server: tuple[str, list[list[Any]]]) -> None:
    url, requests = web_server
    publisher = FakePublisher()
    mqtt_target = MqttHeartbeatTarget(
        publisher, "catcher/summit/heartbeat", 10 * SECOND, lambda: BASE_TIME
    )
    targets = [mqtt_target] + [
        HttpHeartbeatTarget(HttpHeartbeatSettings(url=url, method=method), lambda: BASE_TIME)
        for method in ("POST", "GET")
    ]
    for heartbeat in (HEALTHY, DEGRADED, STOPPED):
        for target in targets:
            await target.send_heartbeat(heartbeat)
    heartbeats = {
        "mqtt": publisher.published,
        "will": json.loads(build_last_will("summit", "engine-1")),
        "http": requests,
        "love": build_love_message(HEALTHY, LoveHeartbeatSettings(sink="love")),
    }
    compare_json("messages/heartbeats.json", heartbeats)
