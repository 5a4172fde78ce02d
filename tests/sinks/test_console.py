"""The console: one plain line a notice, the severity first."""

from __future__ import annotations

import io
import json

import pytest

from catcher.alerting import TemplateRenderer, create_message_composer
from catcher.model.alert import Notification
from catcher.ports import SinkError
from catcher.sinks.console import ConsoleSink, ConsoleSinkSettings
from tests.alerting.builders import SERIOUS, WARNING, create_alert, instant_at


def create_notification(**attributes: object) -> Notification:
    alert = create_alert(SERIOUS, message="Wind is 16 m/s", owner="weather", **attributes)
    return Notification("n", "console", "raised", alert, 1, instant_at(2), previous=WARNING)


async def test_notification_is_one_line() -> None:
    lines: list[str] = []
    sink = ConsoleSink(
        "console", ConsoleSinkSettings(), create_message_composer(TemplateRenderer()), lines.append
    )
    assert await sink.deliver(create_notification(links={"board": "http://board/a"})) == {}
    assert lines == [
        "SERIOUS wind-high 301: Wind is 16 m/s | severity was WARNING"
        ' | value mean(speed, "30s") = 12.3 > 10 | since 2025-04-24 00:00:00Z | data 2s old'
        " | owner weather | board http://board/a"
    ]
    assert sink.health().state == "ok"


async def test_links_can_be_omitted() -> None:
    lines: list[str] = []
    sink = ConsoleSink(
        "console",
        ConsoleSinkSettings(links=False),
        create_message_composer(TemplateRenderer()),
        lines.append,
    )
    await sink.deliver(create_notification(links={"board": "http://board/a"}))
    assert "http" not in lines[0]


async def test_event_text_moves_no_cursor() -> None:
    lines: list[str] = []
    hostile_text = "\x1b[2J\x1b]0;title\x07\r\n\u202eevil" + "x" * 1_000_000
    sink = ConsoleSink(
        "console", ConsoleSinkSettings(), create_message_composer(TemplateRenderer()), lines.append
    )
    await sink.deliver(create_notification(key=hostile_text, reason=hostile_text))
    assert not set(lines[0]) & set("\x1b\r\n\x07\u202e") and len(lines[0]) < 3_000


async def test_site_template_replaces_the_line() -> None:
    lines: list[str] = []
    renderer = TemplateRenderer({"console": "{{ severity }}! {{ message }}"})
    sink = ConsoleSink(
        "console", ConsoleSinkSettings(), create_message_composer(renderer, "console"), lines.append
    )
    await sink.deliver(create_notification())
    assert lines == ["SERIOUS! Wind is 16 m/s"]


async def test_a_closed_stream_is_a_failed_delivery() -> None:
    stream = io.StringIO()
    stream.close()

    def write(text: str) -> None:
        print(text, file=stream)

    sink = ConsoleSink(
        "console", ConsoleSinkSettings(), create_message_composer(TemplateRenderer()), write
    )
    with pytest.raises(SinkError, match="nothing can be written"):
        await sink.deliver(create_notification())
    assert sink.health().state == "away"


async def test_a_collector_of_logs_gets_json_in_ascii() -> None:
    lines: list[str] = []
    sink = ConsoleSink(
        "log",
        ConsoleSinkSettings(form="json"),
        create_message_composer(TemplateRenderer()),
        lines.append,
    )
    await sink.deliver(create_notification(key="\u202e\x1b[2J\ud800" + "x" * 1_000_000))
    (line,) = lines
    assert line.isascii() and line.isprintable() and len(line) < 10_000
    payload = json.loads(line)
    assert (payload["severity_name"], payload["change"], payload["previous"]) == (
        "SERIOUS", "raised", "WARNING",
    )  # fmt: skip
