"""Unbroken truths in a list of samples: where they hold, and where a condition is crossed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tests.oracle.functions import UNKNOWN, UnknownType


class HoldCompletion(NamedTuple):
    """An instant at which a truth has been held long enough; samples come before timers.

    `sample_index` is the sample that it happens at or, for a timer, the latest sample by then.
    """

    time: int
    is_timer: bool
    sample_index: int


@dataclass(frozen=True)
class TruthSeries:
    """The truth of a condition at each sample, and how long it has to hold.

    `times` are the samples' instants in nanoseconds, in order; `hold` None asks for no holding.
    Nobody watched between the two instants of a pause: silence counts from its end.
    """

    values: Sequence[Any]
    times: Sequence[int]
    hold: int | None
    stale_after: int
    end: int
    downtimes: Sequence[tuple[int, int]] = ()

    def mask_before(self, index: int) -> TruthSeries:
        """The same with nothing known before a sample."""
        return replace(self, values=[UNKNOWN] * index + list(self.values[index:]))

    def next_index(self, completion: HoldCompletion) -> int:
        """The first place after an instant: a timer's comes after all samples of its time."""
        return (
            bisect_right(self.times, completion.time)
            if completion.is_timer
            else completion.sample_index + 1
        )

    def iter_streaks(self) -> Iterator[tuple[list[int], int | None]]:
        """Each unbroken truth: the indices of its samples, and that of the false one after it."""
        streak: list[int] = []
        for index, value in enumerate(self.values):
            if isinstance(value, UnknownType):
                continue
            is_silent = bool(streak) and self._is_stale_gap(
                self.times[streak[-1]], self.times[index]
            )
            if streak and (value is False or is_silent):
                yield streak, index
                streak = []
            if value is True:
                streak.append(index)
        if streak:
            yield streak, None

    def iter_completions(self) -> Iterator[HoldCompletion]:
        """Every instant at which the condition holds, as long as asked, and something happens."""
        if self.hold is None:
            for index, value in enumerate(self.values):
                if value is True:
                    yield HoldCompletion(self.times[index], False, index)
            return
        for streak, broken_by in self.iter_streaks():
            yield from self._complete_streak(streak, broken_by, self.hold)

    def _complete_streak(
        self, streak: list[int], broken_by: int | None, hold: int
    ) -> Iterator[HoldCompletion]:
        due = self.times[streak[0]] + hold
        indexes_by_due = [index for index in streak if self.times[index] <= due]
        indexes_after_due = [index for index in streak if self.times[index] > due]
        is_broken = broken_by is not None and self.times[broken_by] <= due
        is_silent = self._is_stale_gap(self.times[indexes_by_due[-1]], due)
        is_observed = due <= self.end and not any(
            stopped < due < resumed for stopped, resumed in self.downtimes
        )
        if len(indexes_by_due) > 1 and not is_broken and not is_silent and is_observed:
            yield HoldCompletion(due, True, bisect_right(self.times, due) - 1)
        for index in indexes_after_due:
            yield HoldCompletion(self.times[index], False, index)

    def _is_stale_gap(self, since: int, until: int) -> bool:
        return compute_silence(since, until, self.downtimes) > self.stale_after


def compute_silence(since: int, until: int, downtimes: Sequence[tuple[int, int]]) -> int:
    """How long nothing was heard, of the time in which somebody watched at all.

    Downtime is unobserved: what came before it counts as if it had come at its end.
    """
    return until - max([since, *(resumed for _, resumed in downtimes if since < resumed <= until)])


class EdgeTransition(NamedTuple):
    """An armed condition came to hold (`fires`), or it was armed again, by a recovery or not."""

    time: int
    is_timer: bool
    sample_index: int
    fires: bool
    is_recovery: bool = False


def iter_transitions(
    when: TruthSeries,
    clear: TruthSeries,
    *,
    recovery_indexes: Sequence[int],
    can_fire: Callable[[HoldCompletion], bool],
) -> Iterator[EdgeTransition]:
    """Each firing and each arming after one, in order; it starts armed.

    Each waits for what comes after the one before. `recovery_indexes` are the places of samples
    that arm by themselves, and may fire at once.
    """
    start_index = 0
    while True:
        firing = min(
            (
                completion
                for completion in when.mask_before(start_index).iter_completions()
                if can_fire(completion)
            ),
            default=None,
        )
        if firing is None:
            return
        yield EdgeTransition(*firing, True)
        start_index = when.next_index(firing)
        rearmings = [
            (completion, clear.next_index(completion), False)
            for completion in clear.mask_before(start_index).iter_completions()
        ]
        rearmings += [
            (HoldCompletion(when.times[index], False, index), index, True)
            for index in recovery_indexes
            if index >= start_index
        ]
        if not rearmings:
            return
        rearming, start_index, is_recovery = min(rearmings)
        yield EdgeTransition(*rearming, False, is_recovery)
