"""Whatever names, messages and people hold, what each sink would send is plain, short and inert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catcher.alerting import Renderer
from catcher.app import SETTINGS
from catcher.app.sink_kinds import SINKS, show
from catcher.model.alert import Acknowledgement, Notice, NoticeKind, Remark, Severity
from catcher.site import Site, load
from tests.alerting.making import NIGHT, SERIOUS, alert
from tests.sinks.slack_server import wrong_message

SINKS_HERE = """
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
HIDDEN = set("\x1b\x9b\x07\x00\u202e\u2066\ud800")
HOSTILE = [
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
    (root / "alerts" / "routes.yaml").write_text(SINKS_HERE)
    (root / "catcher.yaml").write_text("site: hostile\n")
    loaded = load(root, adapters=SETTINGS)
    assert {one.kind for one in loaded.sinks.values()} >= set(SINKS)
    return loaded


def notice_of(text: str, kind: NoticeKind) -> Notice:
    """An alert that is called so, says so, and to which people wrote so."""
    said = alert(
        SERIOUS, key=text, per=text, message=text, owner=text, tags=(text,), labels={text: text},
        reason=text, links={"board": "https://board.example/1"}, assignee=text, aside=text,
        values={"what": text}, notes=(Remark(text, NIGHT, text),),
        acknowledgement=Acknowledgement(text, SERIOUS, NIGHT, text),
    )  # fmt: skip
    return Notice("n1", "any", kind, replace(said, rule="wind-high"), 2, NIGHT, Severity.WARNING)


def texts(value: Any) -> Iterator[str]:
    """All texts of what would be sent, names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from (str(name), *texts(one))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)


@pytest.mark.parametrize("kind", ["opened", "raised", "resolved"])
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:16]))
def test_it_is_shown_as_plain_text_and_cut(site: Site, text: str, kind: NoticeKind) -> None:
    for name in site.sinks:
        shown = show(site, Renderer(), name, replace(notice_of(text, kind), sink=name))
        sent = [shown.text, *texts(shown.sent)]
        assert not set("".join(sent)) & HIDDEN, name
        assert len(json.dumps(shown.sent, default=str)) < 60_000, name
        assert len(shown.text) < 30_000, name
        assert not any("49" in one for one in sent if "7 * 7" in text), name
        if len(text) > 1000 and name != "filled":
            assert any("https://board.example/1" in one for one in sent), f"{name} leads on"


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:16]))
def test_slack_would_take_it_and_ping_nobody(site: Site, text: str) -> None:
    body = show(site, Renderer(), "slack", replace(notice_of(text, "opened"), sink="slack")).sent
    assert isinstance(body, dict)
    assert wrong_message({"channel": "#tma-alerts", **body}) == ""
