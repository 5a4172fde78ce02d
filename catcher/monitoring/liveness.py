"""Whether the engine is alive: its own loop has iterated recently, working or idle."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Literal

from catcher.monitoring.sliding_statistics import MonotonicClock, SlidingQuantiles

EnginePhase = Literal["starting", "standing by", "restoring", "running", "stopping"]
STALL_TIMEOUT = 15.0
"""Seconds without an iteration until a running engine is hung; idle, it has one each second."""


class Liveness:
    """The engine's liveness (an `engine.unit_of_work.LoopMonitor`), and its phase.

    `monotonic` is a clock that only goes forward. While the engine starts, restores its state,
    stands by or stops, its loop need not iterate.
    """

    def __init__(
        self, monotonic: MonotonicClock = time.monotonic, stall_timeout: float = STALL_TIMEOUT
    ) -> None:
        self._monotonic, self._stall_timeout = monotonic, stall_timeout
        self._last_iteration = monotonic()
        self.phase: EnginePhase = "starting"
        self.phase_detail = ""
        self.iterations = 0
        self.commit_durations = SlidingQuantiles(monotonic)

    def set_phase(self, phase: EnginePhase, detail: str = "") -> None:
        """Sets a new phase, with optional details."""
        self.phase, self.phase_detail = phase, detail
        self._last_iteration = self._monotonic()

    def record_iteration(self) -> None:
        """Records an iteration of the engine's loop; the first one ends the restoring phase."""
        self.iterations += 1
        self._last_iteration = self._monotonic()
        if self.phase in ("starting", "restoring"):
            self.phase, self.phase_detail = "running", ""

    def measure_commit(self) -> _CommitTimer:
        """Measures a commit for as long as the context lasts."""
        return _CommitTimer(self.commit_durations, self._monotonic)

    @property
    def seconds_since_iteration(self) -> float:
        """Seconds since the last iteration."""
        return self._monotonic() - self._last_iteration

    def describe_stall(self) -> str:
        """Returns why the engine counts as hung; empty if it does not."""
        if self.phase != "running" or self.seconds_since_iteration <= self._stall_timeout:
            return ""
        return f"the engine's loop has not turned for {self.seconds_since_iteration:.0f} s"


class _CommitTimer:
    def __init__(self, durations: SlidingQuantiles, monotonic: MonotonicClock) -> None:
        self._durations, self._monotonic = durations, monotonic
        self._started = monotonic()

    def __enter__(self) -> None:
        self._started = self._monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._durations.add(self._monotonic() - self._started)
