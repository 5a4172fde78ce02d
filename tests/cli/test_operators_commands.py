"""`runs`, `show`, `alerts`, `query`, `explain`, `fire`, `ack` and the like, and `doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Answer, call
from tests.small_site import DOUBLING, WIND, ThreadedEngine, engine_in_thread, write_site

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
    top = tmp_path_factory.mktemp("cli")
    site = write_site(top / "site", f"{WIND}---{DOUBLING}")
    with engine_in_thread(site, top / "data") as running:
        running.post("number", value=21, lane="a")
        running.the_run(key="a")
        running.post("number", value=13, lane="unlucky")
        running.the_run(key="unlucky")
        yield running


def on(engine: ThreadedEngine, *arguments: str) -> Answer:
    """A command on an engine's folder."""
    return call(*arguments, "--site", engine.site, "--data", engine.data)


def the_alert(engine: ThreadedEngine, mast: str, speed: float = 12) -> str:
    """Raises an alert and returns its id."""
    engine.post("wind", speed=speed, mast=mast)
    (found,) = [one for one in on(engine, "alerts", "--json").rows if one["key"] == mast]
    return str(found["id"])


# -- looking things up --------------------------------------------------------------------------


def test_runs_are_listed_newest_first(engine: ThreadedEngine) -> None:
    rows = on(engine, "runs", "--rule", "doubling", "--json").rows
    assert [(row["key"], row["state"]) for row in rows[-2:]] == [
        ("unlucky", "failed"),
        ("a", "done"),
    ]
    assert rows[-1]["metrics"] == {"doubled": 42.0}
    assert len(on(engine, "runs", "--limit", "1", "--json").rows) == 1
    assert [row["key"] for row in on(engine, "runs", "--state", "failed", "--json").rows] == [
        "unlucky"
    ]


def test_the_table_of_runs_says_what_each_made_or_why_not(engine: ThreadedEngine) -> None:
    found = on(engine, "runs")
    assert found.status == 0
    assert found.out.split()[:5] == ["id", "fired", "rule", "state", "made"]
    assert "doubled 42 words.txt" in found.out
    assert "ValueError: thirteen brings no luck" in found.out


def test_since_takes_a_time_or_how_long_ago(engine: ThreadedEngine) -> None:
    assert len(on(engine, "runs", "--since", "1h", "--json").rows) >= 2
    assert on(engine, "runs", "--since", "2200-01-01", "--json").rows == []
    found = on(engine, "runs", "--since", "yesterday")
    assert found.status == 2
    assert "'yesterday' is no time" in found.err
    assert "such as 12h" in found.err


def test_a_run_is_shown_whole(engine: ThreadedEngine) -> None:
    done, failed = (
        next(row for row in on(engine, "runs", "--json").rows if row["key"] == key)["id"]
        for key in ("a", "unlucky")
    )
    page = on(engine, "show", done).out
    assert page.splitlines()[0] == f"doubling a {done} done"
    assert "metric   doubled = 42 m" in page
    assert "artifact file://" in page
    assert "traceback" in on(engine, "show", failed).out
    row = on(engine, "show", done, "--json").row
    assert row["firing"]["event"]["fields"]["value"] == 21


def test_a_run_that_is_not_known_is_told(engine: ThreadedEngine) -> None:
    found = on(engine, "show", "abc")
    assert found.status == 2
    assert found.err == "catcher: no run 'abc' is known\n  `catcher runs` lists the latest\n"


def test_alerts_in_a_pipe_are_wide(engine: ThreadedEngine) -> None:
    mast = "a-mast-with-a-name-that-is-rather-long-" * 3
    alert = the_alert(engine, mast)
    (line,) = [one for one in on(engine, "alerts").out.splitlines() if alert in one]
    assert f"Wind 12 at {mast}" in line
    assert "WARNING" in line


def test_alerts_that_are_over_are_listed_on_request(engine: ThreadedEngine) -> None:
    alert = the_alert(engine, "over")
    engine.post("wind", speed=5, mast="over")
    assert alert not in on(engine, "alerts").out
    rows = on(engine, "alerts", "--all", "--rule", "wind", "--json").rows
    assert next(row for row in rows if row["id"] == alert)["state"] == "resolved"


def test_what_was_kept_is_found(engine: ThreadedEngine) -> None:
    (point,) = on(engine, "query", "metrics", "doubled", "--rule", "doubling", "--json").rows
    assert (point["value"], point["unit"], point["key"]) == (42.0, "m", "a")
    (artifact,) = on(engine, "query", "artifacts", "--json").rows
    assert artifact["name"] == "words.txt"
    firings = on(engine, "query", "firings", "--rule", "doubling", "--json").rows
    assert {row["kind"] for row in firings} == {"firing"}
    table = on(engine, "query", "metrics", "doubled").out.splitlines()
    assert table[0].split()[:2] == ["name", "value"]
    assert "none" in on(engine, "query", "metrics", "nothing-such").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("query", "metrics", "--label", "band"), "'band' is no label; write name=value"),
        (("query", "weather"), "'weather' is not one of"),
        (("query", "metrics", "--limit", "0"), "greater than or equal to 1"),
        (("runs", "--limit", "many"), "as an integer"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(
    engine: ThreadedEngine, arguments: tuple[str, ...], words: str
) -> None:
    found = on(engine, *arguments)
    assert found.status == 2
    assert words in " ".join(found.err.replace("│", " ").split())


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_before_anything_ran_there_is_no_ledger(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    site = write_site(tmp_path / "site")
    found = call(*arguments, "--site", site)
    assert found.status == 2
    assert "there is no ledger" in found.err
    assert "`catcher run` makes one" in found.err


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_a_ledger_that_is_none_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_text("this is no database, whatever its name says " * 100)
    found = call(*arguments, "--site", write_site(tmp_path / "site"), "--data", data)
    assert found.status == 2
    assert "damaged or no ledger" in found.err


# -- hands --------------------------------------------------------------------------------------


def test_a_rule_is_fired_by_hand(engine: ThreadedEngine) -> None:
    event = json.dumps({"topic": "number", "fields": {"value": 4, "lane": "hand"}})
    found = on(engine, "fire", "doubling", "--event", event, "--who", "ana")
    assert found.status == 0
    assert found.out.startswith("fired doubling: ")
    run = engine.the_run(id=found.out.split()[2].rstrip(";"))
    assert (run["metrics"], run["manual"]) == ({"doubled": 8.0}, True)
    row = on(engine, "fire", "doubling", "--event", event, "--json").row
    assert (row["kind"], row["manual"]) == ("firing", True)
    audit = on(engine, "query", "audit", "--json").rows
    assert ("fire", "ana") in [(one["what"], one["who"]) for one in audit]


@pytest.mark.parametrize(
    ("arguments", "words"),
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
def test_a_firing_that_cannot_be_made_says_why(
    engine: ThreadedEngine, arguments: tuple[str, ...], words: str
) -> None:
    found = on(engine, "fire", *arguments)
    assert found.status == 2
    assert words in found.err
    assert found.out == ""


def test_an_alert_is_taken_noted_put_aside_and_brought_back(engine: ThreadedEngine) -> None:
    alert = the_alert(engine, "hands")
    taken = on(engine, "ack", alert, "--severity", "warning", "--note", "I look", "--who", "ana")
    assert (taken.status, taken.out) == (0, "wind hands is acknowledged at WARNING\n")
    noted = on(engine, "note", alert, "louvres closed", "--who", "ana")
    assert noted.out == "noted on wind hands, which is acknowledged at WARNING\n"
    shelved = on(engine, "shelve", alert, "--for", "10m", "--reason", "known", "--who", "ana")
    assert shelved.out.startswith("wind hands is shelved at WARNING until 20")
    assert on(engine, "unshelve", alert, "--json", "--who", "ana").row["shelved_until"] is None
    mine = [one for one in on(engine, "query", "audit", "--json").rows if one["who"] == "ana"]
    assert {"acknowledged", "note", "shelved"} <= {one["what"] for one in mine}


def test_an_alert_that_got_worse_is_not_taken_unseen(engine: ThreadedEngine) -> None:
    alert = the_alert(engine, "worse", speed=25)
    found = on(engine, "ack", alert, "--severity", "warning")
    assert found.status == 2
    assert "SERIOUS" in found.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ack", "nothing"), "nothing"),
        (("ack", "nothing", "--severity", "loud"), "'loud' is no severity"),
        (("shelve", "nothing"), "--reason"),
        (("shelve", "nothing", "--reason", "r", "--for", "long"), "'long' is no duration"),
        (("explain", "nothing"), "no rule 'nothing' runs here"),
        (("explain", "wind", "--at", "noon"), "'noon' is no time"),
    ],
)
def test_what_cannot_be_done_says_why(
    engine: ThreadedEngine, arguments: tuple[str, ...], words: str
) -> None:
    found = on(engine, *arguments)
    assert found.status == 2
    assert words in found.err


@pytest.mark.parametrize(
    "arguments",
    [("fire", "wind"), ("ack", "a"), ("shelve", "a", "--reason", "r"), ("explain", "wind")],
    ids=" ".join,
)
def test_without_an_engine_there_is_nothing_to_do(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    site = write_site(tmp_path / "site")
    found = call(*arguments, "--site", site)
    assert found.status == 2
    assert f"no engine runs on {site / '.catcher'}" in found.err
    assert "start one with `catcher run`" in found.err


def test_a_rule_explains_itself(engine: ThreadedEngine) -> None:
    engine.post("wind", speed=3, mast="calm")
    found = on(engine, "explain", "wind")
    assert found.status == 0
    assert "speed" in found.out
    assert on(engine, "explain", "wind", "--json").rows[0]["rule"] == "wind"


def test_a_latched_alert_is_shown_at_its_worst_until_somebody_takes_it(
    engine: ThreadedEngine,
) -> None:
    for speed in (25, 5):
        engine.post("wind", speed=speed, mast="latched")
    (line,) = (one for one in on(engine, "alerts").out.splitlines() if "latched" in one)
    assert "SERIOUS" in line and "cleared, awaiting acknowledgement" in line
    alert = line.split()[0]
    shelved = on(engine, "shelve", alert, "--reason", "known", "--who", "ana")
    assert " is shelved at SERIOUS until 20" in shelved.out
    (line,) = (one for one in on(engine, "alerts").out.splitlines() if "latched" in one)
    assert "shelved, until " in line and " ana " in line
    assert on(engine, "ack", alert, "--who", "ana").out == "wind latched is resolved\n"
    (line,) = (one for one in on(engine, "alerts", "--all").out.splitlines() if "latched" in one)
    assert "SERIOUS" in line and "resolved" in line


HOSTILE = "\x1b[31mred\x1b[0m\u202eexe.gnp\x9b2J" + "L" * 5000


def test_what_comes_from_outside_cannot_move_a_terminal(engine: ThreadedEngine) -> None:
    engine.post("wind", speed=12, mast=HOSTILE)
    alert = next(one for one in on(engine, "alerts", "--json").rows if one["key"] == HOSTILE)["id"]
    shown = [
        on(engine, "alerts"), on(engine, "alerts", "--all"), on(engine, "explain", "wind"),
        on(engine, "shelve", alert, "--reason", "known"), on(engine, "audit"),
        on(engine, "ack", alert, "--severity", "warning"), on(engine, "unshelve", alert),
        on(engine, "unshelve", alert), on(engine, "assign", alert, "--to", "bo"),
        on(engine, "query", "alerts"),
    ]  # fmt: skip
    for answer in shown:
        text = answer.out + answer.err
        assert not set(text) & set("\x1b\x9b\u202e"), repr(text[:500])
        assert max(map(len, text.splitlines()), default=0) < 6000


# -- doctor -------------------------------------------------------------------------------------


def states(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["what"]: row["state"] for row in rows}


def test_the_doctor_finds_a_running_engine_well(engine: ThreadedEngine) -> None:
    found = on(engine, "doctor", "--json")
    # Here the engine shares a process with all of these tests, which may well hold it up.
    well = [row for row in found.rows if row["what"] != "event loop"]
    assert set(states(well).values()) == {"ok"}
    assert found.status == 0
    assert {"site", "data", "ledger", "engine", "http http"} <= set(states(found.rows))
    assert f"answers at {engine.running.url}" in on(engine, "doctor").out


def test_the_doctor_says_what_to_do_where_nothing_has_run(tmp_path: Path) -> None:
    found = call("doctor", "--site", write_site(tmp_path / "site"), "--json")
    assert found.status == 0
    assert states(found.rows) == {
        "site": "ok", "data": "warning", "ledger": "warning", "engine": "warning",
    }  # fmt: skip
    assert all(row["hint"] for row in found.rows if row["state"] == "warning")


def test_the_doctor_finds_what_is_broken(tmp_path: Path) -> None:
    site, data = write_site(tmp_path / "site", "rule: torn\n"), tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_text("no ledger at all " * 100)
    (data / "engine.json").write_text('{"url": "http://127.0.0.1:9"}')
    found = call("doctor", "--site", site, "--data", data, "--json")
    assert found.status == 1
    wrong = {row["what"]: row for row in found.rows if row["state"] == "error"}
    assert set(wrong) == {"site", "ledger", "engine"}
    assert all(row["hint"] for row in wrong.values())
