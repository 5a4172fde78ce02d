"""The backlog of each rule, and how long it will take to drain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """The running and waiting runs of one rule, and those its overlap has dropped.

    `spilled` of the waiting ones are only in the ledger. `per_minute` is the recent rate of
    finished runs, `arriving` that of new ones; `drain` is the seconds until none would wait at that
    rate if no more came, None if unknown.
    """

    rule: str
    overlap: str
    running: int
    waiting: int
    spilled: int
    dropped: int
    per_minute: float = 0.0
    arriving: float = 0.0
    drain: float | None = None

    @property
    def is_growing(self) -> bool:
        """Whether runs arrive faster than they finish."""
        return self.waiting > 0 and self.arriving > self.per_minute


def estimate_drain_time(waiting: int, per_second: float) -> float | None:
    """Returns the seconds until `waiting` runs are done at a rate; None if the rate is 0."""
    if waiting == 0:
        return 0.0
    return waiting / per_second if per_second > 0 else None
