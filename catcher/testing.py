"""Support for tests of a site's jobs: the job function itself, to be called with arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from catcher.jobs.loader import load_job_function
from catcher.jobs.registry import Registry
from catcher.site.lookup import find_site


def load_job(name: str, site: str | Path | None = None) -> Callable[..., Any]:
    """Returns the function of a job as written: no engine, no event loop, no worker.

    The site is the given one, else found as `catcher` does. Raises CatcherError if there is no
    such site or job, naming the closest match.

        wind_extrapolation = load_job("wind_extrapolation")
        result = wind_extrapolation(Series(time, {"speed": speed}), 600.0, 15.0)
    """
    registry, _ = Registry.load(find_site(site) / "jobs")
    return load_job_function(registry.get_address(name))
