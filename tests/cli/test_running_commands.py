"""`run` and `replay` where there is no screen, every `--help`, and what a command imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from catcher.cli.commands import app
from tests.cli.calling import call
from tests.small_site import DOUBLING, WIND, write_site

COMMANDS = sorted(
    (one.name or one.callback.__name__).replace("_", "-")
    for one in app.registered_commands
    if one.callback is not None
)
SLOW = (
    "influxdb_client", "slack_sdk", "aiohttp", "aiomqtt", "fastapi", "uvicorn", "obstore",
    "matplotlib", "astropy", "pyarrow", "scipy", "httpx", "websockets", "pebble", "bokeh",
)  # fmt: skip


def test_there_are_the_commands_that_are_promised() -> None:
    promised = {
        "demo", "run", "check", "test", "backtest", "explain", "fire", "replay", "runs", "show",
        "alerts", "ack", "shelve", "unshelve", "note", "query", "schema", "doctor", "assign",
        "confirm", "silence", "unsilence", "silences", "handover", "dead-letters", "audit",
        "reproduce", "job", "tune",
    }  # fmt: skip
    assert promised <= set(COMMANDS)


@pytest.mark.parametrize("command", [("alarms", "report"), ("routes", "test")], ids=" ".join)
def test_a_command_of_two_words_explains_itself_too(command: tuple[str, str]) -> None:
    found = call(*command, "--help")
    words = " ".join(found.out.replace("│", " ").split())
    assert f"catcher {' '.join(command)}" in words.partition("Example:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    found = call(command, "--help")
    assert found.status == 0
    words = " ".join(found.out.replace("│", " ").split())
    assert f"catcher {command}" in words.partition("Example:")[2]


def test_an_overview_comes_without_a_command_and_the_version_on_request() -> None:
    found = call()
    assert all(command in found.out for command in COMMANDS)
    assert call("--version").out.strip()
    assert call("chek").status == 2


def test_a_recording_is_replayed_to_its_end(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", f"{WIND}---{DOUBLING}")
    lines = [
        {"topic": "wind", "time": 1.7e9, "fields": {"mast": "a", "speed": 12}},
        {"topic": "number", "time": 1.7e9 + 1, "fields": {"value": 4, "lane": "b"}},
    ]
    file = tmp_path / "night.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    where = ("--site", site, "--data", tmp_path / "data")
    found = call("replay", file, *where, "--speed", "max")
    assert (found.status, found.err) == (0, "")
    assert "firing  doubling b" in found.out
    assert "run     doubling done doubled 8 m" in found.out
    assert found.out.splitlines()[-1] == f"ended; everything is kept in {tmp_path / 'data'}"
    assert [row["key"] for row in call("alerts", *where, "--json").rows] == ["a"]


def test_an_engine_ends_by_itself_after_a_while_and_names_what_is_set_aside(
    tmp_path: Path,
) -> None:
    site = write_site(tmp_path / "site", "rule: torn\ntrigger: {event: t, where: speed >}\n")
    found = call("run", "--site", site, "--port", "0", "--exit-after", "100ms")
    assert found.status == 0
    assert "set aside: rules/rules.yaml:2:" in found.err
    assert "API at http://127.0.0.1:" in found.out
    assert not (site / ".catcher" / "engine.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--exit-after", "soon"), "--exit-after: 'soon' is no duration"),
        (("replay", "nowhere.jsonl"), "there is no recorded stream"),
        (("replay", "nowhere.jsonl", "--speed", "fast"), "speed 'fast' is no speed"),
        (("demo", "--speed", "-1"), "-1"),
    ],
)
def test_what_cannot_be_run_says_why(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    site = write_site(tmp_path / "site")
    found = call(*arguments, "--site", site, "--data", tmp_path / "data")
    assert found.status == 2
    assert words in found.err
    assert "Traceback" not in found.err


def test_a_command_imports_no_client_library_that_it_does_not_use(tmp_path: Path) -> None:
    site = write_site(tmp_path / "site", WIND)
    script = f"""
import sys
from catcher.cli import main
slow = {SLOW!r}
for arguments in (["--help"], ["check"], ["runs"], ["alerts"]):
    try:
        main([*arguments, *([] if arguments == ["--help"] else ["--site", {str(site)!r}])])
    except SystemExit:
        pass
    if arguments == ["--help"]:
        slow += ("numpy", "yaml", "jinja2", "pydantic", "sqlalchemy")
    found = sorted(set(slow) & set(sys.modules))
    assert not found, (arguments, found)
    slow = {SLOW!r}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
