"""When each alert is due next."""

from __future__ import annotations

import heapq

from catcher.model.time import Instant


class DelayQueue:
    """One due time per id. Cheap to query when nothing is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, str]] = []
        self._times: dict[str, Instant] = {}

    def schedule(self, id: str, due_at: Instant | None) -> None:
        """Replaces the due time of an id; None cancels it."""
        if due_at is None:
            self._times.pop(id, None)
            return
        self._times[id] = due_at
        heapq.heappush(self._heap, (due_at, id))
        if len(self._heap) > 100 + 4 * len(self._times):
            self._heap = [(due_at, id) for id, due_at in self._times.items()]
            heapq.heapify(self._heap)

    def pop_due_ids(self, now: Instant) -> list[str]:
        """Removes and returns the ids that are due, each once."""
        due_ids = []
        while self._heap and self._heap[0][0] <= now:
            due_at, id = heapq.heappop(self._heap)
            if self._times.get(id) == due_at:
                del self._times[id]
                due_ids.append(id)
        return due_ids
