"""One contestant of `rules.py` in a process of its own: `python -m benchmarks.contest ...`.

Says as JSON how long it took and what fired. Samples are made before the stopwatch starts, and
every contestant appends what fires to a list, which is looked at after the stopwatch has stopped.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from benchmarks.workloads import ALL, Fired, Sample, Workload
from catcher.vitals.process import spare_the_collector

Item = TypeVar("Item")


class Stopwatch:
    """Wall and processor time (of all threads) from the first sample that counts to the last."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def start(self) -> None:
        """From here on it counts. The garbage collector is set for all as `catcher run` sets it."""
        spare_the_collector()
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """All is done."""
        self.wall = time.perf_counter() - self.wall
        self.processor = time.process_time() - self.processor
        gc.unfreeze()

    def over(self, items: Sequence[Item], warm: int = 0) -> Iterable[Item]:
        """The items; the watch starts with the one at place `warm`."""
        if warm:
            return self._from(items, warm)
        self.start()
        return items

    def _from(self, items: Sequence[Item], warm: int) -> Iterator[Item]:
        yield from items[:warm]
        rest = items[warm:]
        self.start()
        yield from rest


Contestant = Callable[[Workload, list[Sample], Stopwatch], list[Fired]]


def checksum(fired: Iterable[Fired]) -> str:
    """The same for the same firings, in whatever order they were found."""
    return hashlib.blake2b(repr(sorted(fired)).encode(), digest_size=8).hexdigest()


def contestant(name: str) -> Contestant:
    """A contestant by name. A peer's process needs nothing of ours but the samples."""
    from benchmarks import peers

    if name in peers.CONTESTANTS:
        return peers.CONTESTANTS[name]
    from benchmarks import ours

    return ours.CONTESTANTS[name]


def run(name: str, workload: Workload, count: int) -> dict[str, object]:
    """One contestant over the first `count` samples."""
    samples, watch = workload.samples(count), Stopwatch()
    fired = contestant(name)(workload, samples, watch)
    return {
        "events": count - workload.warm,
        "wall": watch.wall,
        "processor": watch.processor,
        "fired": len(fired),
        "checksum": checksum(fired),
    }


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[2], ALL[sys.argv[1]], int(sys.argv[3]))))
