"""What the operating system says of this process: memory, open files, time on the processor."""

from __future__ import annotations

import gc
import os
import resource
from dataclasses import dataclass
from pathlib import Path

YOUNG = 5_000
"""New objects between two looks of the garbage collector; its default of 700 is for scripts."""


def spare_the_collector() -> None:
    """What is there by now stays, so it need not be looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)


@dataclass(frozen=True, slots=True)
class Process:
    """Bytes of resident memory, open and allowed file descriptors, seconds of processor time.

    None where the system does not tell.
    """

    memory: int | None
    files: int | None
    most_files: int | None
    cpu: float


def look() -> Process:
    """This process now. Workers are processes of their own and not in it."""
    times = os.times()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = soft if soft != resource.RLIM_INFINITY else None
    return Process(_memory(), _files(), most, times.user + times.system)


def _memory() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def _files() -> int | None:
    try:
        # The listing itself holds one open.
        return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208
    except OSError:
        return None
