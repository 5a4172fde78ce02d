"""Whatever names, messages and people hold, what each sink would send is plain, short and inert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.alerting import TemplateRenderer
from catcher.app import SETTINGS_CLASSES
from catcher.app.sink_registry import SINK_KINDS, preview_notification
from catcher.model.alert import Acknowledgement, Comment, Notification, NotificationKind, Severity
from catcher.site import Site, load_site_folder
from tests.alerting.builders import NIGHT, SERIOUS, create_alert
from tests.sinks.slack_server import find_message_error

ROUTES = """
sinks:
  console: {}
  lines: {console: {form: json}}
  slack: {slack: {channel: "#tma-alerts", token: xoxb-0123456789}}
  love: {love: {url: "ws://love.example/manager/ws/subscription", password: secret-0123}}
  mqtt: {mqtt: {host: broker.example}}
  http: {http: {url: "https://hook.example/"}}
  filled: {http: {url: "https://hook.example/", json: {text: "{{ headline }}: {{ message }}"}}}
  mail: {apprise: {urls: ["mailto://night:secret-0123@mail.example"]}}
  kafka: {kafka: {rest: "https://kafka-rest.example", topic: catcher.alerts}}
  own: {journal: {file: /tmp/none}}
route: {to: [console]}
"""
JOURNAL = Path(__file__).parents[2] / "alerts" / "sinks" / "journal.py"
CONTROL_CHARS = set("\x1b\x9b\x07\x00\u202e\u2066\ud800")
HOSTILE_TEXTS = [
    "{{ 7 * 7 }}{% for one in range(9) %}",
    "<script>alert(1)</script>",
    "\x1b]8;;http://evil\x07\x1b[31mred\x9b2J",
    "\u202egnirts\u2066 desrever",
    "<!channel> <!here> <@U123> @channel @everyone",
    "x" * 1_000_000,
    "\ud800 lone \x00 null",
    "line\nbreak\r\n*bold* _em_ `code` [link](javascript:alert(1))",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("hostile")
    (root / "alerts" / "sinks").mkdir(parents=True)
    (root / "alerts" / "sinks" / "journal.py").write_text(JOURNAL.read_text())
    (root / "alerts" / "routes.yaml").write_text(ROUTES)
    (root / "catcher.yaml").write_text("site: hostile\n")
    loaded = load_site_folder(root, adapters=SETTINGS_CLASSES)
    assert {spec.kind for spec in loaded.sinks.values()} >= set(SINK_KINDS)
    return loaded


def create_notification(text: str, kind: NotificationKind) -> Notification:
    """An alert that is called so, says so, and to which people wrote so."""
    alert = create_alert(
        SERIOUS, key=text, per=text, message=text, owner=text, tags=(text,), labels={text: text},
        reason=text, links={"board": "https://board.example/1"}, assignee=text, aside=text,
        values={"what": text}, notes=(Comment(text, NIGHT, text),),
        acknowledgement=Acknowledgement(text, SERIOUS, NIGHT, text),
    )  # fmt: skip
    return Notification(
        "n1", "any", kind, replace(alert, rule="wind-high"), 2, NIGHT, Severity.WARNING
    )


def iter_texts(value: Any) -> Iterator[str]:
    """All texts of what would be sent, names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from (str(name), *iter_texts(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from iter_texts(item)


@pytest.mark.parametrize("kind", ["opened", "raised", "resolved"])
@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:16]))
def test_preview_is_plain_text_and_truncated(site: Site, text: str, kind: NotificationKind) -> None:
    for name in site.sinks:
        preview = preview_notification(
            site, TemplateRenderer(), name, replace(create_notification(text, kind), sink=name)
        )
        sent_texts = [preview.text, *iter_texts(preview.payload)]
        assert not set("".join(sent_texts)) & CONTROL_CHARS, name
        assert len(json.dumps(preview.payload, default=str)) < 60_000, name
        assert len(preview.text) < 30_000, name
        assert not any("49" in part for part in sent_texts if "7 * 7" in text), name
        if len(text) > 1000 and name != "filled":
            assert any("https://board.example/1" in part for part in sent_texts), f"{name} leads on"


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:16]))
def test_slack_accepts_it_and_mentions_nobody(site: Site, text: str) -> None:
    body = preview_notification(
        site,
        TemplateRenderer(),
        "slack",
        replace(create_notification(text, "opened"), sink="slack"),
    ).payload
    assert isinstance(body, dict)
    assert find_message_error({"channel": "#tma-alerts", **body}) == ""
