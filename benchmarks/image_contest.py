"""One contestant of `images.py` in a process of its own: `python -m benchmarks.image_contest ...`.

Measures the same file again and again and says as JSON how long each time took (processor time of
all threads), what it found, and the most memory that it ever held.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

SITE = Path(__file__).resolve().parents[1]
Measure = Callable[[Path], dict[str, float]]
CATCHER, BINNED = "catcher", "catcher, binning 2"
PHOTUTILS, PLAIN = "photutils", "photutils, without deblending"


def contestant(name: str) -> Measure:
    """A contestant by name."""
    if name in (PHOTUTILS, PLAIN):
        from benchmarks.peers.photutils_images import measure

        return lambda path: measure(path, name == PHOTUTILS)
    from catcher.testing import load_job

    job = load_job("rapid_image_metrics", SITE)

    def ours(path: Path) -> dict[str, float]:
        result = job(path, binning=2 if name == BINNED else 1)
        values = {key: getattr(metric, "value", metric) for key, metric in result.metrics.items()}
        return {key: value for key, value in values.items() if value is not None}

    return ours


def run(name: str, path: Path, times: int) -> dict[str, object]:
    """The first time warms caches and imports, and is not counted."""
    measure = contestant(name)
    found = measure(path)
    took = []
    for _ in range(times):
        begun = time.process_time()
        measure(path)
        took.append(time.process_time() - begun)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"took": took, "memory": most, "found": found}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
