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

from tests.cli.command_runner import CommandResult, run_command
from tests.sample_site import WIND, ThreadedEngine, engine_in_thread, write_site

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
REFUSING_SINK = '''
"""A sink that takes nothing until a file says so."""

from pathlib import Path

from catcher.ports import SinkError


async def deliver(notice, message, settings):
    if not Path(__file__).with_name("open").exists():
        raise SinkError("not_in_channel", final=True)
'''
DOOMED_RULE = WIND.replace("rule: wind", "rule: doomed").replace(
    "telemetry: wind", "telemetry: doom"
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("desk")
    site = write_site(folder / "site", f"{WIND}---{DOOMED_RULE}", routes=ROUTES)
    (site / "alerts" / "sinks").mkdir()
    (site / "alerts" / "sinks" / "refusing.py").write_text(REFUSING_SINK)
    with engine_in_thread(site, folder / "data") as running:
        yield running


def run_on_engine(engine: ThreadedEngine, *arguments: str) -> CommandResult:
    return run_command(*arguments, "--site", engine.site, "--data", engine.data)


def raise_alert(engine: ThreadedEngine, mast: str, speed: float = 12) -> str:
    engine.post_event("wind", speed=speed, mast=mast)
    (alert,) = [row for row in run_on_engine(engine, "alerts", "--json").rows if row["key"] == mast]
    return str(alert["id"])


def test_alert_is_assigned_and_commented(engine: ThreadedEngine) -> None:
    alert = raise_alert(engine, "assigned")
    result = run_on_engine(engine, "assign", alert, "--to", "bo", "--who", "ana")
    assert (result.status, result.out) == (0, "wind assigned is bo's\n")
    link = "elog=https://elog.example/17"
    commented = run_on_engine(
        engine, "note", alert, "iced", "--link", link, "--who", "ana", "--json"
    ).row
    assert commented["links"]["elog"] == "https://elog.example/17"
    assert [(comment["who"], comment["text"]) for comment in commented["notes"]] == [
        ("ana", "iced")
    ]
    refused = run_on_engine(engine, "note", alert, "look", "--link", "javascript:alert(1)")
    assert refused.status == 2 and "is no address" in refused.err


def test_silence_is_created_listed_and_removed(engine: ThreadedEngine) -> None:
    created = run_on_engine(
        engine, "silence", "wind hushed*", "--reason", "iced", "--for", "2h", "--who", "ana"
    )
    assert created.status == 0 and "nobody hears of wind hushed* up to SERIOUS" in created.out
    end = r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ; none of what is open fits$"
    assert re.search(end, created.out.rstrip()), created.out
    id = created.out.split(":")[0]
    assert "idle" in run_on_engine(engine, "silences").out
    raise_alert(engine, "hushed")
    (row,) = run_on_engine(engine, "silences", "--json").rows
    assert (row["id"], row["who"], row["held_back"], row["idle"]) == (id, "ana", 1, False)
    (suppressed,) = [
        row for row in run_on_engine(engine, "alerts", "--json").rows if row["key"] == "hushed"
    ]
    assert suppressed["held_back"].startswith(f"silence {id} of ana")
    removed = run_on_engine(engine, "unsilence", id, "--who", "bo")
    assert removed.out == f"{id} is over: it held back 1 alerts\n"
    assert run_on_engine(engine, "silences", "--json").rows == []
    matching = run_on_engine(engine, "silence", "wind hushed*", "--reason", "again", "--who", "ana")
    assert matching.out.endswith("; 1 of what is open fits\n")
    assert "1 open then" in run_on_engine(engine, "silences").out
    run_on_engine(engine, "unsilence", matching.out.split(":")[0], "--who", "ana")


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_failed_command_gives_the_reason(
    engine: ThreadedEngine, arguments: tuple[str, ...], message: str
) -> None:
    folder = ("--site", engine.site)
    data = () if arguments[0] == "routes" else ("--data", engine.data)
    result = run_command(*arguments, *folder, *data)
    assert result.status == 2
    assert message in " ".join(result.err.replace("│", " ").split())


def test_shift_handover_has_a_summary(engine: ThreadedEngine, tmp_path: Path) -> None:
    alert_id = raise_alert(engine, "shelved")
    run_on_engine(
        engine, "shelve", alert_id, "--reason", "fix on Monday", "--who", "ana", "--for", "5h"
    )
    result = run_on_engine(engine, "handover", "--to", "bo", "--note", "quiet", "--who", "ana")
    assert result.status == 0 and result.out.startswith("bo is on shift since ")
    assert run_on_engine(engine, "handover").out == result.out
    rows = {row["id"]: row for row in run_on_engine(engine, "alerts", "--json").rows}
    assert {row["assignee"] for row in rows.values()} == {"bo"}
    text = run_on_engine(engine, "handover", "--since", "12h").out
    assert "unless confirmed" in text and "fix on Monday" in text and "on shift: bo" in text
    assert (
        run_on_engine(engine, "confirm", alert_id, "--who", "bo").out == f"{alert_id} is bo's now\n"
    )
    assert "unless confirmed" not in run_on_engine(engine, "handover", "--since", "12h").out
    page = tmp_path / "shift.html"
    assert run_on_engine(engine, "handover", "--since", "12h", "--output", str(page)).status == 0
    assert page.read_text().startswith("<!doctype html>")


def test_dead_letter_is_listed_shown_and_resent(engine: ThreadedEngine) -> None:
    engine.post_event("doom", speed=12, mast="m")
    (row,) = engine.wait_until(
        lambda: run_on_engine(engine, "dead-letters", "--json").rows, "a dead letter"
    )
    assert (row["sink"], row["change"], row["name"]) == ("broken", "opened", "doomed m")
    assert "not_in_channel" in row["error"]
    assert "not_in_channel" in run_on_engine(engine, "dead-letters").out
    assert run_on_engine(engine, "dead-letters", "--show", row["id"][:6]).row == row
    doctor = {check["what"]: check for check in run_on_engine(engine, "doctor", "--json").rows}[
        "custom broken"
    ]
    assert "away: turned down for good: not_in_channel" in doctor["found"]
    assert "`catcher dead-letters --all` sends again" in doctor["hint"]
    (engine.site / "alerts" / "sinks" / "open").touch()
    resent = run_on_engine(engine, "dead-letters", "--resend", row["id"][:6], "--who", "ana")
    assert (resent.status, resent.out) == (0, "1 on their way again\n")

    def is_delivered() -> bool:
        health = {row["name"]: row for row in engine.get("/health")}
        return bool(health["broken"]["counts"]["delivered"] == 1)

    engine.wait_until(is_delivered, "the letter delivered")
    assert run_on_engine(engine, "dead-letters", "--json").rows == []
    assert run_on_engine(engine, "dead-letters", "--all").out == "0 on their way again\n"


def test_alert_statistics_are_reported_and_plotted(engine: ThreadedEngine, tmp_path: Path) -> None:
    for mast in ("f1", "f2", "f3"):
        raise_alert(engine, mast)
    plot = tmp_path / "figures.png"
    result = run_on_engine(engine, "alarms", "report", "--since", "2h", "--plot", str(plot))
    assert result.status == 0
    assert "new alerts" in result.out and "in flood" in result.out and "wind" in result.out
    assert plot.read_bytes().startswith(b"\x89PNG")
    row = run_on_engine(engine, "alarms", "report", "--rule", "wind", "--json").row
    assert row["alerts"] >= 3 and row["rules"][0]["rule"] == "wind"
    assert sum(row["buckets"]) == row["alerts"]
    empty_report = run_on_engine(
        engine, "alarms", "report", "--since", "2020-01-01", "--until", "2020-01-02"
    )
    assert "new alerts       0" in empty_report.out and not empty_report.out.rstrip().endswith(
        "none\n\nnone"
    )
    statistics = engine.get("/alarms/figures?since=24h")
    assert statistics["alerts"] >= row["alerts"]
    refused = run_on_engine(engine, "alarms", "report", "--plot", str(tmp_path / "x.doc"))
    assert refused.status == 2 and "is no picture" in refused.err


def test_route_of_an_alert_is_shown(engine: ThreadedEngine) -> None:
    result = run_command(
        "routes", "test", "--rule", "wind", "--severity", "serious", "--on-shift", "ana",
        "--at", "2025-04-24T03:00Z", "--site", engine.site,
    )  # fmt: skip
    assert result.status == 0
    assert "route.1 [rule wind, severity >= serious] to on-shift: yes" in result.out
    assert "route.1: to on-shift; if nobody takes it in 5m to console" in result.out
    assert "goes to ana-phone" in result.out
    row = run_command("routes", "test", "--rule", "wind", "--json", "--site", engine.site).row
    assert (row["sinks"], row["silenced"]) == (["console"], "")
    assert any("no (severity does not fit)" in line for line in row["routes"])


def test_broken_routes_are_reported(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND)
    (site / "alerts").mkdir(exist_ok=True)
    (site / "alerts" / "routes.yaml").write_text("route: {to: [console, love]}\n")
    result = run_command("routes", "test", "--rule", "wind", "--site", site)
    assert "MISCONFIGURED, left out: alerts/routes.yaml:1:" in result.err
    assert "there is no sink 'love'" in result.err


def test_the_audit_trail_is_shown_and_exported(engine: ThreadedEngine) -> None:
    alert = raise_alert(engine, "=cmd()")
    run_on_engine(engine, "ack", alert, "--who", "=HYPERLINK(1)", "--note", "seen")
    rows = run_on_engine(engine, "audit", "--subject", alert, "--json").rows
    assert [(entry["what"], entry["channel"]) for entry in rows] == [
        ("acknowledged", "cli"), ("opened", "engine"),
    ]  # fmt: skip
    lines = list(
        csv.reader(io.StringIO(run_on_engine(engine, "audit", "--subject", alert, "--csv").out))
    )
    assert lines[0] == ["time", "who", "channel", "what", "subject", "detail"]
    assert lines[1][1] == "'=HYPERLINK(1)", "no formula in a spreadsheet"
    assert json.loads(lines[1][5])["note"] == "seen"
    assert "acknowledged" in run_on_engine(engine, "audit").out
    failed = run_on_engine(engine, "ack", "no-such", "--who", "ana")
    assert failed.status == 2
    (refusal,) = run_on_engine(engine, "audit", "--subject", "no-such", "--json").rows
    assert refusal["detail"]["refused"] and refusal["who"] == "ana"


def test_alert_operations_are_readable_without_an_engine(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", DOOMED_RULE, routes=ROUTES)
    (site / "alerts" / "sinks").mkdir()
    (site / "alerts" / "sinks" / "refusing.py").write_text(REFUSING_SINK)
    with engine_in_thread(site, tmp_path / "data") as engine:
        engine.post_event("doom", speed=12, mast="a")
        engine.wait_until(
            lambda: run_on_engine(engine, "dead-letters", "--json").rows, "a dead letter"
        )
        run_on_engine(engine, "silence", "wind x", "--reason", "iced", "--who", "ana")
        run_on_engine(engine, "handover", "--to", "bo", "--who", "ana")
        commands = (
            ("dead-letters",),
            ("silences",),
            ("handover",),
            ("dead-letters", "--sink", "x"),
        )
        expected = [run_on_engine(engine, *command, "--json").out for command in commands]
    assert [run_on_engine(engine, *command, "--json").out for command in commands] == expected
    # So it is where an engine was killed and has left its address.
    (tmp_path / "data" / "engine.json").write_text('{"url": "http://127.0.0.1:1"}')
    assert [run_on_engine(engine, *command, "--json").out for command in commands] == expected
    assert "not_in_channel" in run_on_engine(engine, "dead-letters").out
    refused = run_on_engine(engine, "dead-letters", "--all")
    assert refused.status == 2 and "catcher run" in refused.err


def test_doctor_explains_broken_routes(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND, routes="route: {to: [console]}\n")

    def find_settings_problem() -> str:
        rows = run_command("doctor", "--json", "--site", site, "--data", tmp_path / "data").rows
        return next(row["found"] for row in rows if row["what"] == "settings")

    with engine_in_thread(site, tmp_path / "data"):
        (site / "alerts" / "routes.yaml").write_text("route: {to: [console, love]}\n")
        assert find_settings_problem().endswith("(the engine goes on as it was)")
    assert find_settings_problem().endswith("(a start leaves this part out)")
    (site / "alerts" / "routes.yaml").unlink()
    (site / "catcher.yaml").write_text("sit: small\n")
    assert find_settings_problem().endswith("(`catcher run` does not start so)")


def test_alert_operations_are_restored_after_a_restart(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND, routes=ROUTES.replace("refusing", "console"))
    with engine_in_thread(site, tmp_path / "data") as engine:
        alert = raise_alert(engine, "m")
        run_on_engine(engine, "shelve", alert, "--reason", "known", "--who", "ana")
        run_on_engine(engine, "silence", "wind x", "--reason", "iced", "--who", "ana")
        run_on_engine(engine, "note", alert, "seen", "--who", "ana")
        run_on_engine(engine, "handover", "--to", "bo", "--who", "ana")
    with engine_in_thread(site, tmp_path / "data") as engine:
        (silence,) = run_on_engine(engine, "silences", "--json").rows
        assert (silence["who"], silence["confirm_by"] is not None) == ("ana", True)
        assert run_on_engine(engine, "handover", "--json").row["who"] == "bo"
        (row,) = run_on_engine(engine, "alerts", "--json").rows
        assert (row["state"], row["assignee"], row["notes"][0]["text"]) == ("shelved", "bo", "seen")
        assert run_on_engine(engine, "confirm", alert, "--who", "bo").status == 0
        assert run_on_engine(engine, "confirm", silence["id"], "--who", "bo").status == 0
        assert run_on_engine(engine, "silences", "--json").rows[0]["confirm_by"] is None


LIST_ALERTS_SCRIPT = """
import sys
from catcher.cli import main
try:
    main(["alerts", "--json", "--site", sys.argv[1], "--data", sys.argv[2]])
except SystemExit as end:
    assert not end.code, end.code
heavy = {"aiohttp", "aiomqtt", "apprise", "fastapi", "matplotlib", "slack_sdk", "websockets"}
print(sorted(heavy & set(sys.modules)))
"""


def test_reading_alerts_imports_no_client_library_of_a_sink(tmp_path: Path) -> None:
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
        raise_alert(engine, "m")
    write_site(site, WIND, routes=routes)
    command = [sys.executable, "-c", LIST_ALERTS_SCRIPT, str(site), str(data)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert '"key": "m"' in output
    assert output.rstrip().endswith("[]")
