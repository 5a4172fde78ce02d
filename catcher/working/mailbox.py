"""What happens to a rule's firings while an earlier run of it still goes on: pure decisions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from catcher.model.rule import Overlap

REPLACED = "a newer firing took its place (overlap: latest)"
SKIPPED = "an earlier run was still going on (overlap: skip)"


@dataclass(frozen=True, slots=True)
class Decision:
    """The runs that begin now, and those that are dropped, each with the reason."""

    start: tuple[str, ...] = ()
    drop: tuple[tuple[str, str], ...] = ()


class Mailbox:
    """The runs of one rule by id: those that go on, those that wait, how many were dropped.

    `queue` runs one at a time, in order, and loses nothing; `parallel(N)` runs N at a time;
    `latest` keeps one waiting, the newest; `skip` keeps none.
    """

    def __init__(self, overlap: Overlap) -> None:
        self._overlap = overlap
        self._running: set[str] = set()
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self.dropped = 0

    @property
    def running(self) -> int:
        """How many runs go on."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many runs wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[str]:
        """The runs that wait, in their order."""
        return iter(self._waiting)

    @property
    def policy(self) -> str:
        """What it goes by, as a rule says it: `queue`, `parallel(4)`."""
        kind, width = self._overlap.kind, self._overlap.width
        return f"parallel({width})" if kind == "parallel" else kind

    def offer(self, run: str) -> Decision:
        """A firing wants to run. One that is here already changes nothing."""
        if run in self._running or run in self._waiting:
            return Decision()
        self._waiting[run] = None
        return self._next()

    def done(self, run: str) -> Decision:
        """A run is over; whoever waits may begin."""
        self._running.discard(run)
        return self._next()

    def change(self, overlap: Overlap) -> Decision:
        """The rule was edited: another policy from now on, for those that wait too."""
        self._overlap = overlap
        return self._next()

    def _next(self) -> Decision:
        width = self._overlap.width if self._overlap.kind == "parallel" else 1
        started = []
        while self._waiting and len(self._running) < width:
            run, _ = self._waiting.popitem(last=False)
            self._running.add(run)
            started.append(run)
        return Decision(tuple(started), tuple(self._surplus()))

    def _surplus(self) -> list[tuple[str, str]]:
        kept = {"latest": 1, "skip": 0}.get(self._overlap.kind, len(self._waiting))
        reason = REPLACED if self._overlap.kind == "latest" else SKIPPED
        dropped = []
        while len(self._waiting) > kept:
            dropped.append((self._waiting.popitem(last=False)[0], reason))
        self.dropped += len(dropped)
        return dropped
