"""A site in a folder of the test's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from catcher.model.errors import SourceLocation
from catcher.site import Adapters, Site, load_site_folder

EXAMPLE_RULES = (Path(__file__).parent / "design_rules.yaml").read_text(encoding="utf-8")
"""The examples of rules as the design prints them."""

JOBS = '''
from catcher import Result, Series, job


@job
def wind_extrapolation(wind: Series, horizon: float, threshold: float) -> Result:
    """Forecast the wind."""
    return Result()


@job
def mount_jitter(azimuth: Series, elevation: Series, band: str) -> Result:
    """Measure how the mount shook."""
    return Result()


@job
def rapid_image_metrics(frame, detector: str) -> Result:
    """Measure an image."""
    return Result()


@job
def visit_summary(parts) -> Result:
    """Sum up a visit."""
    return Result()


@job
def j(wind: Series | None = None) -> Result:
    """Do nothing."""
    return Result()
'''

CATCHER_YAML = """
site: test
observations:
  exposure: {event: lsst.sal.MTCamera.logevent_endReadout, id: imageName}
"""


def write_site(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Writes a site with the jobs above; `files` add to it or replace them."""
    base: dict[str, str | bytes] = {"catcher.yaml": CATCHER_YAML, "jobs/all.py": JOBS}
    for name, content in {**base, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def load_site(
    folder: Path,
    files: Mapping[str, str | bytes],
    environ: Mapping[str, str] | None = None,
    adapters: Adapters | None = None,
) -> Site:
    """Writes and loads a site in one go; nothing of this machine's environment is seen."""
    return load_site_folder(write_site(folder, files), environ or {}, adapters)


def load_rules(folder: Path, text: str | bytes) -> Site:
    """A site whose one rule file is `rules/r.yaml`."""
    return load_site(folder, {"rules/r.yaml": text})


def list_problem_texts(site: Site) -> list[str]:
    """All problems as people read them."""
    return [str(problem) for problem in site.problems]


def list_misplaced_problems(site: Site) -> list[str]:
    """The problems whose place is no place in a file of the site."""
    return [
        str(problem)
        for problem in site.problems
        if not _is_valid_location(site.root, problem.location)
    ]


def _is_valid_location(root: Path, location: SourceLocation) -> bool:
    file, line, column = location.file, location.line, location.column
    path = root / file
    if not path.exists():
        return False
    if not path.is_file():
        return (line, column) == (1, 1)
    text = path.read_bytes().decode("utf-8-sig", "replace")
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
    return 1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) + 1
