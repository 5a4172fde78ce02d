"""What a rule says of the time when the cluster is away: pure decisions.

critical: true                 # its runs are done on the engine's machine meanwhile
degraded:
  detectors: [R22_S11]         # of a run in parts only these are, critical or not
  metrics: [psf_fwhm]          # told to the job, if it takes `metrics`
  rest: wait                   # what is not done meanwhile: done later, or left out (skip)
"""

from __future__ import annotations

from collections.abc import Sequence

from catcher.model.rule import JobSpec

DETECTORS, REST = "detectors", "rest"
SKIP = "skip"
SKIPPED = "the cluster was away, and its rule says to leave it out then (degraded: {rest: skip})"
LEFT = "the cluster was away: it is done when that is back"


def runs_here(spec: JobSpec, part: str = "") -> bool:
    """Whether a run, or a part of one, is done on this machine while the cluster is away."""
    chosen = spec.degraded.get(DETECTORS, ())
    return part in chosen if chosen and part else spec.critical or bool(chosen)


def skips(spec: JobSpec) -> bool:
    """Whether what is not done here is left out, and not done later."""
    return SKIP in spec.degraded.get(REST, ())


def metrics_wanted(spec: JobSpec) -> Sequence[str] | None:
    """To which metrics a job may keep while the cluster is away; None where to all."""
    return spec.degraded.get("metrics") or None
