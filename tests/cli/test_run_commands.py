"""`run` and `replay` where there is no screen, every `--help`, and what a command imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from catcher.cli.main import app
from tests.cli.command_runner import run_command
from tests.sample_site import DOUBLING, WIND, write_site

COMMANDS = sorted(
    (one.name or one.callback.__name__).replace("_", "-")
    for one in app.registered_commands
    if one.callback is not None
)
SLOW_LIBRARIES = (
    "influxdb_client", "slack_sdk", "aiohttp", "aiomqtt", "fastapi", "uvicorn", "obstore",
    "matplotlib", "astropy", "pyarrow", "scipy", "httpx", "websockets", "pebble", "bokeh",
)  # fmt: skip


def test_all_documented_commands_exist() -> None:
    expected = {
        "demo", "run", "check", "test", "backtest", "explain", "fire", "replay", "runs", "show",
        "alerts", "ack", "shelve", "unshelve", "note", "query", "schema", "doctor", "assign",
        "confirm", "silence", "unsilence", "silences", "handover", "dead-letters", "audit",
        "reproduce", "job", "tune",
    }  # fmt: skip
    assert expected <= set(COMMANDS)


@pytest.mark.parametrize("command", [("alarms", "report"), ("routes", "test")], ids=" ".join)
def test_a_command_of_two_words_explains_itself_too(command: tuple[str, str]) -> None:
    result = run_command(*command, "--help")
    help_text = " ".join(result.out.replace("│", " ").split())
    assert f"catcher {' '.join(command)}" in help_text.partition("Example:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = run_command(command, "--help")
    assert result.status == 0
    help_text = " ".join(result.out.replace("│", " ").split())
    assert f"catcher {command}" in help_text.partition("Example:")[2]


def test_overview_without_a_command_and_version_on_request() -> None:
    result = run_command()
    assert all(command in result.out for command in COMMANDS)
    assert run_command("--version").out.strip()
    assert run_command("chek").status == 2


def test_a_recording_is_replayed_to_its_end(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", f"{WIND}---{DOUBLING}")
    lines = [
        {"topic": "wind", "time": 1.7e9, "fields": {"mast": "a", "speed": 12}},
        {"topic": "number", "time": 1.7e9 + 1, "fields": {"value": 4, "lane": "b"}},
    ]
    file = tmp_path / "night.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    options = ("--site", site, "--data", tmp_path / "data")
    result = run_command("replay", file, *options, "--speed", "max")
    assert (result.status, result.err) == (0, "")
    assert "firing  doubling b" in result.out
    assert "run     doubling done doubled 8 m" in result.out
    assert result.out.splitlines()[-1] == f"ended; everything is kept in {tmp_path / 'data'}"
    assert [row["key"] for row in run_command("alerts", *options, "--json").rows] == ["a"]


def test_engine_exits_after_a_while_and_reports_disabled_rules(
    tmp_path: Path,
) -> None:
    site = write_site(tmp_path / "site", "rule: torn\ntrigger: {event: t, where: speed >}\n")
    result = run_command("run", "--site", site, "--port", "0", "--exit-after", "100ms")
    assert result.status == 0
    assert "set aside: rules/rules.yaml:2:" in result.err
    assert "API at http://127.0.0.1:" in result.out
    assert not (site / ".catcher" / "engine.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--exit-after", "soon"), "--exit-after: 'soon' is no duration"),
        (("replay", "nowhere.jsonl"), "there is no recorded stream"),
        (("replay", "nowhere.jsonl", "--speed", "fast"), "speed 'fast' is no speed"),
        (("demo", "--speed", "-1"), "-1"),
    ],
)
def test_failed_start_gives_the_reason(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    site = write_site(tmp_path / "site")
    result = run_command(*arguments, "--site", site, "--data", tmp_path / "data")
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_command_imports_no_client_library_that_it_does_not_use(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND)
    script = f"""
import sys
from catcher.cli import main
slow = {SLOW_LIBRARIES!r}
for arguments in (["--help"], ["check"], ["runs"], ["alerts"]):
    try:
        main([*arguments, *([] if arguments == ["--help"] else ["--site", {str(site)!r}])])
    except SystemExit:
        pass
    if arguments == ["--help"]:
        slow += ("numpy", "yaml", "jinja2", "pydantic", "sqlalchemy")
    found = sorted(set(slow) & set(sys.modules))
    assert not found, (arguments, found)
    slow = {SLOW_LIBRARIES!r}
"""
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert completed.returncode == 0, completed.stderr
