"""Whether the engine lives: its own loop takes steps, or turns idly, and has done so lately."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Literal

from catcher.vitals.recent import Recent, Seconds

Phase = Literal["starting", "standing by", "restoring", "running", "stopping"]
PATIENCE = 15.0
"""Seconds without a turn after which a running engine counts as hung; idle, it turns each one."""


class Pulse:
    """The engine's signs of life (`ports.Vitals`), and the phase that it is in.

    `seconds` is a clock that only goes forward. While the engine starts, restores its state,
    stands by or stops, it need not turn.
    """

    def __init__(self, seconds: Seconds = time.monotonic, patience: float = PATIENCE) -> None:
        self._seconds, self._patience = seconds, patience
        self._last = seconds()
        self.phase: Phase = "starting"
        self.words = ""
        self.turns = 0
        self.commits = Recent(seconds)

    def become(self, phase: Phase, words: str = "") -> None:
        """A new phase, with what there is to say of it."""
        self.phase, self.words = phase, words
        self._last = self._seconds()

    def turn(self) -> None:
        """The engine's loop has come round; the first turn ends the restoring of its state."""
        self.turns += 1
        self._last = self._seconds()
        if self.phase in ("starting", "restoring"):
            self.phase, self.words = "running", ""

    def committing(self) -> _Commit:
        """Measures a commit for as long as the context lasts."""
        return _Commit(self.commits, self._seconds)

    @property
    def silence(self) -> float:
        """Seconds since the last turn."""
        return self._seconds() - self._last

    def stalled(self) -> str:
        """Why the engine counts as hung; empty where it does not."""
        if self.phase != "running" or self.silence <= self._patience:
            return ""
        return f"the engine's loop has not turned for {self.silence:.0f} s"


class _Commit:
    def __init__(self, commits: Recent, seconds: Seconds) -> None:
        self._commits, self._seconds = commits, seconds
        self._begun = seconds()

    def __enter__(self) -> None:
        self._begun = self._seconds()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._commits.add(self._seconds() - self._begun)
