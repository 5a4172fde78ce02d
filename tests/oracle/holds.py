"""Unbroken truths in a list of samples: where they hold, and where a condition is crossed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tests.oracle.functions import UNKNOWN, Unknown


class Held(NamedTuple):
    """An instant at which a truth has been held long enough; samples come before timers.

    `place` is the sample that it happens at or, for a timer, the latest sample by then.
    """

    time: int
    timer: bool
    place: int


@dataclass(frozen=True)
class Truth:
    """The truth of a condition at each sample, and how long it has to hold.

    `times` are the samples' instants in nanoseconds, in order; `hold` None asks for no holding.
    Nobody watched between the two instants of a pause: silence counts from its end.
    """

    values: Sequence[Any]
    times: Sequence[int]
    hold: int | None
    stale_after: int
    end: int
    pauses: Sequence[tuple[int, int]] = ()

    def since(self, place: int) -> Truth:
        """The same with nothing known before a sample."""
        return replace(self, values=[UNKNOWN] * place + list(self.values[place:]))

    def after(self, held: Held) -> int:
        """The first place after an instant: a timer's comes after all samples of its time."""
        return bisect_right(self.times, held.time) if held.timer else held.place + 1

    def unbroken(self) -> Iterator[tuple[list[int], int | None]]:
        """Each unbroken truth: the indices of its samples, and that of the false one after it."""
        run: list[int] = []
        for index, value in enumerate(self.values):
            if isinstance(value, Unknown):
                continue
            silent = bool(run) and self._too_long(self.times[run[-1]], self.times[index])
            if run and (value is False or silent):
                yield run, index
                run = []
            if value is True:
                run.append(index)
        if run:
            yield run, None

    def held(self) -> Iterator[Held]:
        """Every instant at which the condition holds, as long as asked, and something happens."""
        if self.hold is None:
            for index, value in enumerate(self.values):
                if value is True:
                    yield Held(self.times[index], False, index)
            return
        for run, broken_by in self.unbroken():
            yield from self._held_in(run, broken_by, self.hold)

    def _held_in(self, run: list[int], broken_by: int | None, hold: int) -> Iterator[Held]:
        due = self.times[run[0]] + hold
        by_then = [index for index in run if self.times[index] <= due]
        after = [index for index in run if self.times[index] > due]
        broken = broken_by is not None and self.times[broken_by] <= due
        silent = self._too_long(self.times[by_then[-1]], due)
        seen = due <= self.end and not any(stop < due < again for stop, again in self.pauses)
        if len(by_then) > 1 and not broken and not silent and seen:
            yield Held(due, True, bisect_right(self.times, due) - 1)
        for index in after:
            yield Held(self.times[index], False, index)

    def _too_long(self, since: int, until: int) -> bool:
        return silence(since, until, self.pauses) > self.stale_after


def silence(since: int, until: int, pauses: Sequence[tuple[int, int]]) -> int:
    """How long nothing was heard, of the time in which somebody watched at all.

    Downtime is unobserved: what came before it counts as if it had come at its end.
    """
    return until - max([since, *(again for _, again in pauses if since < again <= until)])


class Crossing(NamedTuple):
    """An armed condition came to hold (`fires`), or it was armed again, by a recovery or not."""

    time: int
    timer: bool
    place: int
    fires: bool
    recovered: bool = False


def crossings(
    when: Truth, clear: Truth, *, recovered: Sequence[int], may_fire: Callable[[Held], bool]
) -> Iterator[Crossing]:
    """Each firing and each arming after one, in order; it starts armed.

    Each waits for what comes after the one before. `recovered` are the places of samples that
    arm by themselves, and may fire at once.
    """
    since = 0
    while True:
        firing = min((h for h in when.since(since).held() if may_fire(h)), default=None)
        if firing is None:
            return
        yield Crossing(*firing, True)
        since = when.after(firing)
        armings = [(held, clear.after(held), False) for held in clear.since(since).held()]
        armings += [(Held(when.times[p], False, p), p, True) for p in recovered if p >= since]
        if not armings:
            return
        arming, since, by_recovery = min(armings)
        yield Crossing(*arming, False, by_recovery)
