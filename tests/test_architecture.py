"""The architecture: what each room may import, one importer per library, small files, plain
names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "catcher"
NOUNS = {"model", "ports"}
ACTIVITIES = {"expressions", "evaluation", "jobs", "alerting"}
ADAPTERS = {"sources", "sinks", "executors", "stores", "recordings", "simulation", "transport"}
ALLOWED_IMPORTS: dict[str, set[str]] = {
    "model": set(),
    "ports": {"model"},
    "expressions": {"model"},
    "evaluation": {"model", "expressions"},
    "jobs": NOUNS,
    "alerting": NOUNS,
    "engine": NOUNS | {"evaluation", "jobs", "alerting"},
    "site": {"model"} | ACTIVITIES,
    "transport": NOUNS,
    "sources": NOUNS | {"transport"},
    "sinks": NOUNS | {"transport"},
    "executors": NOUNS | {"transport", "jobs"},
    "stores": NOUNS | {"transport"},
    "recordings": NOUNS | {"transport"},
    "simulation": NOUNS | {"transport"},
    "monitoring": NOUNS,
    "client": NOUNS,
    "api": NOUNS | {"client"},
    "authoring": NOUNS | ACTIVITIES | {"engine", "site", "client"},
    "app": NOUNS | ACTIVITIES | ADAPTERS
    | {"engine", "site", "client", "monitoring", "api", "authoring", "testing"},
    "cli": NOUNS | {"app", "authoring"},
    "testing": {"model", "jobs", "site"},
    "public": {"client", "app"},
    "__init__": {"model", "jobs", "public"},
    "__main__": {"cli"},
}  # fmt: skip
"""The rooms, in the contract's words, and what each may import; a room that is not here fails."""
SINGLE_IMPORTER_LIBRARIES = {
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
PACKAGE_WIDE_LIBRARIES = {"alembic", "fastapi", "typer"}
"""These are spoken by a whole room or form: routes, commands, migrations."""


def parse_modules() -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "_site":
            yield parts[0], path, ast.parse(path.read_text(encoding="utf-8"))


def list_imports(tree: ast.Module) -> Iterator[str]:
    """Full names of what a module imports; a relative import cannot be read here and fails."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            dotted_names = [f"{node.module}.{alias.name}" for alias in node.names]
            submodules = [name for name in dotted_names if is_module(name)]
            yield from submodules or [node.module or ""]


def is_module(name: str) -> bool:
    """Whether a dotted name is a file of the house."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_every_package_imports_only_what_is_allowed() -> None:
    violations = []
    for package, path, tree in parse_modules():
        for name in list_imports(tree):
            target = name.split(".")[1] if name.startswith("catcher.") else ""
            if target and target != package and target not in ALLOWED_IMPORTS[package]:
                violations.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not violations, "\n".join(violations)


def test_executors_import_only_the_worker_of_jobs() -> None:
    for package, path, tree in parse_modules():
        for name in list_imports(tree):
            if package == "executors" and name.startswith("catcher.jobs"):
                assert name == "catcher.jobs.worker", path


def test_there_are_no_import_cycles() -> None:
    graph = {
        ".".join(("catcher", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): set(list_imports(tree))
        for _, path, tree in parse_modules()
    }
    finished: set[str] = set()

    def visit_module(name: str, import_path: tuple[str, ...]) -> None:
        assert name not in import_path, " -> ".join((*import_path, name))
        if name in graph and name not in finished:
            for target in graph[name]:
                visit_module(target, (*import_path, name))
            finished.add(name)

    for name in graph:
        visit_module(name, ())


def test_each_client_library_is_imported_in_one_place() -> None:
    importers: dict[str, set[str]] = {}
    for folder, path, tree in parse_modules():
        for name in list_imports(tree):
            package = name.split(".")[0]
            importer = (
                folder if package in PACKAGE_WIDE_LIBRARIES else str(path.relative_to(PACKAGE))
            )
            importers.setdefault(package, set()).add(importer)
    violations = {
        name: importers[name]
        for name in SINGLE_IMPORTER_LIBRARIES
        if len(importers.get(name, ())) > 1
    }
    assert not violations, violations


def test_files_and_functions_stay_small() -> None:
    too_large = []
    for _, path, tree in parse_modules():
        lines = path.read_text(encoding="utf-8").count("\n")
        too_large += (
            [f"{path.name}: {lines} lines"]
            if lines > 500 and path.parent.name != "versions"
            else []
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                too_large += [f"{path.name}:{node.name}: {length} lines"] if length > 60 else []
    assert not too_large, "\n".join(too_large)


_WORDS = """
    open close run read write send get put start stop commit publish subscribe next main append
    add remove update delete list find fetch connect disconnect encode decode parse render
    format validate check load save restore flush reset merge copy items keys values health
    notify route match acknowledge shelve unshelve silence assign evaluate process compile
    explain schedule cancel wait retry deliver dispatch enqueue dequeue replay record register
    resolve submit execute snapshot build create handle query count mean std rms median emit
    drain acquire release renew inspect export import migrate replicate tick reload serve demo
    doctor backtest test tune fire topics tail runs show alerts audit schema preview new job
    reproduce handover note confirm unsilence silences alarms report board docs bootcamp
"""
PROTOCOL_WORDS = frozenset(_WORDS.split())
"""Functions that may be one bare word: words of protocols, and the commands of `catcher`."""
SIBLINGS = {"_QueuedCall", "Client", "SyncClient"}
"""Names that two classes share: the executors' queues, and the client behind its public form."""


def iter_functions(folder: str) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = {getattr(item, "id", getattr(item, "attr", "")) for item in node.decorator_list}
    return bool(names & {"property", "cached_property", "fixture"})


@pytest.mark.parametrize("folder", ["catcher", "jobs", "benchmarks", "tests"])
def test_few_functions_are_named_with_one_bare_word(folder: str) -> None:
    names = [
        (path.name, node.name)
        for path, node in iter_functions(folder)
        if not node.name.startswith("__") and not is_property(node)
    ]
    bare = [
        f"{file}:{name}"
        for file, name in names
        if "_" not in name.strip("_") and name.strip("_") not in PROTOCOL_WORDS
    ]
    assert len(bare) < 0.05 * len(names), f"{len(bare)} of {len(names)}: {bare}"


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, set[str]] = {}
    for _, path, tree in parse_modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, set()).add(str(path.relative_to(PACKAGE)))
    shared = {name: files for name, files in places.items() if len(files) > 1}
    assert set(shared) <= SIBLINGS, shared


def test_each_room_says_what_it_is_for() -> None:
    silent = []
    for path in sorted(PACKAGE.rglob("__init__.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if "migrations" not in path.parts and "Start with" not in text:
            silent.append(str(path.relative_to(PACKAGE)))
    assert not silent, silent
