"""`preview`, `new sink` and `doctor --send-test`: how alerts look, before any is real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_runner import run_command
from tests.sample_site import write_site

RULES = """
rule: wind
owner: tma
runbook: https://run.book/wind
trigger: {telemetry: wind, by: mast, where: speed >= 0}
alert:
  warning: {when: 'mean(speed, "30s") > 10', clear: 'mean(speed, "30s") < 8'}
  serious: speed > 20
  message: "Wind {{ speed | round(1) }} at {{ mast }}{% if gust > 30 %}, gusts{% endif %}"
---
rule: quiet
trigger: {event: number}
"""
ROUTES = """
sinks:
  console: {}
  tma:
    slack: {channel: "#tma", token: "${SLACK_TOKEN}", app_token: "${SLACK_TOKEN}"}
  love: {love: {url: "ws://love.example/manager/ws/subscription", password: "${SLACK_TOKEN}"}}
  broker: {mqtt: {host: broker.example}}
  log: {http: {url: "https://log.example/messages", json: {text: "{{ headline }}", who: null}}}
  mail: {apprise: {urls: ["mailtos://u:${SLACK_TOKEN}@mail.example/?to=crew@obs.example"]}}
  own: {journal: {file: "FILE"}}
  broken: {http: {url: "https://log.example/x", json: {text: "{{ nothing }}"}}}
route:
  to: [console]
  routes:
    - match: {severity: ">= serious"}
      to: [console, tma, love, broker, log, mail, own, broken]
"""
SHIPPED = Path(__file__).parents[2] / "alerts" / "sinks" / "journal.py"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLACK_TOKEN", "whisper-1234")
    routes = ROUTES.replace("FILE", str(tmp_path / "journal.txt"))
    folder = write_site(tmp_path / "site", RULES, routes=routes)
    (folder / "alerts/sinks").mkdir()
    (folder / "alerts/sinks/journal.py").write_text(SHIPPED.read_text())
    return folder


def run_preview(site: Path, *options: str) -> dict[str, dict[str, Any]]:
    result = run_command("preview", "wind", "--site", site, "--json", *options)
    assert result.status == 0, result.err
    return {row["sink"]: row for row in result.rows}


# -- preview -----------------------------------------------------------------------------------


def test_lowest_severity_uses_the_default_route(site: Path) -> None:
    assert list(run_preview(site)) == ["console"]


def test_each_routed_sink_shows_its_rendered_message(site: Path) -> None:
    event = json.dumps({"speed": 21.44, "mast": 3, "gust": 31})
    rows = run_preview(site, "--severity", "serious", "--event", event)
    message = "Wind 21.4 at 3, gusts"
    assert list(rows) == ["console", "tma", "love", "broker", "log", "mail", "own", "broken"]
    assert rows["console"]["text"].startswith(f"SERIOUS wind 3: {message} | value speed > 20")
    assert "[ Acknowledge ] [ Shelve 30 m ] [ Open ]" in rows["tma"]["text"]
    assert rows["tma"]["sent"]["blocks"][0]["text"]["text"] == "🟠 SERIOUS wind 3"
    assert rows["love"]["text"].startswith("SERIOUS  catcher.wind.3\n" + message)
    assert rows["broker"]["sent"]["severity_name"] == "SERIOUS"
    assert rows["log"]["sent"] == {"text": "SERIOUS wind 3", "who": None}
    assert (
        rows["mail"]["sent"][0]["format"] == "html" and message in rows["mail"]["sent"][0]["body"]
    )
    assert message in rows["own"]["text"]
    assert "its template failed: 'nothing' is undefined" in rows["broken"]["problem"]
    assert "whisper" not in json.dumps(rows)


def test_missing_fields_are_shown_as_placeholders(site: Path) -> None:
    assert run_preview(site)["console"]["text"].startswith(
        "WARNING wind ‹mast›: Wind 12.3 at ‹mast›"
    )


def test_recorded_event_is_accepted(site: Path) -> None:
    row = json.dumps({"topic": "wind", "time": "2025-04-24T00:00:00Z", "fields": {"speed": 9.96}})
    assert "Wind 10.0 at" in run_preview(site, "--event", row)["console"]["text"]


def test_text_output_has_a_panel_for_each_sink(site: Path) -> None:
    result = run_command("preview", "wind", "--site", site, "--severity", "serious")
    assert result.status == 0
    assert "tma (slack)" in result.out and "love (love)" in result.out
    assert "whisper" not in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wnd",), "did you mean 'wind'?"),
        (("quiet",), "quiet alerts nobody"),
        (("wind", "--severity", "loud"), "'loud' is no severity"),
        (("wind", "--event", "{"), "--event is no JSON"),
        (("wind", "--event", "[1]"), "no JSON object"),
        (("wind", "--event", "@nowhere.json"), "--event is no JSON"),
        (("wind", "--severity", "none"), "opens no alert at NONE"),
    ],
)
def test_failed_preview_gives_the_reason(
    site: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run_command("preview", *arguments, "--site", site)
    assert result.status == 2
    assert message in result.err


def test_event_text_is_never_markup(site: Path) -> None:
    hostile_text = "<!here> {{ 7*7 }} \x1b[31m\u202e[red]" + "x" * 100_000
    event = json.dumps({"speed": 21, "mast": hostile_text, "gust": 1})
    result = run_command(
        "preview", "wind", "--site", site, "--severity", "serious", "--event", event
    )
    assert result.status == 0
    assert "{{ 7*7 }}" in result.out and "[red]" in result.out
    assert "\x1b" not in result.out and "\u202e" not in result.out and len(result.out) < 60_000


# -- a test through a real sink ----------------------------------------------------------------


def test_test_alert_is_sent_through_the_real_sink(site: Path, tmp_path: Path) -> None:
    result = run_command("doctor", "--send-test", "own", "--site", site, "--json")
    assert result.status == 0, result.out
    assert result.rows[0]["found"] == "the test was taken"
    lines = (tmp_path / "journal.txt").read_text().splitlines()
    assert len(lines) == 2, "the test, and its end"
    assert all("TEST catcher-test own: This is a test" in line for line in lines)


def test_failed_test_alert_gives_the_reason_without_secrets(site: Path, tmp_path: Path) -> None:
    (site / "alerts/sinks/journal.py").write_text(
        "from catcher.ports import SinkError\n"
        "def deliver(notice, message, settings):\n"
        "    raise SinkError('whisper-1234 is no key', final=True)\n"
    )
    result = run_command("doctor", "--send-test", "own", "--site", site, "--json")
    assert result.status == 1
    (row,) = result.rows
    assert row["state"] == "error"
    assert row["found"] == "the test did not arrive: *** is no key"


def test_unknown_sink_is_reported(site: Path) -> None:
    result = run_command("doctor", "--send-test", "onw", "--site", site)
    assert result.status == 2
    assert "the site has no sink 'onw'" in result.err and "own" in result.err


# -- a sink of one's own -----------------------------------------------------------------------


def test_new_sink_file_is_valid(site: Path) -> None:
    result = run_command("new", "sink", "pager", "--site", site)
    assert result.status == 0
    path = site / "alerts/sinks/pager.py"
    assert result.out.strip() == str(path)
    check_result = run_command("check", "--site", site, "--json")
    assert not [row for row in check_result.rows if "pager" in row["file"]]
    second = run_command("new", "sink", "pager", "--site", site)
    assert second.status == 2 and "is there already" in second.err


@pytest.mark.parametrize("name", ["Pager", "../pager", "a b", "", "9lives"])
def test_invalid_sink_name_is_rejected(site: Path, name: str) -> None:
    result = run_command("new", "sink", name, "--site", site)
    assert result.status == 2 and "cannot be the name of a sink" in result.err
