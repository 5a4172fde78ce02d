"""One contestant of `images.py` in a process of its own: `python -m
benchmarks.image_contestant_process ...`.

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
MeasureFunction = Callable[[Path], dict[str, float]]
CATCHER, CATCHER_BINNED = "catcher", "catcher, binning 2"
PHOTUTILS, PHOTUTILS_PLAIN = "photutils", "photutils, without deblending"


def find_contestant(name: str) -> MeasureFunction:
    """A contestant by name."""
    if name in (PHOTUTILS, PHOTUTILS_PLAIN):
        from benchmarks.peers.photutils_images import measure_image

        return lambda path: measure_image(path, name == PHOTUTILS)
    from catcher.testing import load_job

    job = load_job("rapid_image_metrics", SITE)

    def measure_with_catcher(path: Path) -> dict[str, float]:
        result = job(path, binning=2 if name == CATCHER_BINNED else 1)
        values = {key: getattr(metric, "value", metric) for key, metric in result.metrics.items()}
        return {key: value for key, value in values.items() if value is not None}

    return measure_with_catcher


def run_contestant(name: str, path: Path, repetitions: int) -> dict[str, object]:
    """The first time warms caches and imports, and is not counted."""
    measure = find_contestant(name)
    values = measure(path)
    durations = []
    for _ in range(repetitions):
        start = time.process_time()
        measure(path)
        durations.append(time.process_time() - start)
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"took": durations, "memory": peak_memory, "found": values}


if __name__ == "__main__":
    print(json.dumps(run_contestant(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
