"""`preview`, `new sink` and `doctor --send-test`: how alerts look, before any is real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import call
from tests.small_site import write_site

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
    made = write_site(tmp_path / "site", RULES, routes=routes)
    (made / "alerts/sinks").mkdir()
    (made / "alerts/sinks/journal.py").write_text(SHIPPED.read_text())
    return made


def shown(site: Path, *more: str) -> dict[str, dict[str, Any]]:
    answer = call("preview", "wind", "--site", site, "--json", *more)
    assert answer.status == 0, answer.err
    return {row["sink"]: row for row in answer.rows}


# -- preview -----------------------------------------------------------------------------------


def test_the_lowest_severity_goes_its_way(site: Path) -> None:
    assert list(shown(site)) == ["console"]


def test_each_sink_on_the_way_shows_the_message_in_its_form(site: Path) -> None:
    event = json.dumps({"speed": 21.44, "mast": 3, "gust": 31})
    rows = shown(site, "--severity", "serious", "--event", event)
    words = "Wind 21.4 at 3, gusts"
    assert list(rows) == ["console", "tma", "love", "broker", "log", "mail", "own", "broken"]
    assert rows["console"]["text"].startswith(f"SERIOUS wind 3: {words} | value speed > 20")
    assert "[ Acknowledge ] [ Shelve 30 m ] [ Open ]" in rows["tma"]["text"]
    assert rows["tma"]["sent"]["blocks"][0]["text"]["text"] == "🟠 SERIOUS wind 3"
    assert rows["love"]["text"].startswith("SERIOUS  catcher.wind.3\n" + words)
    assert rows["broker"]["sent"]["severity_name"] == "SERIOUS"
    assert rows["log"]["sent"] == {"text": "SERIOUS wind 3", "who": None}
    assert rows["mail"]["sent"][0]["format"] == "html" and words in rows["mail"]["sent"][0]["body"]
    assert words in rows["own"]["text"]
    assert "its template failed: 'nothing' is undefined" in rows["broken"]["problem"]
    assert "whisper" not in json.dumps(rows)


def test_names_that_no_event_gives_stand_for_themselves(site: Path) -> None:
    assert shown(site)["console"]["text"].startswith("WARNING wind ‹mast›: Wind 12.3 at ‹mast›")


def test_an_event_of_a_recording_will_do(site: Path) -> None:
    row = json.dumps({"topic": "wind", "time": "2025-04-24T00:00:00Z", "fields": {"speed": 9.96}})
    assert "Wind 10.0 at" in shown(site, "--event", row)["console"]["text"]


def test_people_see_a_panel_for_each_sink(site: Path) -> None:
    answer = call("preview", "wind", "--site", site, "--severity", "serious")
    assert answer.status == 0
    assert "tma (slack)" in answer.out and "love (love)" in answer.out
    assert "whisper" not in answer.out


@pytest.mark.parametrize(
    ("arguments", "says"),
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
def test_what_cannot_be_shown_says_why(site: Path, arguments: tuple[str, ...], says: str) -> None:
    answer = call("preview", *arguments, "--site", site)
    assert answer.status == 2
    assert says in answer.err


def test_what_an_event_says_is_text(site: Path) -> None:
    nasty = "<!here> {{ 7*7 }} \x1b[31m\u202e[red]" + "x" * 100_000
    event = json.dumps({"speed": 21, "mast": nasty, "gust": 1})
    answer = call("preview", "wind", "--site", site, "--severity", "serious", "--event", event)
    assert answer.status == 0
    assert "{{ 7*7 }}" in answer.out and "[red]" in answer.out
    assert "\x1b" not in answer.out and "\u202e" not in answer.out and len(answer.out) < 60_000


# -- a test through a real sink ----------------------------------------------------------------


def test_a_marked_test_goes_through_the_real_sink(site: Path, tmp_path: Path) -> None:
    answer = call("doctor", "--send-test", "own", "--site", site, "--json")
    assert answer.status == 0, answer.out
    assert answer.rows[0]["found"] == "the test was taken"
    said = (tmp_path / "journal.txt").read_text().splitlines()
    assert len(said) == 2, "the test, and its end"
    assert all("TEST catcher-test own: This is a test" in line for line in said)


def test_a_test_that_fails_says_why_and_no_secret(site: Path, tmp_path: Path) -> None:
    (site / "alerts/sinks/journal.py").write_text(
        "from catcher.ports import SinkError\n"
        "def deliver(notice, message, settings):\n"
        "    raise SinkError('whisper-1234 is no key', final=True)\n"
    )
    answer = call("doctor", "--send-test", "own", "--site", site, "--json")
    assert answer.status == 1
    (row,) = answer.rows
    assert row["state"] == "error"
    assert row["found"] == "the test did not arrive: *** is no key"


def test_a_sink_that_is_not_there_is_named(site: Path) -> None:
    answer = call("doctor", "--send-test", "onw", "--site", site)
    assert answer.status == 2
    assert "the site has no sink 'onw'" in answer.err and "own" in answer.err


# -- a sink of one's own -----------------------------------------------------------------------


def test_a_new_sink_is_right_from_the_start(site: Path) -> None:
    answer = call("new", "sink", "pager", "--site", site)
    assert answer.status == 0
    path = site / "alerts/sinks/pager.py"
    assert answer.out.strip() == str(path)
    checked = call("check", "--site", site, "--json")
    assert not [row for row in checked.rows if "pager" in row["file"]]
    again = call("new", "sink", "pager", "--site", site)
    assert again.status == 2 and "is there already" in again.err


@pytest.mark.parametrize("name", ["Pager", "../pager", "a b", "", "9lives"])
def test_a_name_that_is_none_is_refused(site: Path, name: str) -> None:
    answer = call("new", "sink", name, "--site", site)
    assert answer.status == 2 and "cannot be the name of a sink" in answer.err
