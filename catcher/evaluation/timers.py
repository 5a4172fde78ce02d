"""Timers of the rules: one heap per rule, and one over all rules."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from catcher.model.time import MAX_INSTANT, Instant

# The rules by their next timer: one heap over all of them.


NextDue = Callable[[str], Instant | None]
"""Returns the instant at which the next timer of a rule falls due; None if there is none."""


class RuleTimerQueue:
    """Rules by the instant at which they are checked next, which is never too late.

    Each rule is on the heap once for that instant. A timer may have moved; that is noticed when
    the instant has come, and the rule is queued again.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, str]] = []
        self._due_by_rule: dict[str, Instant] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, rule: str, due_at: Instant) -> None:
        """Schedules a rule at an instant, if that is earlier than known."""
        if due_at < self._due_by_rule.get(rule, MAX_INSTANT + 1):
            self._due_by_rule[rule] = due_at
            heappush(self._heap, (due_at, rule))

    def pop_due(self, get_due: NextDue, before: Instant) -> tuple[str, Instant] | None:
        """Removes and returns the rule with the next timer, if that is due before an instant."""
        while self._heap and self._heap[0][0] < before:
            due_at, rule = heappop(self._heap)
            if self._due_by_rule.get(rule) != due_at:
                continue
            del self._due_by_rule[rule]
            next_due_at = get_due(rule)
            if next_due_at == due_at:
                return rule, due_at
            if next_due_at is not None:
                self.schedule(rule, next_due_at)
        return None

    def find_next_due(self, get_due: NextDue) -> Instant | None:
        """Returns the next instant at which any timer falls due."""
        entry = self.pop_due(get_due, MAX_INSTANT + 1)
        if entry is None:
            return None
        self.schedule(*entry)
        return entry[1]


TimerCallback = Callable[[Instant], bool]


class Timer:
    """A timer that can be moved. `callback` returns whether it did anything.

    Of one instant and key, the lower `rank` runs first.
    """

    __slots__ = ("_timers", "callback", "due_at", "key", "queued_at", "rank")

    def __init__(self, timers: Timers, key: str, callback: TimerCallback, rank: int) -> None:
        self._timers = timers
        self.callback = callback
        self.key = key
        self.rank = rank
        self.due_at: Instant | None = None
        self.queued_at: Instant | None = None

    def set_due(self, due_at: Instant | None) -> None:
        """Moves it; None stops it."""
        self.due_at = due_at
        if due_at is not None and (self.queued_at is None or due_at < self.queued_at):
            self._timers.enqueue(self, due_at)


class Timers:
    """The timers of one rule. `on_earlier` is called when the next instant becomes earlier."""

    def __init__(self, on_earlier: Callable[[Instant], None]) -> None:
        self._entries: list[tuple[Instant, str, int, int, Timer]] = []
        self._count = 0
        self._on_earlier = on_earlier

    @property
    def has_timers(self) -> bool:
        """True if one may be set."""
        return bool(self._entries)

    def create_timer(self, key: str, callback: TimerCallback, rank: int = 0) -> Timer:
        """Returns a timer that is not set yet."""
        return Timer(self, key, callback, rank)

    def enqueue(self, timer: Timer, due_at: Instant) -> None:
        """Puts a timer on the heap."""
        timer.queued_at = due_at
        self._count += 1
        first = self._entries[0][0] if self._entries else None
        heappush(self._entries, (due_at, timer.key, timer.rank, self._count, timer))
        if first is None or due_at < first:
            self._on_earlier(due_at)

    def find_next_due(self) -> Instant | None:
        """Returns the next instant at which a timer really falls due."""
        while self._entries:
            due_at, *_, timer = self._entries[0]
            if timer.queued_at == due_at and timer.due_at == due_at:
                return due_at
            heappop(self._entries)
            if timer.queued_at == due_at:
                timer.queued_at = None
                if timer.due_at is not None:
                    self.enqueue(timer, timer.due_at)
        return None

    def next_timer_key(self) -> str:
        """Returns the key of the timer that falls due next."""
        return self._entries[0][1] if self.find_next_due() is not None else ""

    def run_next_timer(self, due_at: Instant) -> bool:
        """Runs the next timer, which is due now; True if it did anything."""
        if self.find_next_due() != due_at:
            return False
        timer = heappop(self._entries)[-1]
        timer.queued_at = timer.due_at = None
        return timer.callback(due_at)
