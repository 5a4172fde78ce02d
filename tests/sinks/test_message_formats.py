"""How a message is laid out: lines, HTML, Markdown, JSON; all in one order, all of it escaped."""

from __future__ import annotations

import json
from typing import Any

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Notification
from catcher.sinks.message_formats import (
    build_state_payload,
    format_one_line,
    format_plain_body,
    render_html,
    render_markdown,
)
from tests.alerting.builders import CRITICAL, NIGHT, NONE, SERIOUS, create_alert

HOSTILE_TEXT = "<script>x</script> *b* [a](http://evil) `c` # \x1b[31m\u202e"


def create_notification(**attributes: Any) -> Notification:
    values = {
        "severity": SERIOUS, "message": "Wind is 16 m/s", "owner": "weather",
        "runbook": "https://run.book/wind", "links": {"board": "https://board/a(1)"}, **attributes,
    }  # fmt: skip
    alert = create_alert(**values)
    return Notification("n", "s", "raised", alert, 1, NIGHT, previous=NONE)


def compose_message(notification: Notification) -> Any:
    return create_message_composer(TemplateRenderer())(notification)


def is_in_order(text: str, *parts: str) -> bool:
    positions = [text.find(part) for part in parts]
    return -1 not in positions and positions == sorted(positions)


def test_every_form_has_the_same_order() -> None:
    notification = create_notification()
    message = compose_message(notification)
    parts = ("Wind is 16 m/s", "value", "since", "data", "owner", "run.book", "board")
    for text in (
        format_one_line(message),
        format_plain_body(message),
        render_html(notification, message),
        render_markdown(message),
    ):
        assert is_in_order(text, *parts)


def test_html_and_markdown_escape_event_text() -> None:
    notification = create_notification(
        message=HOSTILE_TEXT, owner=HOSTILE_TEXT, reason=HOSTILE_TEXT, key=HOSTILE_TEXT
    )
    page, text = (
        render_html(notification, compose_message(notification)),
        render_markdown(compose_message(notification)),
    )
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "\\*b\\* \\[a\\]\\(http://evil\\) \\`c\\` \\#" in text
    assert not set(page + text) & set("\x1b\u202e")


def test_markdown_links_allow_any_url() -> None:
    assert "[board](<https://board/a(1)>)" in render_markdown(
        compose_message(create_notification())
    )
    local = render_markdown(
        compose_message(create_notification(links={"wind.png": "file:///data/wind_1.png"}))
    )
    assert "file:///data/wind\\_1.png" in local


def test_the_colour_is_that_of_the_severity() -> None:
    for severity, colour in ((SERIOUS, "#d9480f"), (CRITICAL, "#b71c1c")):
        notification = create_notification(severity=severity, max_severity=severity)
        assert colour in render_html(notification, compose_message(notification))
    resolved = create_notification(state="resolved", severity=NONE)
    assert "#2e7d32" in render_html(resolved, compose_message(resolved))


def test_state_payload_is_complete_json() -> None:
    body = build_state_payload(create_notification(), compose_message(create_notification()))
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert (body["severity"], body["severity_name"], body["change"]) == (3, "SERIOUS", "raised")
    assert body["opened"] == "2025-04-24T00:00:00Z" and body["resolved"] is None
