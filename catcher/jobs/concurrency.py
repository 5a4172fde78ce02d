"""What happens to a rule's firings while an earlier run is active: pure decisions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from catcher.model.rule import OverlapPolicy

REASON_REPLACED = "a newer firing took its place (overlap: latest)"
REASON_STILL_RUNNING = "an earlier run was still going on (overlap: skip)"


@dataclass(frozen=True, slots=True)
class QueueDecision:
    """The runs to start now, and those to drop, each with the reason."""

    start: tuple[str, ...] = ()
    drop: tuple[tuple[str, str], ...] = ()


class ConcurrencyQueue:
    """The run ids of one rule: running, waiting, and the number dropped.

    `queue` runs one at a time, in order, and loses nothing; `parallel(N)` runs N at a time;
    `latest` keeps one waiting, the newest; `skip` keeps none.
    """

    def __init__(self, overlap: OverlapPolicy) -> None:
        self._overlap = overlap
        self._running: set[str] = set()
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self.dropped_count = 0

    @property
    def running_count(self) -> int:
        """The number of running runs."""
        return len(self._running)

    @property
    def waiting_count(self) -> int:
        """The number of waiting runs."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[str]:
        """Iterates over the waiting runs, in order."""
        return iter(self._waiting)

    @property
    def policy_text(self) -> str:
        """The overlap policy as a rule writes it: `queue`, `parallel(4)`."""
        kind, width = self._overlap.kind, self._overlap.concurrency
        return f"parallel({width})" if kind == "parallel" else kind

    def enqueue(self, run_id: str) -> QueueDecision:
        """Queues a run; one that is here already changes nothing."""
        if run_id in self._running or run_id in self._waiting:
            return QueueDecision()
        self._waiting[run_id] = None
        return self._start_next()

    def mark_done(self, run_id: str) -> QueueDecision:
        """Removes a finished run and starts the next."""
        self._running.discard(run_id)
        return self._start_next()

    def set_overlap(self, overlap: OverlapPolicy) -> QueueDecision:
        """Replaces the policy, for waiting runs too: the rule was edited."""
        self._overlap = overlap
        return self._start_next()

    def _start_next(self) -> QueueDecision:
        width = self._overlap.concurrency if self._overlap.kind == "parallel" else 1
        started = []
        while self._waiting and len(self._running) < width:
            run_id, _ = self._waiting.popitem(last=False)
            self._running.add(run_id)
            started.append(run_id)
        return QueueDecision(tuple(started), tuple(self._drop_surplus()))

    def _drop_surplus(self) -> list[tuple[str, str]]:
        capacity = {"latest": 1, "skip": 0}.get(self._overlap.kind, len(self._waiting))
        reason = REASON_REPLACED if self._overlap.kind == "latest" else REASON_STILL_RUNNING
        dropped = []
        while len(self._waiting) > capacity:
            dropped.append((self._waiting.popitem(last=False)[0], reason))
        self.dropped_count += len(dropped)
        return dropped
