"""The section `heartbeat:` of `catcher.yaml`, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from catcher.app import SETTINGS
from catcher.model.time import SECOND
from catcher.site import Heartbeat, Site
from catcher.vitals.outlets import HttpSettings, LoveSettings, MqttSettings
from tests.site.writing import load_site, words

LOVE = """
sinks: {console: {}, love: {love: {url: 'ws://love/manager/ws/subscription'}}}
route: {to: [console]}
"""


def site_of(tmp_path: Path, text: str, routes: str = LOVE) -> Site:
    files = {"catcher.yaml": text, "alerts/routes.yaml": routes}
    return load_site(tmp_path, files, adapters=SETTINGS)


def test_without_a_word_no_heartbeat_leaves(tmp_path: Path) -> None:
    assert site_of(tmp_path, "site: s\n").settings.heartbeat == Heartbeat(10 * SECOND, ())


def test_a_heartbeat_takes_several_ways(tmp_path: Path) -> None:
    site = site_of(
        tmp_path,
        "heartbeat:\n"
        "  every: 5s\n"
        "  mqtt: {host: broker, topic: a/b}\n"
        "  http: {url: 'https://hc-ping.example/KEY', method: POST, timeout: 2s}\n"
        "  love: {sink: love}\n",
    )
    assert words(site) == []
    heartbeat = site.settings.heartbeat
    assert heartbeat.every == 5 * SECOND
    mqtt, http, love = heartbeat.ways
    assert mqtt.bind(MqttSettings) == MqttSettings(host="broker", topic="a/b")
    assert http.bind(HttpSettings) == HttpSettings(
        url="https://hc-ping.example/KEY", method="POST", timeout=2 * SECOND
    )
    assert love.bind(LoveSettings) == LoveSettings(sink="love")


def test_an_edit_of_it_is_seen(tmp_path: Path) -> None:
    first = site_of(tmp_path, "heartbeat: {mqtt: {host: a}}\n").settings.heartbeat
    second = site_of(tmp_path, "heartbeat: {mqtt: {host: b}}\n").settings.heartbeat
    assert first.values() == {"every": 10 * SECOND, "mqtt": {"host": "a"}}
    assert first.values() != second.values()


@pytest.mark.parametrize(
    ("text", "told"),
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
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    found = [one.removeprefix("catcher.yaml:") for one in words(site_of(tmp_path, text))]
    assert told in found


def test_the_address_of_a_ping_is_a_secret(tmp_path: Path) -> None:
    site = site_of(tmp_path, "heartbeat: {http: {url: 'https://hc-ping.example/s3cret'}}\n")
    assert "s3cret" not in repr(site.settings)
    assert "s3cret" not in repr(site.settings.heartbeat.ways[0].bind(HttpSettings))


@pytest.mark.parametrize("name", ["health"])
def test_a_rule_cannot_have_the_name_of_catchers_own_topic(tmp_path: Path, name: str) -> None:
    rule = f"rule: {name}\ntrigger: {{event: t}}\n"
    site = load_site(tmp_path, {"rules/r.yaml": rule})
    (told,) = words(site)
    assert told.endswith(
        "1:7: 'health' cannot be the name of a rule: the topic is Catcher's own; choose another"
    )


def test_a_rule_may_listen_to_the_health_of_the_parts(tmp_path: Path) -> None:
    rule = "rule: parts\ntrigger: {event: catcher.health, by: part}\n"
    assert words(load_site(tmp_path, {"rules/r.yaml": rule})) == []
