"""`assign`, `silence`, `handover`, `dead-letters`, `alarms report`, `routes test`, `audit`."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.calling import Answer, call
from tests.small_site import WIND, ThreadedEngine, engine_in_thread, write_site

ROUTES = """
sinks:
  console: {}
  ana-phone: {console: {}}
  broken: {refusing: {}}
people: {ana: [ana-phone], bo: [console]}
noise: {flood: off, flapping: off}
route:
  to: [console]
  routes:
    - match: {rule: wind, severity: ">= serious"}
      to: [on-shift]
      escalate: {after: 5m, to: [console]}
    - match: {rule: doomed}
      to: [broken]
"""
REFUSING = '''
"""A sink that takes nothing until a file says so."""

from pathlib import Path

from catcher.ports import SinkError


async def deliver(notice, message, settings):
    if not Path(__file__).with_name("open").exists():
        raise SinkError("not_in_channel", final=True)
'''
DOOMED = WIND.replace("rule: wind", "rule: doomed").replace("telemetry: wind", "telemetry: doom")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    top = tmp_path_factory.mktemp("desk")
    site = write_site(top / "site", f"{WIND}---{DOOMED}", routes=ROUTES)
    (site / "alerts" / "sinks").mkdir()
    (site / "alerts" / "sinks" / "refusing.py").write_text(REFUSING)
    with engine_in_thread(site, top / "data") as running:
        yield running


def on(engine: ThreadedEngine, *arguments: str) -> Answer:
    return call(*arguments, "--site", engine.site, "--data", engine.data)


def the_alert(engine: ThreadedEngine, mast: str, speed: float = 12) -> str:
    engine.post("wind", speed=speed, mast=mast)
    (found,) = [one for one in on(engine, "alerts", "--json").rows if one["key"] == mast]
    return str(found["id"])


def test_an_alert_is_assigned_and_noted(engine: ThreadedEngine) -> None:
    alert = the_alert(engine, "assigned")
    done = on(engine, "assign", alert, "--to", "bo", "--who", "ana")
    assert (done.status, done.out) == (0, "wind assigned is bo's\n")
    link = "elog=https://elog.example/17"
    noted = on(engine, "note", alert, "iced", "--link", link, "--who", "ana", "--json").row
    assert noted["links"]["elog"] == "https://elog.example/17"
    assert [(one["who"], one["text"]) for one in noted["notes"]] == [("ana", "iced")]
    refused = on(engine, "note", alert, "look", "--link", "javascript:alert(1)")
    assert refused.status == 2 and "is no address" in refused.err


def test_a_silence_is_made_listed_and_ended(engine: ThreadedEngine) -> None:
    made = on(engine, "silence", "wind hushed*", "--reason", "iced", "--for", "2h", "--who", "ana")
    assert made.status == 0 and "nobody hears of wind hushed* up to SERIOUS" in made.out
    end = r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ; none of what is open fits$"
    assert re.search(end, made.out.rstrip()), made.out
    id = made.out.split(":")[0]
    assert "idle" in on(engine, "silences").out
    the_alert(engine, "hushed")
    (row,) = on(engine, "silences", "--json").rows
    assert (row["id"], row["who"], row["held_back"], row["idle"]) == (id, "ana", 1, False)
    (held,) = [one for one in on(engine, "alerts", "--json").rows if one["key"] == "hushed"]
    assert held["held_back"].startswith(f"silence {id} of ana")
    over = on(engine, "unsilence", id, "--who", "bo")
    assert over.out == f"{id} is over: it held back 1 alerts\n"
    assert on(engine, "silences", "--json").rows == []
    covers = on(engine, "silence", "wind hushed*", "--reason", "again", "--who", "ana")
    assert covers.out.endswith("; 1 of what is open fits\n")
    assert "1 open then" in on(engine, "silences").out
    on(engine, "unsilence", covers.out.split(":")[0], "--who", "ana")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("silence", "wind"), "--reason"),
        (("silence", "wind", "--reason", "r", "--for", "60d"), "cannot end at"),
        (("silence", "wind", "--reason", "r", "--severity", "loud"), "'loud' is no severity"),
        (("silence", "wind", "--reason", "r", "--label", "x"), "'x' is no label"),
        (("unsilence", "s0"), "no silence in force is called 's0'"),
        (("assign", "nothing", "--to", "bo"), "no alert is called 'nothing'"),
        (("confirm", "nothing"), "no alert is called 'nothing'"),
        (("handover", "--to", "eve"), "'eve' is not among the people"),
        (("dead-letters", "--resend", "beef"), "no dead letter is called 'beef'"),
        (("dead-letters", "--show", "beef"), "no dead letter is called 'beef'"),
        (("alarms", "report", "--since", "1h", "--until", "2020-01-01"), "ends before it begins"),
        (("routes", "test", "--rule", "wimd"), "wimd"),
        (("routes", "test", "--rule", "wind", "--severity", "loud"), "'loud' is no severity"),
        (("audit", "--since", "yesterday"), "'yesterday' is no time"),
    ],
)
def test_what_cannot_be_done_says_why(
    engine: ThreadedEngine, arguments: tuple[str, ...], words: str
) -> None:
    folder = ("--site", engine.site)
    data = () if arguments[0] == "routes" else ("--data", engine.data)
    found = call(*arguments, *folder, *data)
    assert found.status == 2
    assert words in " ".join(found.err.replace("│", " ").split())


def test_the_shift_is_handed_over_with_a_summary(engine: ThreadedEngine, tmp_path: Path) -> None:
    shelf = the_alert(engine, "shelved")
    on(engine, "shelve", shelf, "--reason", "fix on Monday", "--who", "ana", "--for", "5h")
    done = on(engine, "handover", "--to", "bo", "--note", "quiet", "--who", "ana")
    assert done.status == 0 and done.out.startswith("bo is on shift since ")
    assert on(engine, "handover").out == done.out
    rows = {row["id"]: row for row in on(engine, "alerts", "--json").rows}
    assert {row["assignee"] for row in rows.values()} == {"bo"}
    text = on(engine, "handover", "--since", "12h").out
    assert "unless confirmed" in text and "fix on Monday" in text and "on shift: bo" in text
    assert on(engine, "confirm", shelf, "--who", "bo").out == f"{shelf} is bo's now\n"
    assert "unless confirmed" not in on(engine, "handover", "--since", "12h").out
    page = tmp_path / "shift.html"
    assert on(engine, "handover", "--since", "12h", "--output", str(page)).status == 0
    assert page.read_text().startswith("<!doctype html>")


def test_a_dead_letter_is_listed_shown_and_sent_again(engine: ThreadedEngine) -> None:
    engine.post("doom", speed=12, mast="m")
    (row,) = engine.until(lambda: on(engine, "dead-letters", "--json").rows, "a dead letter")
    assert (row["sink"], row["change"], row["name"]) == ("broken", "opened", "doomed m")
    assert "not_in_channel" in row["error"]
    assert "not_in_channel" in on(engine, "dead-letters").out
    assert on(engine, "dead-letters", "--show", row["id"][:6]).row == row
    doctor = {one["what"]: one for one in on(engine, "doctor", "--json").rows}["custom broken"]
    assert "away: turned down for good: not_in_channel" in doctor["found"]
    assert "`catcher dead-letters --all` sends again" in doctor["hint"]
    (engine.site / "alerts" / "sinks" / "open").touch()
    again = on(engine, "dead-letters", "--resend", row["id"][:6], "--who", "ana")
    assert (again.status, again.out) == (0, "1 on their way again\n")

    def delivered() -> bool:
        health = {one["name"]: one for one in engine.get("/health")}
        return bool(health["broken"]["counts"]["delivered"] == 1)

    engine.until(delivered, "the letter delivered")
    assert on(engine, "dead-letters", "--json").rows == []
    assert on(engine, "dead-letters", "--all").out == "0 on their way again\n"


def test_the_figures_are_reported_and_drawn(engine: ThreadedEngine, tmp_path: Path) -> None:
    for mast in ("f1", "f2", "f3"):
        the_alert(engine, mast)
    picture = tmp_path / "figures.png"
    found = on(engine, "alarms", "report", "--since", "2h", "--plot", str(picture))
    assert found.status == 0
    assert "new alerts" in found.out and "in flood" in found.out and "wind" in found.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    row = on(engine, "alarms", "report", "--rule", "wind", "--json").row
    assert row["alerts"] >= 3 and row["rules"][0]["rule"] == "wind"
    assert sum(row["buckets"]) == row["alerts"]
    quiet = on(engine, "alarms", "report", "--since", "2020-01-01", "--until", "2020-01-02")
    assert "new alerts       0" in quiet.out and not quiet.out.rstrip().endswith("none\n\nnone")
    served = engine.get("/alarms/figures?since=24h")
    assert served["alerts"] >= row["alerts"]
    refused = on(engine, "alarms", "report", "--plot", str(tmp_path / "x.doc"))
    assert refused.status == 2 and "is no picture" in refused.err


def test_which_way_an_alert_would_go(engine: ThreadedEngine) -> None:
    said = call(
        "routes", "test", "--rule", "wind", "--severity", "serious", "--on-shift", "ana",
        "--at", "2025-04-24T03:00Z", "--site", engine.site,
    )  # fmt: skip
    assert said.status == 0
    assert "route.1 [rule wind, severity >= serious] to on-shift: yes" in said.out
    assert "route.1: to on-shift; if nobody takes it in 5m to console" in said.out
    assert "goes to ana-phone" in said.out
    row = call("routes", "test", "--rule", "wind", "--json", "--site", engine.site).row
    assert (row["sinks"], row["silenced"]) == (["console"], "")
    assert any("no (severity does not fit)" in line for line in row["routes"])


def test_a_way_that_broken_routes_would_not_go_says_so(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND)
    (site / "alerts").mkdir(exist_ok=True)
    (site / "alerts" / "routes.yaml").write_text("route: {to: [console, love]}\n")
    said = call("routes", "test", "--rule", "wind", "--site", site)
    assert "MISCONFIGURED, left out: alerts/routes.yaml:1:" in said.err
    assert "there is no sink 'love'" in said.err


def test_the_audit_trail_is_shown_and_exported(engine: ThreadedEngine) -> None:
    alert = the_alert(engine, "=cmd()")
    on(engine, "ack", alert, "--who", "=HYPERLINK(1)", "--note", "seen")
    rows = on(engine, "audit", "--subject", alert, "--json").rows
    assert [(one["what"], one["channel"]) for one in rows] == [
        ("acknowledged", "cli"), ("opened", "engine"),
    ]  # fmt: skip
    lines = list(csv.reader(io.StringIO(on(engine, "audit", "--subject", alert, "--csv").out)))
    assert lines[0] == ["time", "who", "channel", "what", "subject", "detail"]
    assert lines[1][1] == "'=HYPERLINK(1)", "no formula in a spreadsheet"
    assert json.loads(lines[1][5])["note"] == "seen"
    assert "acknowledged" in on(engine, "audit").out
    nothing = on(engine, "ack", "no-such", "--who", "ana")
    assert nothing.status == 2
    (refusal,) = on(engine, "audit", "--subject", "no-such", "--json").rows
    assert refusal["detail"]["refused"] and refusal["who"] == "ana"


def test_the_desk_can_be_looked_at_while_no_engine_runs(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", DOOMED, routes=ROUTES)
    (site / "alerts" / "sinks").mkdir()
    (site / "alerts" / "sinks" / "refusing.py").write_text(REFUSING)
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post("doom", speed=12, mast="a")
        engine.until(lambda: on(engine, "dead-letters", "--json").rows, "a dead letter")
        on(engine, "silence", "wind x", "--reason", "iced", "--who", "ana")
        on(engine, "handover", "--to", "bo", "--who", "ana")
        asked = (("dead-letters",), ("silences",), ("handover",), ("dead-letters", "--sink", "x"))
        running = [on(engine, *words, "--json").out for words in asked]
    assert [on(engine, *words, "--json").out for words in asked] == running
    # So it is where an engine was killed and has left its address.
    (tmp_path / "data" / "engine.json").write_text('{"url": "http://127.0.0.1:1"}')
    assert [on(engine, *words, "--json").out for words in asked] == running
    assert "not_in_channel" in on(engine, "dead-letters").out
    refused = on(engine, "dead-letters", "--all")
    assert refused.status == 2 and "catcher run" in refused.err


def test_the_doctor_says_what_becomes_of_broken_routes(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND, routes="route: {to: [console]}\n")

    def found() -> str:
        rows = call("doctor", "--json", "--site", site, "--data", tmp_path / "data").rows
        return next(row["found"] for row in rows if row["what"] == "settings")

    with engine_in_thread(site, tmp_path / "data"):
        (site / "alerts" / "routes.yaml").write_text("route: {to: [console, love]}\n")
        assert found().endswith("(the engine goes on as it was)")
    assert found().endswith("(a start leaves this part out)")
    (site / "alerts" / "routes.yaml").unlink()
    (site / "catcher.yaml").write_text("sit: small\n")
    assert found().endswith("(`catcher run` does not start so)")


def test_the_desk_is_as_it_was_after_a_restart(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND, routes=ROUTES.replace("refusing", "console"))
    with engine_in_thread(site, tmp_path / "data") as engine:
        alert = the_alert(engine, "m")
        on(engine, "shelve", alert, "--reason", "known", "--who", "ana")
        on(engine, "silence", "wind x", "--reason", "iced", "--who", "ana")
        on(engine, "note", alert, "seen", "--who", "ana")
        on(engine, "handover", "--to", "bo", "--who", "ana")
    with engine_in_thread(site, tmp_path / "data") as engine:
        (silence,) = on(engine, "silences", "--json").rows
        assert (silence["who"], silence["confirm_by"] is not None) == ("ana", True)
        assert on(engine, "handover", "--json").row["who"] == "bo"
        (row,) = on(engine, "alerts", "--json").rows
        assert (row["state"], row["assignee"], row["notes"][0]["text"]) == ("shelved", "bo", "seen")
        assert on(engine, "confirm", alert, "--who", "bo").status == 0
        assert on(engine, "confirm", silence["id"], "--who", "bo").status == 0
        assert on(engine, "silences", "--json").rows[0]["confirm_by"] is None


LOOKING = """
import sys
from catcher.cli import main
try:
    main(["alerts", "--json", "--site", sys.argv[1], "--data", sys.argv[2]])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"aiohttp", "aiomqtt", "apprise", "fastapi", "matplotlib", "slack_sdk", "websockets"}
print(sorted(heavy & set(sys.modules)))
"""


def test_whoever_looks_waits_for_no_client_library_of_a_sink(tmp_path: Path) -> None:
    routes = """
sinks:
  console: {}
  tma: {slack: {channel: "#tma", token: "${SLACK}"}}
  love: {love: {url: "ws://love.example/", password: "${LOVE}"}}
  mail: {apprise: {urls: ["${MAIL}"]}}
route: {to: [console]}
"""
    site, data = write_site(tmp_path / "site", WIND), tmp_path / "data"
    with engine_in_thread(site, data) as engine:
        the_alert(engine, "m")
    write_site(site, WIND, routes=routes)
    command = [sys.executable, "-c", LOOKING, str(site), str(data)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '"key": "m"' in said
    assert said.rstrip().endswith("[]")
