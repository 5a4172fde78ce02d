"""What a rule does while the cluster is unavailable: pure decisions.

critical: true                 # its runs are executed on the engine's machine meanwhile
degraded:
  detectors: [R22_S11]         # of a run in parts only these are, critical or not
  metrics: [psf_fwhm]          # passed to the job, if it takes `metrics`
  rest: wait                   # the others: run later (wait), or never (skip)
"""

from __future__ import annotations

from collections.abc import Sequence

from catcher.model.rule import JobSpec

DETECTORS_KEY, REST_KEY = "detectors", "rest"
SKIP_POLICY = "skip"
REASON_SKIPPED = (
    "the cluster was away, and its rule says to leave it out then (degraded: {rest: skip})"
)
REASON_DEFERRED = "the cluster was away: it is done when that is back"


def can_run_locally(spec: JobSpec, part: str = "") -> bool:
    """Whether a run, or a part of one, is executed on this machine while the cluster is
    unavailable."""
    detectors = spec.degraded.get(DETECTORS_KEY, ())
    return part in detectors if detectors and part else spec.critical or bool(detectors)


def should_skip_instead_of_defer(spec: JobSpec) -> bool:
    """Whether what is not executed here is skipped rather than run later."""
    return SKIP_POLICY in spec.degraded.get(REST_KEY, ())


def get_degraded_metrics(spec: JobSpec) -> Sequence[str] | None:
    """Returns the metrics that suffice while the cluster is unavailable; None for all."""
    return spec.degraded.get("metrics") or None
