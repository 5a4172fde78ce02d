"""Publishes results in the order of their firings, per rule and key."""

from __future__ import annotations

from collections import OrderedDict

from catcher.model.run import Run


class Resequencer:
    """Holds a finished run back until all earlier firings of its rule and key have ended.

    Runs of different keys overtake each other; within a key the order of the results is that of the
    firings, however many run at once.
    """

    def __init__(self) -> None:
        self._pending_by_key: dict[tuple[str, str], OrderedDict[str, Run | None]] = {}

    def register(self, run: Run) -> None:
        """Registers a started run; its result comes after those registered before it."""
        self._pending_by_key.setdefault(self._get_ordering_key(run), OrderedDict())[run.id] = None

    def add_finished(self, run: Run) -> list[Run]:
        """Returns the runs that may be published now, in order; none if this one has to wait."""
        pending = self._pending_by_key.get(self._get_ordering_key(run))
        if pending is None or run.id not in pending:
            return [run]
        pending[run.id] = run
        ready: list[Run] = []
        while pending and (first := next(iter(pending.values()))) is not None:
            pending.popitem(last=False)
            ready.append(first)
        if not pending:
            del self._pending_by_key[self._get_ordering_key(run)]
        return ready

    @property
    def waiting_count(self) -> int:
        """The number of finished runs that wait for an earlier one."""
        return sum(
            run is not None for pending in self._pending_by_key.values() for run in pending.values()
        )

    @staticmethod
    def _get_ordering_key(run: Run) -> tuple[str, str]:
        return run.firing.rule, run.firing.key
