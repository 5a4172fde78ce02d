"""Results enter the streams in the order of their firings, per rule and key."""

from __future__ import annotations

from collections import OrderedDict

from catcher.model.run import Run


class ResultOrder:
    """Holds a finished run back until those that fired before it, of its rule and key, are over.

    Runs of different keys overtake each other; within a key the order of the firings is the
    order of the results, however many run at once.
    """

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str], OrderedDict[str, Run | None]] = {}

    def expect(self, run: Run) -> None:
        """A run was handed out; its result comes after those expected before it."""
        self._lanes.setdefault(self._lane(run), OrderedDict())[run.id] = None

    def arrive(self, run: Run) -> list[Run]:
        """A run is over: the runs whose turn it now is, in order; none while it has to wait."""
        lane = self._lanes.get(self._lane(run))
        if lane is None or run.id not in lane:
            return [run]
        lane[run.id] = run
        ready: list[Run] = []
        while lane and (first := next(iter(lane.values()))) is not None:
            lane.popitem(last=False)
            ready.append(first)
        if not lane:
            del self._lanes[self._lane(run)]
        return ready

    @property
    def waiting(self) -> int:
        """How many finished runs wait for an earlier one."""
        return sum(run is not None for lane in self._lanes.values() for run in lane.values())

    @staticmethod
    def _lane(run: Run) -> tuple[str, str]:
        return run.firing.rule, run.firing.key
