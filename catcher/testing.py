"""For tests of a site's jobs: the function itself, to be called with arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from catcher.site.lookup import find_site
from catcher.working.loading import load
from catcher.working.registry import Registry


def load_job(name: str, site: str | Path | None = None) -> Callable[..., Any]:
    """The function of a job, as it is written: no engine, no event loop, no worker.

    The site is the one given, else looked up as `catcher` does. CatcherError where there is no
    such site or job, with the nearest name.

        wind_extrapolation = load_job("wind_extrapolation")
        result = wind_extrapolation(Series(time, {"speed": speed}), 600.0, 15.0)
    """
    registry, _ = Registry.load(find_site(site) / "jobs")
    return load(registry.address(name))
