"""Sites whose content is a few job files, written by the test that reads them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from catcher.jobs import Registry
from catcher.model.run import JobCall
from catcher.model.time import SECOND

IMPORTS = "from catcher import Event, Field, Metric, Observation, Result, Series, job\n"


def write_jobs(site: Path, **files: str) -> Path:
    """Writes `jobs/NAME.py` for each file; `lib__NAME` goes to `jobs/lib/`. Returns `jobs/`."""
    for name, text in files.items():
        path = site / "jobs" / f"{name.replace('lib__', 'lib/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(IMPORTS + dedent(text))
    return site / "jobs"


def load_registry(site: Path, **files: str) -> Registry:
    """The registry of a site with these job files, in which nothing is wrong."""
    registry, problems = Registry.load(write_jobs(site, **files))
    assert problems == []
    return registry


def create_call(registry: Registry, name: str, **arguments: object) -> JobCall:
    """A call of a job."""
    return JobCall("run", registry.get_address(name), arguments, 30 * SECOND)
