"""Names by which others reach Catcher: commands, exit statuses, environment, schemas, metrics."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from enum import EnumType
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import catcher
from catcher.cli.main import app
from catcher.stores.ledger import migrations
from tests.cli.command_runner import run_command
from tests.goldens.compare import compare_json, compare_text
from tests.sample_site import DOUBLING, write_site

SOURCE_FOLDER = Path(catcher.__file__).parent


def parse_modules() -> Iterator[ast.Module]:
    for path in sorted(SOURCE_FOLDER.rglob("*.py")):
        if "_site" not in path.parts:
            yield ast.parse(path.read_text(encoding="utf-8"))


# -- commands ----------------------------------------------------------------------------------


def describe_command(command: Any) -> dict[str, Any]:
    """The options and arguments of a command and of those below it; no prose."""
    description: dict[str, Any] = {}
    for subcommand in command.params:
        kind = subcommand.type_descriptor.annotation
        choices = [choice.value for choice in kind] if isinstance(kind, EnumType) else []
        description[" ".join([*subcommand.opts, *subcommand.secondary_opts])] = {
            "kind": subcommand.param_type_name, "required": subcommand.required,
            "many": subcommand.multiple or subcommand.nargs != 1, "choices": choices,
            "default": json.loads(json.dumps(subcommand.default, default=str)),
            "environment": subcommand.envvar,
        }  # fmt: skip
    subcommands = getattr(command, "commands", {})
    if subcommands:
        description["commands"] = {
            name: describe_command(subcommand) for name, subcommand in subcommands.items()
        }
    return description


def test_commands_and_options_keep_their_names() -> None:
    compare_json("surface/commands.json", describe_command(typer.main.get_command(app)))


COMMANDS: tuple[tuple[str, ...], ...] = (
    (),
    ("--version",),
    ("--help",),
    ("chek",),
    ("check", "--site", "SITE"),
    ("check", "--site", "BROKEN"),
    ("check", "--site", "NOWHERE"),
    ("check", "--colour"),
    ("test", "--site", "SITE"),
    ("test", "--site", "FAILING"),
    ("test", "none", "--site", "SITE"),
    ("backtest", "--site", "SITE"),
    ("backtest", "--site", "SITE", "--data", "NOWHERE"),
    ("backtest", "none", "--site", "SITE", "--data", "RECORDING"),
    ("backtest", "--site", "SITE", "--data", "RECORDING"),
    ("tune", "--site", "SITE"),
    ("tune", "doubling", "--site", "SITE", "--data", "RECORDING"),
    ("schema", "rule", "--site", "SITE"),
    ("schema", "jobs"),
    ("preview", "none", "--site", "SITE"),
    ("preview", "doubling", "--site", "SITE"),
    ("routes", "test", "--rule", "none", "--site", "SITE"),
    ("routes", "test", "--rule", "doubling", "--site", "SITE"),
    ("runs", "--site", "SITE", "--data", "NOWHERE"),
    ("alerts", "--site", "SITE", "--data", "NOWHERE"),
    ("show", "abc", "--site", "SITE", "--data", "NOWHERE"),
    ("query", "metrics", "--site", "SITE", "--data", "NOWHERE"),
    ("query", "nothing", "--site", "SITE"),
    ("query", "sql", "DROP TABLE x", "--site", "SITE", "--data", "NOWHERE"),
    ("query", "runs", "--url", "ftp://nowhere"),
    ("explain", "doubling", "--site", "SITE", "--data", "NOWHERE"),
    ("audit", "--site", "SITE", "--data", "NOWHERE"),
    ("silences", "--site", "SITE", "--data", "NOWHERE"),
    ("dead-letters", "--site", "SITE", "--data", "NOWHERE"),
    ("handover", "--site", "SITE", "--data", "NOWHERE"),
    ("alarms", "report", "--site", "SITE", "--data", "NOWHERE"),
    ("doctor", "--site", "SITE", "--data", "NOWHERE"),
    ("doctor", "--site", "BROKEN", "--data", "NOWHERE"),
    ("fire", "doubling", "--site", "SITE", "--data", "NOWHERE"),
    ("ack", "none", "--site", "SITE", "--data", "NOWHERE"),
    ("shelve", "none", "--reason", "a", "--site", "SITE", "--data", "NOWHERE"),
    ("unshelve", "none", "--site", "SITE", "--data", "NOWHERE"),
    ("note", "none", "words", "--site", "SITE", "--data", "NOWHERE"),
    ("assign", "none", "--to", "bo", "--site", "SITE", "--data", "NOWHERE"),
    ("silence", "x", "--reason", "a", "--site", "SITE", "--data", "NOWHERE"),
    ("unsilence", "x", "--site", "SITE", "--data", "NOWHERE"),
    ("confirm", "x", "--site", "SITE", "--data", "NOWHERE"),
    ("reproduce", "abc", "--site", "SITE", "--data", "NOWHERE"),
    ("job", "none", "--site", "SITE", "--data", "NOWHERE"),
    ("tail", "--site", "SITE", "--data", "NOWHERE"),
    ("record", "--to", "NOWHERE", "--site", "SITE", "--data", "NOWHERE"),
    ("replay", "NOWHERE", "--site", "SITE", "--data", "NOWHERE"),
    ("topics", "--site", "SITE", "--data", "NOWHERE"),
    ("new", "sink", "Bad Name", "--site", "SITE"),
    ("run", "--site", "NOWHERE"),
    ("run", "--site", "SITE", "--exit-after", "soon", "--data", "NOWHERE"),
)


def test_commands_end_with_the_same_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CATCHER_SITE", raising=False)
    monkeypatch.delenv("CATCHER_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    rule_text = (
        DOUBLING
        + "tests: [{name: a, feed: {number: '{value: 1, lane: a}'}, expect: {firings: 1}}]\n"
    )
    folders = {
        "SITE": write_site(tmp_path / "site", rule_text),
        "BROKEN": write_site(tmp_path / "broken", "rule: x\ntrigger: {evnt: t}\n"),
        "FAILING": write_site(tmp_path / "failing", rule_text.replace("firings: 1", "firings: 2")),
        "NOWHERE": tmp_path / "nowhere",
        "RECORDING": tmp_path / "night.jsonl",
    }
    event = {"topic": "number", "time": 1_745_452_800, "fields": {"value": 1, "lane": 1}}
    folders["RECORDING"].write_text(json.dumps(event) + "\n")
    lines = []
    for arguments in COMMANDS:
        result = run_command(*[folders.get(argument, argument) for argument in arguments])
        error_text = " ".join(result.err.split())
        if not result.err.startswith("catcher: "):
            error_text = "usage" if result.err else ""
        for name, path in folders.items():
            error_text = error_text.replace(str(path), name)
        lines.append(f"{result.status:d} catcher {' '.join(arguments)} | {error_text}\n")
    compare_text("surface/statuses.txt", "".join(lines))


# -- schemas -----------------------------------------------------------------------------------


def remove_descriptions(value: Any, parent_key: str = "") -> Any:
    """A JSON Schema without its descriptions and titles."""
    if isinstance(value, dict):
        ignored_keys = () if parent_key in ("properties", "$defs", "patternProperties") else (
            "description", "title", "markdownDescription", "examples",
        )  # fmt: skip
        return {
            key: remove_descriptions(child, key)
            for key, child in value.items()
            if key not in ignored_keys
        }
    if isinstance(value, list):
        return [remove_descriptions(child) for child in value]
    return value


@pytest.mark.parametrize("kind", ["rule", "site", "routes"])
def test_the_schema_of_a_file_is_the_same(kind: str, tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    result = run_command("schema", kind, "--site", site, "--data", tmp_path / "data")
    assert result.status == 0
    compare_json(f"surface/schema_{kind}.json", remove_descriptions(result.row))


def test_the_views_of_sql_are_the_same() -> None:
    compare_text("surface/views.md", run_command("schema", "views").out)


def test_migrations_have_the_same_ids() -> None:
    lines = []
    folder = Path(migrations.__file__).parent / "versions"
    for module_info in sorted(pkgutil.iter_modules([str(folder)]), key=lambda info: info.name):
        module = importlib.import_module(
            f"catcher.stores.ledger.migrations.versions.{module_info.name}"
        )
        lines.append(f"{module.revision} after {module.down_revision or 'nothing'}\n")
    compare_text("surface/migrations.txt", "".join(lines))


# -- names in the source -----------------------------------------------------------------------

_ENVIRONMENT_PATTERN = re.compile(
    r"(?:CATCHER|OMP|MKL|OPENBLAS|NUMEXPR|VECLIB|XDG|MPL|NOTIFY|WATCHDOG|SLURM|PYTHON|AWS|DASK)"
    r"_?[A-Z][A-Z0-9_]*|USER|HOME|TMPDIR|JOB_OUTPUT_DIR"
)


@cache
def collect_string_constants() -> frozenset[str]:
    """Every text of the source that is no docstring."""
    texts: set[str] = set()
    for tree in parse_modules():
        docstring_ids = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in docstring_ids:
                texts.add(node.value)
    return frozenset(texts)


def test_names_of_environment_variables_stay() -> None:
    names = sorted(
        {text for text in collect_string_constants() if _ENVIRONMENT_PATTERN.fullmatch(text)}
    )
    compare_text("surface/environment.txt", "".join(f"{name}\n" for name in names))


def test_names_that_begin_as_those_of_metrics_stay() -> None:
    pattern = re.compile(r"(catcher|process)_[a-z0-9_]+")
    names = sorted({text for text in collect_string_constants() if pattern.fullmatch(text)})
    rule_metrics = [name for name in names if name.startswith("catcher_rule_")]
    other_metrics = [name for name in names if not name.startswith("catcher_rule_")]
    compare_text("surface/metrics_of_rules.txt", "".join(f"{name}\n" for name in rule_metrics))
    compare_text("surface/other_metrics.txt", "".join(f"{name}\n" for name in other_metrics))
