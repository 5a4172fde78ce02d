"""When to look at which alert next."""

from __future__ import annotations

import heapq

from catcher.model.time import Instant


class Agenda:
    """One instant for each id. Cheap to ask when nothing is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, str]] = []
        self._times: dict[str, Instant] = {}

    def put(self, id: str, time: Instant | None) -> None:
        """Looks at it at that time instead of when it was to be; None for not at all."""
        if time is None:
            self._times.pop(id, None)
            return
        self._times[id] = time
        heapq.heappush(self._heap, (time, id))
        if len(self._heap) > 100 + 4 * len(self._times):
            self._heap = [(time, id) for id, time in self._times.items()]
            heapq.heapify(self._heap)

    def take(self, now: Instant) -> list[str]:
        """The ids whose time has come, each once; they are off the agenda then."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            time, id = heapq.heappop(self._heap)
            if self._times.get(id) == time:
                del self._times[id]
                due.append(id)
        return due
