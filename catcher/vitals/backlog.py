"""What waits to be carried out, rule by rule, and how long that will take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """The runs of one rule that go on and wait, and what its overlap has dropped.

    `spilled` of the waiting are in the ledger alone. `per_minute` were finished lately, and
    `arriving` is how many a minute came in; `drain` is the seconds until nothing would wait
    at that rate if no more came, None where nobody can say.
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
    def grows(self) -> bool:
        """Whether more comes in than is finished."""
        return self.waiting > 0 and self.arriving > self.per_minute


def drain_time(waiting: int, per_second: float) -> float | None:
    """Seconds until so many are done at a rate; None where the rate is nought."""
    if waiting == 0:
        return 0.0
    return waiting / per_second if per_second > 0 else None
