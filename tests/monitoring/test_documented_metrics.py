"""Each metric that the documentation or a deployment file names is on a real `/metrics`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitoring.prometheus_parser import parse_page
from tests.sample_site import WIND, ThreadedEngine, engine_in_thread, write_site

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\b(?:catcher|process)_(?:[a-z0-9_]|\{[a-z0-9_,]+\}(?=[_`{]))+")
SETTINGS = """
site: small
observations:
  exposure: {{event: readout, id: image, image: "{folder}/{{id}}/{{detector}}.txt"}}
"""
RULES = f"""
{WIND}
---
rule: images
trigger: {{event: readout, once_per: image}}
job:
  run: measure
  inputs: {{frame: {{image: exposure}}}}
  each: detector
  gather: {{run: total}}
---
rule: late
trigger: {{event: number}}
job: {{run: double, deadline: 1ms, overlap: skip}}
"""
JOBS = '''
"""Jobs that run on the loop, so that no worker process has to start."""

import asyncio
from pathlib import Path

from catcher import Event, Result, job


@job
async def measure(frame: Path) -> Result:
    return Result({"level": float(frame.read_text())})


@job
async def total(parts) -> Result:
    return Result({"count": len(parts)})


@job
async def double(event: Event) -> Result:
    await asyncio.sleep(0.01)
    return Result({"doubled": 2.0 * event.fields["value"]})
'''


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedEngine]:
    folder = tmp_path_factory.mktemp("metrics")
    settings = SETTINGS.format(folder=folder)
    site = write_site(folder / "site", RULES, settings=settings, jobs=JOBS)
    (folder / "one").mkdir()
    (folder / "one" / "R00.txt").write_text("1")
    with engine_in_thread(site, folder / "data") as running:
        running.post_event("wind", mast="a", speed=12)
        running.post_event("number", value=1)
        running.post_event("readout", image="one")
        running.wait_for_run(rule="images", state="done")
        running.wait_for_run(rule="late", state="done")
        running.wait_until(lambda: running.get("/alerts"), "the alert")
        yield running


def expand_braces(name: str) -> list[str]:
    """The names that `a_{b,c}_d` stands for, as a shell expands it."""
    match = re.search(r"\{([a-z0-9_,]+)\}", name)
    if match is None:
        return [name]
    head, tail = name[: match.start()], name[match.end() :]
    return [full for word in match[1].split(",") for full in expand_braces(head + word + tail)]


def find_documented_names(text: str) -> set[str]:
    # A label in braces follows the whole name; only braces inside a name stand for several.
    names = (re.sub(r"\{[a-z0-9_,]+\}$", "", match[0]) for match in NAME.finditer(text))
    return {full for name in names for full in expand_braces(name) if not full.endswith("_")}


def list_documents() -> list[Path]:
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*")]
    return sorted(file for file in files if file.is_file())


def test_braces_inside_a_name_stand_for_several_names() -> None:
    text = "`catcher_runs_{queued,spilled}{rule}`, `catcher_a_{b,c}_total{source,state}`"
    assert find_documented_names(text) == {
        "catcher_runs_queued", "catcher_runs_spilled", "catcher_a_b_total", "catcher_a_c_total",
    }  # fmt: skip


def test_each_documented_metric_is_on_the_page(engine: ThreadedEngine) -> None:
    page = parse_page(engine.request("GET", "/metrics").text)
    documented = {
        name: file.name
        for file in list_documents()
        for name in find_documented_names(file.read_text(encoding="utf-8", errors="replace"))
    }
    assert len(documented) > 50
    missing = {name: file for name, file in documented.items() if name not in page.kinds}
    assert not missing, missing


def test_each_metric_on_the_page_is_documented(engine: ThreadedEngine) -> None:
    page = parse_page(engine.request("GET", "/metrics").text)
    documented = find_documented_names((ROOT / "docs" / "operations.md").read_text("utf-8"))
    assert set(page.kinds) <= documented, set(page.kinds) - documented
