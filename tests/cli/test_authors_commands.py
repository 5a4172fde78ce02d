"""`check`, `test`, `backtest`, `schema`: what an author sees before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.small_site import DOUBLING, WIND, write_site

BROKEN = WIND.replace("warning: {when:", "warning: {wen:")
TESTED = WIND + "tests:\n"
GUST = """  - name: a gust
    feed: {wind: "{mast: a, speed: 5} x 9 @ 1s, {speed: 12}"}
    expect: {alerts: [{at: 9s, severity: warning}]}
"""
CALM = '  - {name: calm, feed: {wind: "{mast: a, speed: 12} x 9"}, expect: {alerts: 0}}\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No site is found but the one that a test names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CATCHER_SITE", raising=False)


# -- check --------------------------------------------------------------------------------------


def test_a_sound_site_is_counted(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", f"{WIND}---{DOUBLING}")
    found = call("check", "--site", site)
    assert (found.status, found.out, found.err) == (0, f"{site}: 2 rules\n", "")
    assert call("check", "--site", site, "--json").rows == []


def test_a_problem_has_its_place_and_its_mend(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", BROKEN)
    found = call("check", "--site", site)
    assert found.status == 1
    first, last = found.out.splitlines()[0], found.out.splitlines()[-1]
    assert first.startswith("rules/rules.yaml:5:")
    assert "`warning` has no key 'wen'; did you mean 'when'?" in first
    assert last == f"{site}: 0 rules, 1 broken"
    row = call("check", "--site", site, "--json").rows[0]
    assert set(row) == {"file", "line", "column", "severity", "message", "hint", "rule"}
    assert (row["file"], row["line"], row["severity"]) == ("rules/rules.yaml", 5, "error")


def test_what_is_no_yaml_is_told_like_any_other_problem(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", 'rule: a\ntrigger: {event: t, where: max_over(x, "5m")}')
    found = call("check", "--site", site)
    assert found.status == 1
    assert "put this expression on its own line, or in quotes" in found.out


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "the site that --site names does not exist"),
        (lambda path: path.mkdir(), "which --site names, holds no catcher.yaml"),
    ],
)
def test_a_folder_that_is_no_site_is_told(tmp_path: Path, make: object, words: str) -> None:
    make(tmp_path / "nowhere")  # type: ignore[operator]
    for command in ("check", "test", "runs", "alerts", "doctor", "run"):
        found = call(command, "--site", tmp_path / "nowhere")
        assert found.status == 2
        assert words in found.err
        assert found.err.startswith("catcher: ")
        assert found.out == ""


# -- test ---------------------------------------------------------------------------------------


def test_tests_pass_or_fail_in_words(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", TESTED + GUST)
    found = call("test", "--site", site)
    assert (found.status, found.out) == (0, "passed wind: a gust\n1 passed, 0 failed\n")
    write_site(site, TESTED + GUST + CALM)
    found = call("test", "--site", site, "wind")
    assert found.status == 1
    assert found.out.splitlines() == [
        "passed wind: a gust",
        "FAILED wind: calm",
        "    0 alerts expected, 1 (WARNING at 0s) came",
        "1 passed, 1 failed",
    ]
    assert [row["passed"] for row in call("test", "--site", site, "--json").rows] == [True, False]


def test_a_site_without_tests_is_told_how_to_begin(tmp_path: Path) -> None:
    found = call("test", "--site", write_site(tmp_path / "site"))
    assert found.status == 0
    assert "write some below it" in found.out


def test_a_rule_that_is_not_there_cannot_be_tested(tmp_path: Path) -> None:
    found = call("test", "--site", write_site(tmp_path / "site"), "wnd")
    assert found.status == 2
    assert found.err == "catcher: there is no rule 'wnd'\n  did you mean 'wind'?\n"


# -- backtest -----------------------------------------------------------------------------------


def recorded(path: Path, *speeds: int) -> Path:
    lines = [
        {"topic": "wind", "time": f"2025-04-24T00:00:{second:02}Z", "fields": {
            "mast": "a", "speed": speed}}
        for second, speed in enumerate(speeds)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_backtest_prints_one_object_a_line(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    file = recorded(tmp_path / "wind.jsonl", 5, 12, 5)
    found = call("backtest", "wind", "--site", site, "--data", file, "--json")
    assert (found.status, found.err) == (0, "")
    rows = [json.loads(line) for line in found.out.splitlines()]
    assert [(row["kind"], row["rule"], row["key"], row["time"]) for row in rows] == [
        ("alert", "wind", "a", "2025-04-24T00:00:01Z"),
        ("alert", "wind", "a", "2025-04-24T00:00:02Z"),
    ]
    assert [(row["severity"], row["state"]) for row in rows] == [
        ("WARNING", "firing"), ("NONE", "resolved"),
    ]  # fmt: skip


def test_a_backtest_for_people_ends_with_its_tally(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    file = recorded(tmp_path / "wind.jsonl", 5, 12, 5)
    lines = call("backtest", "--site", site, "--data", file).out.splitlines()
    assert lines[0].startswith("2025-04-24T00:00:01Z")
    assert "WARNING firing" in lines[0]
    assert lines[-1] == "wind: 1 WARNING firing, 1 NONE resolved"
    calm = recorded(tmp_path / "calm.jsonl", 5, 5)
    assert call("backtest", "--site", site, "--data", calm).out == "nothing fired\n"


def test_lines_that_are_no_events_are_told_on_the_side_and_counted(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    file = recorded(tmp_path / "wind.jsonl", 5, 12)
    file.write_text("no json\n" * 30 + file.read_text())
    found = call("backtest", "--site", site, "--data", file)
    assert found.status == 0
    assert found.err.count("wind.jsonl:") == 20
    assert found.out.splitlines()[-1] == "30 lines were left out"
    found = call("backtest", "--site", site, "--data", file, "--json")
    assert len(found.out.splitlines()) == 1
    assert found.err.splitlines()[-1] == "30 lines were left out"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to play"),
        (("--data", "nowhere.jsonl"), "there is no recorded stream nowhere.jsonl"),
        (("wnd", "--data", "wind.jsonl"), "there is no rule 'wnd'\n  did you mean 'wind'?"),
        (("--data", "."), "holds no recorded stream"),
    ],
)
def test_a_backtest_that_cannot_be_played_says_why(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    site = write_site(tmp_path / "site")
    if "." not in arguments:
        recorded(tmp_path / "wind.jsonl", 5)
    found = call("backtest", *arguments, "--site", site)
    assert found.status == 2
    assert words in found.err
    assert found.out == ""


# -- schema -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["rule", "site", "routes"])
def test_a_schema_is_printed_as_json(file: str) -> None:
    found = call("schema", file)
    assert found.status == 0
    assert found.row["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_is_that_of_a_rule_unless_told() -> None:
    assert call("schema").row["title"] == "A rule of Catcher"
    assert call("schema", "jobs").status == 2
