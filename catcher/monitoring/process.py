"""The resource usage of this process: memory, open files, CPU time."""

from __future__ import annotations

import gc
import os
import resource
from dataclasses import dataclass
from pathlib import Path

GC_THRESHOLD = 5_000
"""New objects between two garbage collections; the default of 700 is for scripts."""


def tune_garbage_collector() -> None:
    """Freezes the existing objects, so that they need not be scanned again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Bytes of resident memory, open and allowed file descriptors, seconds of CPU time.

    None if the system does not provide it.
    """

    memory: int | None
    open_files: int | None
    max_files: int | None
    cpu: float


def read_process_usage() -> ProcessUsage:
    """Returns the usage of this process. Workers are separate processes and not included."""
    times = os.times()
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    max_files = soft_limit if soft_limit != resource.RLIM_INFINITY else None
    return ProcessUsage(
        _read_resident_memory(), _count_open_files(), max_files, times.user + times.system
    )


def _read_resident_memory() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def _count_open_files() -> int | None:
    try:
        # Listing the folder opens one itself.
        return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208
    except OSError:
        return None
