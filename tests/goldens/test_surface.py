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
from catcher.cli.commands import app
from catcher.stores import migrations
from tests.cli.calling import call
from tests.goldens.compare import compare_json, compare_text
from tests.small_site import DOUBLING, write_site

SOURCE = Path(catcher.__file__).parent


def parse_modules() -> Iterator[ast.Module]:
    for path in sorted(SOURCE.rglob("*.py")):
        if "_site" not in path.parts:
            yield ast.parse(path.read_text(encoding="utf-8"))


# -- commands ----------------------------------------------------------------------------------


def describe_command(command: Any) -> dict[str, Any]:
    """The options and arguments of a command and of those below it; no prose."""
    described: dict[str, Any] = {}
    for one in command.params:
        kind = one.type_descriptor.annotation
        choices = [choice.value for choice in kind] if isinstance(kind, EnumType) else []
        described[" ".join([*one.opts, *one.secondary_opts])] = {
            "kind": one.param_type_name, "required": one.required,
            "many": one.multiple or one.nargs != 1, "choices": choices,
            "default": json.loads(json.dumps(one.default, default=str)),
            "environment": one.envvar,
        }  # fmt: skip
    below = getattr(command, "commands", {})
    if below:
        described["commands"] = {name: describe_command(one) for name, one in below.items()}
    return described


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
    good = (
        DOUBLING
        + "tests: [{name: a, feed: {number: '{value: 1, lane: a}'}, expect: {firings: 1}}]\n"
    )
    places = {
        "SITE": write_site(tmp_path / "site", good),
        "BROKEN": write_site(tmp_path / "broken", "rule: x\ntrigger: {evnt: t}\n"),
        "FAILING": write_site(tmp_path / "failing", good.replace("firings: 1", "firings: 2")),
        "NOWHERE": tmp_path / "nowhere",
        "RECORDING": tmp_path / "night.jsonl",
    }
    event = {"topic": "number", "time": 1_745_452_800, "fields": {"value": 1, "lane": 1}}
    places["RECORDING"].write_text(json.dumps(event) + "\n")
    lines = []
    for arguments in COMMANDS:
        answer = call(*[places.get(one, one) for one in arguments])
        words = " ".join(answer.err.split())
        if not answer.err.startswith("catcher: "):
            words = "usage" if answer.err else ""
        for name, path in places.items():
            words = words.replace(str(path), name)
        lines.append(f"{answer.status:d} catcher {' '.join(arguments)} | {words}\n")
    compare_text("surface/statuses.txt", "".join(lines))


# -- schemas -----------------------------------------------------------------------------------


def drop_prose(value: Any, above: str = "") -> Any:
    """A JSON Schema without its descriptions and titles."""
    if isinstance(value, dict):
        prose = () if above in ("properties", "$defs", "patternProperties") else (
            "description", "title", "markdownDescription", "examples",
        )  # fmt: skip
        return {key: drop_prose(one, key) for key, one in value.items() if key not in prose}
    if isinstance(value, list):
        return [drop_prose(one) for one in value]
    return value


@pytest.mark.parametrize("kind", ["rule", "site", "routes"])
def test_the_schema_of_a_file_is_the_same(kind: str, tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    answer = call("schema", kind, "--site", site, "--data", tmp_path / "data")
    assert answer.status == 0
    compare_json(f"surface/schema_{kind}.json", drop_prose(answer.row))


def test_the_views_of_sql_are_the_same() -> None:
    compare_text("surface/views.md", call("schema", "views").out)


def test_migrations_have_the_same_ids() -> None:
    lines = []
    folder = Path(migrations.__file__).parent / "versions"
    for found in sorted(pkgutil.iter_modules([str(folder)]), key=lambda one: one.name):
        module = importlib.import_module(f"catcher.stores.migrations.versions.{found.name}")
        lines.append(f"{module.revision} after {module.down_revision or 'nothing'}\n")
    compare_text("surface/migrations.txt", "".join(lines))


# -- names in the source -----------------------------------------------------------------------

_ENVIRONMENT = re.compile(
    r"(?:CATCHER|OMP|MKL|OPENBLAS|NUMEXPR|VECLIB|XDG|MPL|NOTIFY|WATCHDOG|SLURM|PYTHON|AWS|DASK)"
    r"_?[A-Z][A-Z0-9_]*|USER|HOME|TMPDIR|JOB_OUTPUT_DIR"
)


@cache
def constant_texts() -> frozenset[str]:
    """Every text of the source that is no docstring."""
    texts: set[str] = set()
    for tree in parse_modules():
        prose = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in prose:
                texts.add(node.value)
    return frozenset(texts)


def test_names_of_environment_variables_stay() -> None:
    found = sorted({text for text in constant_texts() if _ENVIRONMENT.fullmatch(text)})
    compare_text("surface/environment.txt", "".join(f"{name}\n" for name in found))


def test_names_that_begin_as_those_of_metrics_stay() -> None:
    pattern = re.compile(r"(catcher|process)_[a-z0-9_]+")
    names = sorted({text for text in constant_texts() if pattern.fullmatch(text)})
    rules = [name for name in names if name.startswith("catcher_rule_")]
    others = [name for name in names if not name.startswith("catcher_rule_")]
    compare_text("surface/metrics_of_rules.txt", "".join(f"{name}\n" for name in rules))
    compare_text("surface/other_metrics.txt", "".join(f"{name}\n" for name in others))
