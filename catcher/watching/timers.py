"""Instants at which something falls due, on one heap a rule."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from catcher.model.time import Instant

Act = Callable[[Instant], bool]


class Timer:
    """Something that falls due at an instant which may move. `act` says whether it did anything.

    Of one instant and key, the lower `rank` comes first.
    """

    __slots__ = ("_heap", "act", "due", "key", "queued", "rank")

    def __init__(self, heap: Timers, key: str, act: Act, rank: int) -> None:
        self._heap = heap
        self.act = act
        self.key = key
        self.rank = rank
        self.due: Instant | None = None
        self.queued: Instant | None = None

    def set(self, due: Instant | None) -> None:
        """Moves it; None stops it."""
        self.due = due
        if due is not None and (self.queued is None or due < self.queued):
            self._heap.queue(self, due)


class Timers:
    """The timers of one rule. `earlier` is told when the next instant comes closer."""

    def __init__(self, earlier: Callable[[Instant], None]) -> None:
        self._entries: list[tuple[Instant, str, int, int, Timer]] = []
        self._count = 0
        self._earlier = earlier

    @property
    def any(self) -> bool:
        """Whether one may be set."""
        return bool(self._entries)

    def timer(self, key: str, act: Act, rank: int = 0) -> Timer:
        """A timer that is not set yet."""
        return Timer(self, key, act, rank)

    def queue(self, timer: Timer, due: Instant) -> None:
        """Puts a timer in its place."""
        timer.queued = due
        self._count += 1
        first = self._entries[0][0] if self._entries else None
        heappush(self._entries, (due, timer.key, timer.rank, self._count, timer))
        if first is None or due < first:
            self._earlier(due)

    def next(self) -> Instant | None:
        """The next instant at which a timer truly falls due."""
        while self._entries:
            due, *_, timer = self._entries[0]
            if timer.queued == due and timer.due == due:
                return due
            heappop(self._entries)
            if timer.queued == due:
                timer.queued = None
                if timer.due is not None:
                    self.queue(timer, timer.due)
        return None

    def next_key(self) -> str:
        """The key of the timer that falls due next."""
        return self._entries[0][1] if self.next() is not None else ""

    def run(self, due: Instant) -> bool:
        """Runs the timer that is next, which falls due now; whether it did anything."""
        if self.next() != due:
            return False
        timer = heappop(self._entries)[-1]
        timer.queued = timer.due = None
        return timer.act(due)
