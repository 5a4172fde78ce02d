"""The time that counts, and what a contestant is."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from benchmarks.workloads import Fired, Sample, Workload
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
