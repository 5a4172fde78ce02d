"""Every sample configuration of a sink, in a docstring, the docs and the shipped routes, loads."""

from __future__ import annotations

import importlib
import re
import textwrap
from pathlib import Path

import pytest

from catcher.app import SETTINGS
from catcher.app.sink_kinds import SINKS
from catcher.site import load

REPOSITORY = Path(__file__).parents[2]
SHIPPED = REPOSITORY / "alerts"
_SECRET = re.compile(r"\$\{(\w+)\}")


def problems(folder: Path, routes: str) -> list[str]:
    """What the loader says of some routes; every secret that they name is there."""
    environ = dict.fromkeys(_SECRET.findall(routes), "whisper1234")
    (folder / "alerts/sinks").mkdir(parents=True)
    (folder / "catcher.yaml").write_text("site: a")
    (folder / "alerts/routes.yaml").write_text(routes)
    for name in ("journal", "pager"):
        (folder / f"alerts/sinks/{name}.py").write_text((SHIPPED / "sinks/journal.py").read_text())
    return [str(one) for one in load(folder, environ, SETTINGS).problems]


def routed(sinks: str) -> str:
    """Some sinks, with a route to the console."""
    text = textwrap.dedent(sinks)
    text = text if text.startswith("sinks:") else "sinks:\n" + textwrap.indent(text, "  ")
    return text + ("" if "route:" in text else "\nroute: {to: [console]}\n")


@pytest.mark.parametrize("kind", [*SINKS, "custom"])
def test_the_sample_of_a_docstring(tmp_path: Path, kind: str) -> None:
    words = importlib.import_module(f"catcher.sinks.{kind}").__doc__ or ""
    sample = words.partition("# alerts/routes.yaml\n")[2]
    lines = sample.splitlines()
    end = next(n for n, line in enumerate(lines) if line and not line.startswith("    "))
    text = textwrap.dedent("\n".join(lines[:end]))
    text = text.replace("sinks:\n", "sinks:\n  console: {}\n") if "console:" not in text else text
    assert problems(tmp_path, routed(text)) == []


def samples() -> list[str]:
    text = (REPOSITORY / "docs" / "sinks.md").read_text()
    return re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("sample", samples(), ids=lambda text: text.split(":")[0])
def test_the_samples_of_the_docs(tmp_path: Path, sample: str) -> None:
    text = routed(sample)
    text = text.replace("sinks:\n", "sinks:\n  console: {}\n") if "console:" not in text else text
    assert problems(tmp_path, text) == []


def test_the_samples_of_the_shipped_routes(tmp_path: Path) -> None:
    """With every comment of the form `#   key: …` taken away, the file is still right."""
    lines = (SHIPPED / "routes.yaml").read_text().splitlines()
    text = "\n".join(re.sub(r"^  # (?=[ \w-])", "  ", line) for line in lines)
    assert "night-mail:" in text
    found = problems(tmp_path, text)
    assert [one for one in found if "there is no rule 'dome-closed'" not in one] == []
