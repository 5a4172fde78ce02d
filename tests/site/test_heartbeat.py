"""The section `heartbeat:` of `catcher.yaml`, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from catcher.app import SETTINGS_CLASSES
from catcher.model.time import SECOND
from catcher.monitoring.heartbeat_targets import (
    HttpHeartbeatSettings,
    LoveHeartbeatSettings,
    MqttHeartbeatSettings,
)
from catcher.site import HeartbeatSettings, Site
from tests.site.site_files import list_problem_texts, load_site

LOVE = """
sinks: {console: {}, love: {love: {url: 'ws://love/manager/ws/subscription'}}}
route: {to: [console]}
"""


def load_site_with(tmp_path: Path, text: str, routes: str = LOVE) -> Site:
    files = {"catcher.yaml": text, "alerts/routes.yaml": routes}
    return load_site(tmp_path, files, adapters=SETTINGS_CLASSES)


def test_no_heartbeat_is_sent_by_default(tmp_path: Path) -> None:
    assert load_site_with(tmp_path, "site: s\n").settings.heartbeat == HeartbeatSettings(
        10 * SECOND, ()
    )


def test_heartbeat_has_several_targets(tmp_path: Path) -> None:
    site = load_site_with(
        tmp_path,
        "heartbeat:\n"
        "  every: 5s\n"
        "  mqtt: {host: broker, topic: a/b}\n"
        "  http: {url: 'https://hc-ping.example/KEY', method: POST, timeout: 2s}\n"
        "  love: {sink: love}\n",
    )
    assert list_problem_texts(site) == []
    heartbeat = site.settings.heartbeat
    assert heartbeat.every == 5 * SECOND
    mqtt, http, love = heartbeat.targets
    assert mqtt.bind_settings(MqttHeartbeatSettings) == MqttHeartbeatSettings(
        host="broker", topic="a/b"
    )
    assert http.bind_settings(HttpHeartbeatSettings) == HttpHeartbeatSettings(
        url="https://hc-ping.example/KEY", method="POST", timeout=2 * SECOND
    )
    assert love.bind_settings(LoveHeartbeatSettings) == LoveHeartbeatSettings(sink="love")


def test_an_edit_changes_its_values(tmp_path: Path) -> None:
    first = load_site_with(tmp_path, "heartbeat: {mqtt: {host: a}}\n").settings.heartbeat
    second = load_site_with(tmp_path, "heartbeat: {mqtt: {host: b}}\n").settings.heartbeat
    assert first.to_dict() == {"every": 10 * SECOND, "mqtt": {"host": "a"}}
    assert first.to_dict() != second.to_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("heartbeat: 10s\n",
         "1:12: `heartbeat` takes a mapping, not '10s'; "
         "write it like heartbeat: {every: 10s, mqtt: {host: broker.example}}"),
        ("heartbeat: {every: 10s}\n",
         "1:12: `heartbeat` does not say where to; add one of mqtt, http, love"),
        ("heartbeat: {mqt: {}}\n",
         "1:13: `heartbeat` has no key 'mqt'; did you mean 'mqtt'?"),
        ("heartbeat: {mqtt: {hots: a}}\n",
         "1:20: mqtt has no key 'hots'; did you mean 'host'?"),
        ("heartbeat: {every: 10ms, mqtt: {}}\n",
         "1:20: a heartbeat comes every second at most, and every 10 minutes at least; "
         "write it like every: 10s"),
        ("heartbeat: {mqtt: {topic: 'a/#'}}\n",
         "1:19: 'a/#' is no topic to publish to; write it like catcher/site/heartbeat"),
        ("heartbeat: {http: {}}\n", "1:19: http lacks `url`; write url: below http:"),
        ("heartbeat: {http: {url: ping}}\n",
         "1:19: the heartbeat's url is no web address; write it like https://…"),
        ("heartbeat: {love: {sink: lovve}}\n",
         "1:26: there is no sink to LOVE named 'lovve' in alerts/routes.yaml; "
         "did you mean 'love'?"),
        ("heartbeat: {love: {sink: console}}\n",
         "1:26: there is no sink to LOVE named 'console' in alerts/routes.yaml; "
         "declare one: sinks: {love: {love: {url: …}}}"),
    ],
)  # fmt: skip
def test_mistake_is_reported_with_its_location(tmp_path: Path, text: str, message: str) -> None:
    messages = [
        problem_text.removeprefix("catcher.yaml:")
        for problem_text in list_problem_texts(load_site_with(tmp_path, text))
    ]
    assert message in messages


def test_the_address_of_a_ping_is_a_secret(tmp_path: Path) -> None:
    site = load_site_with(tmp_path, "heartbeat: {http: {url: 'https://hc-ping.example/s3cret'}}\n")
    assert "s3cret" not in repr(site.settings)
    assert "s3cret" not in repr(
        site.settings.heartbeat.targets[0].bind_settings(HttpHeartbeatSettings)
    )


@pytest.mark.parametrize("name", ["health"])
def test_a_rule_cannot_have_the_name_of_catchers_own_topic(tmp_path: Path, name: str) -> None:
    rule = f"rule: {name}\ntrigger: {{event: t}}\n"
    site = load_site(tmp_path, {"rules/r.yaml": rule})
    (message,) = list_problem_texts(site)
    assert message.endswith(
        "1:7: 'health' cannot be the name of a rule: the topic is Catcher's own; choose another"
    )


def test_rule_may_use_the_health_of_the_components(tmp_path: Path) -> None:
    rule = "rule: parts\ntrigger: {event: catcher.health, by: part}\n"
    assert list_problem_texts(load_site(tmp_path, {"rules/r.yaml": rule})) == []
