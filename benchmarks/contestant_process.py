"""One contestant of `rules.py` in a process of its own: `python -m benchmarks.contestant_process
...`.

Says as JSON how long it took and what fired. Samples are made before the stopwatch starts, and
every contestant appends what fires to a list, which is looked at after the stopwatch has stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable

from benchmarks.stopwatch import Contestant, Stopwatch
from benchmarks.workloads import ALL, FiredRule, Workload


def compute_checksum(fired: Iterable[FiredRule]) -> str:
    """The same for the same firings, in whatever order they were found."""
    return hashlib.blake2b(repr(sorted(fired)).encode(), digest_size=8).hexdigest()


def find_contestant(name: str) -> Contestant:
    """A contestant by name. A peer's process needs nothing of ours but the samples."""
    from benchmarks import peers

    if name in peers.CONTESTANTS:
        return peers.CONTESTANTS[name]
    from benchmarks import catcher_rules

    return catcher_rules.CONTESTANTS[name]


def run_contestant(name: str, workload: Workload, count: int) -> dict[str, object]:
    """One contestant over the first `count` samples."""
    samples, stopwatch = workload.generate_samples(count), Stopwatch()
    fired = find_contestant(name)(workload, samples, stopwatch)
    return {
        "events": count - workload.warmup_count,
        "wall": stopwatch.wall,
        "processor": stopwatch.processor,
        "fired": len(fired),
        "checksum": compute_checksum(fired),
    }


if __name__ == "__main__":
    print(json.dumps(run_contestant(sys.argv[2], ALL[sys.argv[1]], int(sys.argv[3]))))
