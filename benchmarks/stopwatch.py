"""The time that counts, and what a contestant is."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from benchmarks.workloads import FiredRule, Sample, Workload
from catcher.monitoring.process import tune_garbage_collector

Item = TypeVar("Item")


class Stopwatch:
    """Wall and processor time (of all threads) from the first sample that counts to the last."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def start(self) -> None:
        """From here on it counts. The garbage collector is set for all as `catcher run` sets it."""
        tune_garbage_collector()
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """All is done."""
        self.wall = time.perf_counter() - self.wall
        self.processor = time.process_time() - self.processor
        gc.unfreeze()

    def measure(self, items: Sequence[Item], warmup_count: int = 0) -> Iterable[Item]:
        """The items; the watch starts with the one at place `warmup_count`."""
        if warmup_count:
            return self._measure_after_warmup(items, warmup_count)
        self.start()
        return items

    def _measure_after_warmup(self, items: Sequence[Item], warmup_count: int) -> Iterator[Item]:
        yield from items[:warmup_count]
        counted = items[warmup_count:]
        self.start()
        yield from counted


Contestant = Callable[[Workload, list[Sample], Stopwatch], list[FiredRule]]
