"""Firings become results: registry of jobs, run scheduler, inputs, artifact codecs, fan-out.

Start with `scheduler.py` (which run is next), then `runner.py` (one run) and `worker.py` (the
worker's side of a call).
"""

from catcher.jobs.observations import Observations
from catcher.jobs.registry import Registry
from catcher.jobs.resequencer import Resequencer
from catcher.jobs.scheduler import RunScheduler

__all__ = ["Observations", "Registry", "Resequencer", "RunScheduler"]
