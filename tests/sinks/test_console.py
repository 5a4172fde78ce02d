"""The console: one plain line a notice, the severity first."""

from __future__ import annotations

import io
import json

import pytest

from catcher.alerting import Renderer, composer
from catcher.model.alert import Notice
from catcher.ports import SinkError
from catcher.sinks.console import ConsoleSink, Settings
from tests.alerting.making import SERIOUS, WARNING, alert, later


def notice(**more: object) -> Notice:
    one = alert(SERIOUS, message="Wind is 16 m/s", owner="weather", **more)
    return Notice("n", "console", "raised", one, 1, later(2), previous=WARNING)


async def test_a_notice_is_one_line() -> None:
    lines: list[str] = []
    sink = ConsoleSink("console", Settings(), composer(Renderer()), lines.append)
    assert await sink.deliver(notice(links={"board": "http://board/a"})) == {}
    assert lines == [
        "SERIOUS wind-high 301: Wind is 16 m/s | severity was WARNING"
        ' | value mean(speed, "30s") = 12.3 > 10 | since 2025-04-24 00:00:00Z | data 2s old'
        " | owner weather | board http://board/a"
    ]
    assert sink.health().state == "ok"


async def test_the_addresses_may_be_left_out() -> None:
    lines: list[str] = []
    sink = ConsoleSink("console", Settings(links=False), composer(Renderer()), lines.append)
    await sink.deliver(notice(links={"board": "http://board/a"}))
    assert "http" not in lines[0]


async def test_what_events_say_moves_no_cursor() -> None:
    lines: list[str] = []
    nasty = "\x1b[2J\x1b]0;title\x07\r\n\u202eevil" + "x" * 1_000_000
    sink = ConsoleSink("console", Settings(), composer(Renderer()), lines.append)
    await sink.deliver(notice(key=nasty, reason=nasty))
    assert not set(lines[0]) & set("\x1b\r\n\x07\u202e") and len(lines[0]) < 3_000


async def test_a_site_may_word_it_itself() -> None:
    lines: list[str] = []
    renderer = Renderer({"console": "{{ severity }}! {{ message }}"})
    sink = ConsoleSink("console", Settings(), composer(renderer, "console"), lines.append)
    await sink.deliver(notice())
    assert lines == ["SERIOUS! Wind is 16 m/s"]


async def test_a_closed_stream_is_a_failed_delivery() -> None:
    stream = io.StringIO()
    stream.close()

    def write(text: str) -> None:
        print(text, file=stream)

    sink = ConsoleSink("console", Settings(), composer(Renderer()), write)
    with pytest.raises(SinkError, match="nothing can be written"):
        await sink.deliver(notice())
    assert sink.health().state == "away"


async def test_a_collector_of_logs_gets_json_in_ascii() -> None:
    lines: list[str] = []
    sink = ConsoleSink("log", Settings(form="json"), composer(Renderer()), lines.append)
    await sink.deliver(notice(key="\u202e\x1b[2J\ud800" + "x" * 1_000_000))
    (line,) = lines
    assert line.isascii() and line.isprintable() and len(line) < 10_000
    said = json.loads(line)
    assert (said["severity_name"], said["change"], said["previous"]) == (
        "SERIOUS", "raised", "WARNING",
    )  # fmt: skip
