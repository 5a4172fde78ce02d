"""`runs`, `show`, `alerts`, `query`, `explain`, `fire`, `ack` and the like, and `doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_runner import CommandResult, run_command
from tests.sample_site import DOUBLING, WIND, ThreadedEngine, engine_in_thread, write_site

READERS = (
    ("runs",),
    ("alerts",),
    ("show", "abc"),
    ("query", "metrics"),
    ("query", "artifacts"),
    ("query", "audit"),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("cli")
    site = write_site(folder / "site", f"{WIND}---{DOUBLING}")
    with engine_in_thread(site, folder / "data") as running:
        running.post_event("number", value=21, lane="a")
        running.wait_for_run(key="a")
        running.post_event("number", value=13, lane="unlucky")
        running.wait_for_run(key="unlucky")
        yield running


def run_on_engine(engine: ThreadedEngine, *arguments: str) -> CommandResult:
    """A command on an engine's folder."""
    return run_command(*arguments, "--site", engine.site, "--data", engine.data)


def raise_alert(engine: ThreadedEngine, mast: str, speed: float = 12) -> str:
    """Raises an alert and returns its id."""
    engine.post_event("wind", speed=speed, mast=mast)
    (alert,) = [row for row in run_on_engine(engine, "alerts", "--json").rows if row["key"] == mast]
    return str(alert["id"])


# -- looking things up --------------------------------------------------------------------------


def test_runs_are_listed_newest_first(engine: ThreadedEngine) -> None:
    rows = run_on_engine(engine, "runs", "--rule", "doubling", "--json").rows
    assert [(row["key"], row["state"]) for row in rows[-2:]] == [
        ("unlucky", "failed"),
        ("a", "done"),
    ]
    assert rows[-1]["metrics"] == {"doubled": 42.0}
    assert len(run_on_engine(engine, "runs", "--limit", "1", "--json").rows) == 1
    assert [
        row["key"] for row in run_on_engine(engine, "runs", "--state", "failed", "--json").rows
    ] == ["unlucky"]


def test_runs_table_shows_outputs_and_errors(engine: ThreadedEngine) -> None:
    result = run_on_engine(engine, "runs")
    assert result.status == 0
    assert result.out.split()[:5] == ["id", "fired", "rule", "state", "made"]
    assert "doubled 42 words.txt" in result.out
    assert "ValueError: thirteen brings no luck" in result.out


def test_since_takes_a_time_or_how_long_ago(engine: ThreadedEngine) -> None:
    assert len(run_on_engine(engine, "runs", "--since", "1h", "--json").rows) >= 2
    assert run_on_engine(engine, "runs", "--since", "2200-01-01", "--json").rows == []
    result = run_on_engine(engine, "runs", "--since", "yesterday")
    assert result.status == 2
    assert "'yesterday' is no time" in result.err
    assert "such as 12h" in result.err


def test_run_is_shown_with_all_details(engine: ThreadedEngine) -> None:
    done, failed = (
        next(row for row in run_on_engine(engine, "runs", "--json").rows if row["key"] == key)["id"]
        for key in ("a", "unlucky")
    )
    page = run_on_engine(engine, "show", done).out
    assert page.splitlines()[0] == f"doubling a {done} done"
    assert "metric   doubled = 42 m" in page
    assert "artifact file://" in page
    assert "traceback" in run_on_engine(engine, "show", failed).out
    row = run_on_engine(engine, "show", done, "--json").row
    assert row["firing"]["event"]["fields"]["value"] == 21


def test_unknown_run_is_reported(engine: ThreadedEngine) -> None:
    result = run_on_engine(engine, "show", "abc")
    assert result.status == 2
    assert result.err == "catcher: no run 'abc' is known\n  `catcher runs` lists the latest\n"


def test_alerts_in_a_pipe_are_wide(engine: ThreadedEngine) -> None:
    mast = "a-mast-with-a-name-that-is-rather-long-" * 3
    alert = raise_alert(engine, mast)
    (line,) = [text for text in run_on_engine(engine, "alerts").out.splitlines() if alert in text]
    assert f"Wind 12 at {mast}" in line
    assert "WARNING" in line


def test_resolved_alerts_are_listed_on_request(engine: ThreadedEngine) -> None:
    alert = raise_alert(engine, "over")
    engine.post_event("wind", speed=5, mast="over")
    assert alert not in run_on_engine(engine, "alerts").out
    rows = run_on_engine(engine, "alerts", "--all", "--rule", "wind", "--json").rows
    assert next(row for row in rows if row["id"] == alert)["state"] == "resolved"


def test_stored_results_are_found(engine: ThreadedEngine) -> None:
    (point,) = run_on_engine(
        engine, "query", "metrics", "doubled", "--rule", "doubling", "--json"
    ).rows
    assert (point["value"], point["unit"], point["key"]) == (42.0, "m", "a")
    (artifact,) = run_on_engine(engine, "query", "artifacts", "--json").rows
    assert artifact["name"] == "words.txt"
    firings = run_on_engine(engine, "query", "firings", "--rule", "doubling", "--json").rows
    assert {row["kind"] for row in firings} == {"firing"}
    table = run_on_engine(engine, "query", "metrics", "doubled").out.splitlines()
    assert table[0].split()[:2] == ["name", "value"]
    assert "none" in run_on_engine(engine, "query", "metrics", "nothing-such").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("query", "metrics", "--label", "band"), "'band' is no label; write name=value"),
        (("query", "weather"), "'weather' is not one of"),
        (("query", "metrics", "--limit", "0"), "greater than or equal to 1"),
        (("runs", "--limit", "many"), "as an integer"),
    ],
)
def test_invalid_query_is_rejected(
    engine: ThreadedEngine, arguments: tuple[str, ...], message: str
) -> None:
    result = run_on_engine(engine, *arguments)
    assert result.status == 2
    assert message in " ".join(result.err.replace("│", " ").split())


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_before_anything_ran_there_is_no_ledger(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    site = write_site(tmp_path / "site")
    result = run_command(*arguments, "--site", site)
    assert result.status == 2
    assert "there is no ledger" in result.err
    assert "`catcher run` makes one" in result.err


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_invalid_ledger_file_is_reported(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_text("this is no database, whatever its name says " * 100)
    result = run_command(*arguments, "--site", write_site(tmp_path / "site"), "--data", data)
    assert result.status == 2
    assert "damaged or no ledger" in result.err


# -- hands --------------------------------------------------------------------------------------


def test_rule_is_fired_manually(engine: ThreadedEngine) -> None:
    event = json.dumps({"topic": "number", "fields": {"value": 4, "lane": "hand"}})
    result = run_on_engine(engine, "fire", "doubling", "--event", event, "--who", "ana")
    assert result.status == 0
    assert result.out.startswith("fired doubling: ")
    run = engine.wait_for_run(id=result.out.split()[2].rstrip(";"))
    assert (run["metrics"], run["manual"]) == ({"doubled": 8.0}, True)
    row = run_on_engine(engine, "fire", "doubling", "--event", event, "--json").row
    assert (row["kind"], row["manual"]) == ("firing", True)
    audit = run_on_engine(engine, "query", "audit", "--json").rows
    assert ("fire", "ana") in [(entry["what"], entry["who"]) for entry in audit]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("doubeling",), "no rule 'doubeling' runs here"),
        (("doubling", "--event", "{"), "--event is no JSON"),
        (("doubling", "--event", "[1]"), "--event is no JSON object"),
        (("doubling", "--event", '{"fields": {}}'), "not of the form of a recorded stream"),
        (("doubling", "--event", '{"topic": "t", "time": "noon"}'), "'noon' is no time"),
        (("doubling", "--obs", "MC_9"), "no observation 'MC_9' is known"),
        (("doubling", "--event", '{"topic": "t"}', "--obs", "MC_9"), "say two things"),
    ],
)
def test_failed_firing_gives_the_reason(
    engine: ThreadedEngine, arguments: tuple[str, ...], message: str
) -> None:
    result = run_on_engine(engine, "fire", *arguments)
    assert result.status == 2
    assert message in result.err
    assert result.out == ""


def test_alert_is_acknowledged_commented_shelved_and_unshelved(engine: ThreadedEngine) -> None:
    alert = raise_alert(engine, "hands")
    acknowledged = run_on_engine(
        engine, "ack", alert, "--severity", "warning", "--note", "I look", "--who", "ana"
    )
    assert (acknowledged.status, acknowledged.out) == (0, "wind hands is acknowledged at WARNING\n")
    commented = run_on_engine(engine, "note", alert, "louvres closed", "--who", "ana")
    assert commented.out == "noted on wind hands, which is acknowledged at WARNING\n"
    shelved = run_on_engine(
        engine, "shelve", alert, "--for", "10m", "--reason", "known", "--who", "ana"
    )
    assert shelved.out.startswith("wind hands is shelved at WARNING until 20")
    assert (
        run_on_engine(engine, "unshelve", alert, "--json", "--who", "ana").row["shelved_until"]
        is None
    )
    entries = [
        entry
        for entry in run_on_engine(engine, "query", "audit", "--json").rows
        if entry["who"] == "ana"
    ]
    assert {"acknowledged", "note", "shelved"} <= {entry["what"] for entry in entries}


def test_alert_with_raised_severity_is_not_acknowledged_unseen(engine: ThreadedEngine) -> None:
    alert = raise_alert(engine, "worse", speed=25)
    result = run_on_engine(engine, "ack", alert, "--severity", "warning")
    assert result.status == 2
    assert "SERIOUS" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ack", "nothing"), "nothing"),
        (("ack", "nothing", "--severity", "loud"), "'loud' is no severity"),
        (("shelve", "nothing"), "--reason"),
        (("shelve", "nothing", "--reason", "r", "--for", "long"), "'long' is no duration"),
        (("explain", "nothing"), "no rule 'nothing' runs here"),
        (("explain", "wind", "--at", "noon"), "'noon' is no time"),
    ],
)
def test_failed_command_gives_the_reason(
    engine: ThreadedEngine, arguments: tuple[str, ...], message: str
) -> None:
    result = run_on_engine(engine, *arguments)
    assert result.status == 2
    assert message in result.err


@pytest.mark.parametrize(
    "arguments",
    [("fire", "wind"), ("ack", "a"), ("shelve", "a", "--reason", "r"), ("explain", "wind")],
    ids=" ".join,
)
def test_without_an_engine_commands_fail(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    site = write_site(tmp_path / "site")
    result = run_command(*arguments, "--site", site)
    assert result.status == 2
    assert f"no engine runs on {site / '.catcher'}" in result.err
    assert "start one with `catcher run`" in result.err


def test_a_rule_explains_itself(engine: ThreadedEngine) -> None:
    engine.post_event("wind", speed=3, mast="calm")
    result = run_on_engine(engine, "explain", "wind")
    assert result.status == 0
    assert "speed" in result.out
    assert run_on_engine(engine, "explain", "wind", "--json").rows[0]["rule"] == "wind"


def test_latched_alert_shows_its_max_severity_until_acknowledged(
    engine: ThreadedEngine,
) -> None:
    for speed in (25, 5):
        engine.post_event("wind", speed=speed, mast="latched")
    (line,) = (
        text for text in run_on_engine(engine, "alerts").out.splitlines() if "latched" in text
    )
    assert "SERIOUS" in line and "cleared, awaiting acknowledgement" in line
    alert = line.split()[0]
    shelved = run_on_engine(engine, "shelve", alert, "--reason", "known", "--who", "ana")
    assert " is shelved at SERIOUS until 20" in shelved.out
    (line,) = (
        text for text in run_on_engine(engine, "alerts").out.splitlines() if "latched" in text
    )
    assert "shelved, until " in line and " ana " in line
    assert run_on_engine(engine, "ack", alert, "--who", "ana").out == "wind latched is resolved\n"
    (line,) = (
        text
        for text in run_on_engine(engine, "alerts", "--all").out.splitlines()
        if "latched" in text
    )
    assert "SERIOUS" in line and "resolved" in line


HOSTILE = "\x1b[31mred\x1b[0m\u202eexe.gnp\x9b2J" + "L" * 5000


def test_external_text_cannot_control_a_terminal(engine: ThreadedEngine) -> None:
    engine.post_event("wind", speed=12, mast=HOSTILE)
    alert = next(
        row for row in run_on_engine(engine, "alerts", "--json").rows if row["key"] == HOSTILE
    )["id"]
    results = [
        run_on_engine(engine, "alerts"),
        run_on_engine(engine, "alerts", "--all"),
        run_on_engine(engine, "explain", "wind"),
        run_on_engine(engine, "shelve", alert, "--reason", "known"),
        run_on_engine(engine, "audit"),
        run_on_engine(engine, "ack", alert, "--severity", "warning"),
        run_on_engine(engine, "unshelve", alert),
        run_on_engine(engine, "unshelve", alert),
        run_on_engine(engine, "assign", alert, "--to", "bo"),
        run_on_engine(engine, "query", "alerts"),
    ]
    for result in results:
        text = result.out + result.err
        assert not set(text) & set("\x1b\x9b\u202e"), repr(text[:500])
        assert max(map(len, text.splitlines()), default=0) < 6000


# -- doctor -------------------------------------------------------------------------------------


def map_states(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["what"]: row["state"] for row in rows}


def test_doctor_finds_a_running_engine_healthy(engine: ThreadedEngine) -> None:
    result = run_on_engine(engine, "doctor", "--json")
    # Here the engine shares a process with all of these tests, which may well hold it up.
    checked = [row for row in result.rows if row["what"] != "event loop"]
    assert set(map_states(checked).values()) == {"ok"}
    assert result.status == 0
    assert {"site", "data", "ledger", "engine", "http http"} <= set(map_states(result.rows))
    assert f"answers at {engine.handle.url}" in run_on_engine(engine, "doctor").out


def test_doctor_gives_hints_before_the_first_run(tmp_path: Path) -> None:
    result = run_command("doctor", "--site", write_site(tmp_path / "site"), "--json")
    assert result.status == 0
    assert map_states(result.rows) == {
        "site": "ok", "data": "warning", "ledger": "warning", "engine": "warning",
    }  # fmt: skip
    assert all(row["hint"] for row in result.rows if row["state"] == "warning")


def test_the_doctor_finds_what_is_broken(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site", "rule: torn\n"), tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_text("no ledger at all " * 100)
    (data / "engine.json").write_text('{"url": "http://127.0.0.1:9"}')
    result = run_command("doctor", "--site", site, "--data", data, "--json")
    assert result.status == 1
    errors = {row["what"]: row for row in result.rows if row["state"] == "error"}
    assert set(errors) == {"site", "ledger", "engine"}
    assert all(row["hint"] for row in errors.values())
