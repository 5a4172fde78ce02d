"""How a message is laid out: lines, HTML, Markdown, JSON; all in one order, all of it escaped."""

from __future__ import annotations

import json
from typing import Any

from catcher.alerting import Renderer, composer
from catcher.model.alert import Notice
from catcher.sinks.layouts import as_html, as_markdown, lines, one_line, state
from tests.alerting.making import CRITICAL, NIGHT, NONE, SERIOUS, alert

NASTY = "<script>x</script> *b* [a](http://evil) `c` # \x1b[31m\u202e"


def told(**more: Any) -> Notice:
    given = {
        "severity": SERIOUS, "message": "Wind is 16 m/s", "owner": "weather",
        "runbook": "https://run.book/wind", "links": {"board": "https://board/a(1)"}, **more,
    }  # fmt: skip
    one = alert(**given)
    return Notice("n", "s", "raised", one, 1, NIGHT, previous=NONE)


def message(notice: Notice) -> Any:
    return composer(Renderer())(notice)


def in_order(text: str, *parts: str) -> bool:
    places = [text.find(part) for part in parts]
    return -1 not in places and places == sorted(places)


def test_every_form_has_the_same_order() -> None:
    notice = told()
    made = message(notice)
    parts = ("Wind is 16 m/s", "value", "since", "data", "owner", "run.book", "board")
    for text in (one_line(made), lines(made), as_html(notice, made), as_markdown(made)):
        assert in_order(text, *parts)


def test_html_and_markdown_make_nothing_of_what_events_say() -> None:
    notice = told(message=NASTY, owner=NASTY, reason=NASTY, key=NASTY)
    page, text = as_html(notice, message(notice)), as_markdown(message(notice))
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "\\*b\\* \\[a\\]\\(http://evil\\) \\`c\\` \\#" in text
    assert not set(page + text) & set("\x1b\u202e")


def test_markdown_links_hold_any_address() -> None:
    assert "[board](<https://board/a(1)>)" in as_markdown(message(told()))
    local = as_markdown(message(told(links={"wind.png": "file:///data/wind_1.png"})))
    assert "file:///data/wind\\_1.png" in local


def test_the_colour_is_that_of_the_severity() -> None:
    for severity, colour in ((SERIOUS, "#d9480f"), (CRITICAL, "#b71c1c")):
        notice = told(severity=severity, max_severity=severity)
        assert colour in as_html(notice, message(notice))
    over = told(state="resolved", severity=NONE)
    assert "#2e7d32" in as_html(over, message(over))


def test_the_state_is_json_and_has_all_that_a_program_needs() -> None:
    body = state(told(), message(told()))
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert (body["severity"], body["severity_name"], body["change"]) == (3, "SERIOUS", "raised")
    assert body["opened"] == "2025-04-24T00:00:00Z" and body["resolved"] is None
