"""The house holds: who may import whom, one importer a client library, small files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1] / "catcher"
NOUNS = {"model", "ports"}
ACTIVITIES = {"watching", "working", "alerting"}
ENGINE = {"bookkeeping", "engine", "priming", "resuming", "steps", "streams"}
ADAPTERS = {"sources", "stores", "executors", "sinks"}
MAY: dict[str, set[str]] = {
    "model": set(),
    "ports": {"model"},
    "watching": {"model"},
    "working": NOUNS,
    "alerting": NOUNS,
    "streams": NOUNS,
    "steps": NOUNS | ACTIVITIES | ENGINE,
    "engine": NOUNS | ACTIVITIES | ENGINE,
    "bookkeeping": NOUNS | ENGINE,
    "resuming": NOUNS | ACTIVITIES | ENGINE,
    "priming": NOUNS | ACTIVITIES,
    "desk_hands": NOUNS | ACTIVITIES | ENGINE,
    "hands": {"desk_hands"} | NOUNS | ACTIVITIES | ENGINE,
    "site": {"model"} | ACTIVITIES,
    "sources": NOUNS,
    "stores": NOUNS,
    "executors": NOUNS | {"working"},
    "sinks": NOUNS,
    "vitals": NOUNS,
    "client": NOUNS,
    "api": NOUNS | {"client"},
    "authoring": NOUNS | ACTIVITIES | ENGINE | {"hands", "site", "client"},
    "app": NOUNS | ACTIVITIES | ENGINE | ADAPTERS
    | {"hands", "site", "client", "vitals", "api", "authoring", "testing"},
    "cli": {"model", "ports", "app", "authoring"},
    "testing": {"model", "working", "site"},
    "doors": {"client", "app"},
    "__init__": {"model", "working", "doors"},
    "__main__": {"cli"},
}  # fmt: skip
ONE_IMPORTER = {
    "aiohttp",
    "aiokafka",
    "aiomqtt",
    "alembic",
    "apprise",
    "distributed",
    "fastapi",
    "fastavro",
    "httpx",
    "influxdb_client",
    "jinja2",
    "msgpack",
    "obstore",
    "paho",
    "pebble",
    "reactivex",
    "slack_sdk",
    "sqlglot",
    "typer",
    "urllib3",
    "uvicorn",
    "watchfiles",
    "websockets",
    "yaml",
}
SEVERAL_FILES = {"alembic", "fastapi", "typer"}
"""These are spoken by a whole room or form: routes, commands, migrations."""


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted(HOUSE.rglob("*.py")):
        parts = path.relative_to(HOUSE).with_suffix("").parts
        if parts[0] != "_site":
            yield parts[0], path, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """Full names of what a module imports; a relative import cannot be read here and fails."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            submodules = [name for name in below if is_module(name)]
            yield from submodules or [node.module or ""]


def is_module(name: str) -> bool:
    """Whether a dotted name is a file of the house."""
    path = HOUSE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_every_room_imports_only_what_it_may() -> None:
    wrong = []
    for room, path, tree in modules():
        for name in imports(tree):
            target = name.split(".")[1] if name.startswith("catcher.") else ""
            if target and target != room and target not in MAY[room]:
                wrong.append(f"{path.relative_to(HOUSE)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_executors_use_only_the_workers_side_of_working() -> None:
    for room, path, tree in modules():
        for name in imports(tree):
            if room == "executors" and name.startswith("catcher.working"):
                assert name == "catcher.working.worker", path


def test_there_are_no_import_circles() -> None:
    graph = {
        ".".join(("catcher", *path.relative_to(HOUSE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): set(imports(tree))
        for _, path, tree in modules()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name in graph and name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_each_client_library_is_imported_in_one_place() -> None:
    importers: dict[str, set[str]] = {}
    for room, path, tree in modules():
        for name in imports(tree):
            package = name.split(".")[0]
            place = room if package in SEVERAL_FILES else str(path.relative_to(HOUSE))
            importers.setdefault(package, set()).add(place)
    spread = {name: importers[name] for name in ONE_IMPORTER if len(importers.get(name, ())) > 1}
    assert not spread, spread


def test_files_and_functions_stay_small() -> None:
    large = []
    for _, path, tree in modules():
        lines = path.read_text(encoding="utf-8").count("\n")
        large += (
            [f"{path.name}: {lines} lines"]
            if lines > 330 and path.parent.name != "versions"
            else []
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                large += [f"{path.name}:{node.name}: {length} lines"] if length > 60 else []
    assert not large, "\n".join(large)
