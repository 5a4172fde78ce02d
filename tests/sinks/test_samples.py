"""Every sample configuration of a sink, in a docstring, the docs and the shipped routes, loads."""

from __future__ import annotations

import importlib
import re
import textwrap
from pathlib import Path

import pytest

from catcher.app import SETTINGS_CLASSES
from catcher.app.sink_registry import SINK_KINDS
from catcher.site import load_site_folder

REPOSITORY = Path(__file__).parents[2]
SHIPPED = REPOSITORY / "alerts"
_SECRET = re.compile(r"\$\{(\w+)\}")


def list_problems(folder: Path, routes: str) -> list[str]:
    """What the loader says of some routes; every secret that they name is there."""
    environ = dict.fromkeys(_SECRET.findall(routes), "whisper1234")
    (folder / "alerts/sinks").mkdir(parents=True)
    (folder / "catcher.yaml").write_text("site: a")
    (folder / "alerts/routes.yaml").write_text(routes)
    for name in ("journal", "pager"):
        (folder / f"alerts/sinks/{name}.py").write_text((SHIPPED / "sinks/journal.py").read_text())
    return [
        str(problem) for problem in load_site_folder(folder, environ, SETTINGS_CLASSES).problems
    ]


def add_route(sinks: str) -> str:
    """Some sinks, with a route to the console."""
    text = textwrap.dedent(sinks)
    text = text if text.startswith("sinks:") else "sinks:\n" + textwrap.indent(text, "  ")
    return text + ("" if "route:" in text else "\nroute: {to: [console]}\n")


@pytest.mark.parametrize("kind", [*SINK_KINDS, "custom"])
def test_the_sample_of_a_docstring(tmp_path: Path, kind: str) -> None:
    docstring = importlib.import_module(f"catcher.sinks.{kind}").__doc__ or ""
    sample = docstring.partition("# alerts/routes.yaml\n")[2]
    lines = sample.splitlines()
    end = next(n for n, line in enumerate(lines) if line and not line.startswith("    "))
    text = textwrap.dedent("\n".join(lines[:end]))
    text = text.replace("sinks:\n", "sinks:\n  console: {}\n") if "console:" not in text else text
    assert list_problems(tmp_path, add_route(text)) == []


def find_samples() -> list[str]:
    text = (REPOSITORY / "docs" / "sinks.md").read_text()
    return re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("sample", find_samples(), ids=lambda text: text.split(":")[0])
def test_the_samples_of_the_docs(tmp_path: Path, sample: str) -> None:
    text = add_route(sample)
    text = text.replace("sinks:\n", "sinks:\n  console: {}\n") if "console:" not in text else text
    assert list_problems(tmp_path, text) == []


def test_the_samples_of_the_shipped_routes(tmp_path: Path) -> None:
    """With every comment of the form `#   key: …` taken away, the file is still right."""
    lines = (SHIPPED / "routes.yaml").read_text().splitlines()
    text = "\n".join(re.sub(r"^  # (?=[ \w-])", "  ", line) for line in lines)
    assert "night-mail:" in text
    problems = list_problems(tmp_path, text)
    assert [
        problem for problem in problems if "there is no rule 'dome-closed'" not in problem
    ] == []
