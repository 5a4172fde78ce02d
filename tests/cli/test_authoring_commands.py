"""`check`, `test`, `backtest`, `schema`: what an author sees before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command_runner import run_command
from tests.sample_site import DOUBLING, WIND, write_site

BROKEN_RULE = WIND.replace("warning: {when:", "warning: {wen:")
TESTED_RULE = WIND + "tests:\n"
GUST_TEST = """  - name: a gust
    feed: {wind: "{mast: a, speed: 5} x 9 @ 1s, {speed: 12}"}
    expect: {alerts: [{at: 9s, severity: warning}]}
"""
CALM_TEST = '  - {name: calm, feed: {wind: "{mast: a, speed: 12} x 9"}, expect: {alerts: 0}}\n'


@pytest.fixture(autouse=True)
def isolate_from_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No site is found but the one that a test names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CATCHER_SITE", raising=False)


# -- check --------------------------------------------------------------------------------------


def test_valid_site_is_counted(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", f"{WIND}---{DOUBLING}")
    result = run_command("check", "--site", site)
    assert (result.status, result.out, result.err) == (0, f"{site}: 2 rules\n", "")
    assert run_command("check", "--site", site, "--json").rows == []


def test_problem_has_its_location_and_fix(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", BROKEN_RULE)
    result = run_command("check", "--site", site)
    assert result.status == 1
    first, last = result.out.splitlines()[0], result.out.splitlines()[-1]
    assert first.startswith("rules/rules.yaml:5:")
    assert "`warning` has no key 'wen'; did you mean 'when'?" in first
    assert last == f"{site}: 0 rules, 1 broken"
    row = run_command("check", "--site", site, "--json").rows[0]
    assert set(row) == {"file", "line", "column", "severity", "message", "hint", "rule"}
    assert (row["file"], row["line"], row["severity"]) == ("rules/rules.yaml", 5, "error")


def test_invalid_yaml_is_reported_like_any_other_problem(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", 'rule: a\ntrigger: {event: t, where: max_over(x, "5m")}')
    result = run_command("check", "--site", site)
    assert result.status == 1
    assert "put this expression on its own line, or in quotes" in result.out


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "the site that --site names does not exist"),
        (lambda path: path.mkdir(), "which --site names, holds no catcher.yaml"),
    ],
)
def test_folder_without_a_site_is_reported(tmp_path: Path, prepare: object, message: str) -> None:
    prepare(tmp_path / "nowhere")  # type: ignore[operator]
    for command in ("check", "test", "runs", "alerts", "doctor", "run"):
        result = run_command(command, "--site", tmp_path / "nowhere")
        assert result.status == 2
        assert message in result.err
        assert result.err.startswith("catcher: ")
        assert result.out == ""


# -- test ---------------------------------------------------------------------------------------


def test_test_results_are_printed(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", TESTED_RULE + GUST_TEST)
    result = run_command("test", "--site", site)
    assert (result.status, result.out) == (0, "passed wind: a gust\n1 passed, 0 failed\n")
    write_site(site, TESTED_RULE + GUST_TEST + CALM_TEST)
    result = run_command("test", "--site", site, "wind")
    assert result.status == 1
    assert result.out.splitlines() == [
        "passed wind: a gust",
        "FAILED wind: calm",
        "    0 alerts expected, 1 (WARNING at 0s) came",
        "1 passed, 1 failed",
    ]
    assert [row["passed"] for row in run_command("test", "--site", site, "--json").rows] == [
        True,
        False,
    ]


def test_site_without_tests_gets_a_hint(tmp_path: Path) -> None:
    result = run_command("test", "--site", write_site(tmp_path / "site"))
    assert result.status == 0
    assert "write some below it" in result.out


def test_a_rule_that_is_not_there_cannot_be_tested(tmp_path: Path) -> None:
    result = run_command("test", "--site", write_site(tmp_path / "site"), "wnd")
    assert result.status == 2
    assert result.err == "catcher: there is no rule 'wnd'\n  did you mean 'wind'?\n"


# -- backtest -----------------------------------------------------------------------------------


def write_recording(path: Path, *speeds: int) -> Path:
    lines = [
        {"topic": "wind", "time": f"2025-04-24T00:00:{second:02}Z", "fields": {
            "mast": "a", "speed": speed}}
        for second, speed in enumerate(speeds)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_backtest_prints_one_object_a_line(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    file = write_recording(tmp_path / "wind.jsonl", 5, 12, 5)
    result = run_command("backtest", "wind", "--site", site, "--data", file, "--json")
    assert (result.status, result.err) == (0, "")
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert [(row["kind"], row["rule"], row["key"], row["time"]) for row in rows] == [
        ("alert", "wind", "a", "2025-04-24T00:00:01Z"),
        ("alert", "wind", "a", "2025-04-24T00:00:02Z"),
    ]
    assert [(row["severity"], row["state"]) for row in rows] == [
        ("WARNING", "firing"), ("NONE", "resolved"),
    ]  # fmt: skip


def test_backtest_ends_with_a_summary(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    file = write_recording(tmp_path / "wind.jsonl", 5, 12, 5)
    lines = run_command("backtest", "--site", site, "--data", file).out.splitlines()
    assert lines[0].startswith("2025-04-24T00:00:01Z")
    assert "WARNING firing" in lines[0]
    assert lines[-1] == "wind: 1 WARNING firing, 1 NONE resolved"
    calm_file = write_recording(tmp_path / "calm.jsonl", 5, 5)
    assert run_command("backtest", "--site", site, "--data", calm_file).out == "nothing fired\n"


def test_invalid_lines_are_reported_on_stderr_and_counted(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    file = write_recording(tmp_path / "wind.jsonl", 5, 12)
    file.write_text("no json\n" * 30 + file.read_text())
    result = run_command("backtest", "--site", site, "--data", file)
    assert result.status == 0
    assert result.err.count("wind.jsonl:") == 20
    assert result.out.splitlines()[-1] == "30 lines were left out"
    result = run_command("backtest", "--site", site, "--data", file, "--json")
    assert len(result.out.splitlines()) == 1
    assert result.err.splitlines()[-1] == "30 lines were left out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to play"),
        (("--data", "nowhere.jsonl"), "there is no recorded stream nowhere.jsonl"),
        (("wnd", "--data", "wind.jsonl"), "there is no rule 'wnd'\n  did you mean 'wind'?"),
        (("--data", "."), "holds no recorded stream"),
    ],
)
def test_failed_backtest_gives_the_reason(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    site = write_site(tmp_path / "site")
    if "." not in arguments:
        write_recording(tmp_path / "wind.jsonl", 5)
    result = run_command("backtest", *arguments, "--site", site)
    assert result.status == 2
    assert message in result.err
    assert result.out == ""


# -- schema -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["rule", "site", "routes"])
def test_a_schema_is_printed_as_json(file: str) -> None:
    result = run_command("schema", file)
    assert result.status == 0
    assert result.row["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_default_schema_is_that_of_a_rule() -> None:
    assert run_command("schema").row["title"] == "A rule of Catcher"
    assert run_command("schema", "jobs").status == 2
