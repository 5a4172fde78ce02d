"""The keys of one rule: made when first seen, forgotten in time, bounded in number."""

from __future__ import annotations

from collections.abc import Callable

from catcher.model.time import Instant, Span, format_duration
from catcher.watching.cells import Cell
from catcher.watching.guarding import UNGUARDED, Guard
from catcher.watching.timers import Timers

MOST_KEYS = 100_000
AFTER_ALL_ELSE = 2
"""The rank of the timer that forgets a key, which comes after what else falls due then."""


class Keys:
    """The cells of a rule by key. `equip` completes a new one; `dirty` names those changed."""

    def __init__(
        self, timers: Timers, forget_after: Span, counts: dict[str, int],
        equip: Callable[[Cell], None],
    ) -> None:  # fmt: skip
        self.cells: dict[str, Cell] = {}
        self.dirty: set[str] = set()
        self.guard: Guard = UNGUARDED
        self._timers = timers
        self._forget_after = forget_after
        self._counts = counts
        self._equip = equip

    def cell(self, key: str) -> Cell:
        """The cell of a key, new if need be."""
        return self.cells.get(key) or self._make(key)

    def _make(self, key: str) -> Cell:
        if len(self.cells) >= MOST_KEYS:
            self._make_room()
        cell = Cell(key)
        self._equip(cell)
        if self._forget_after:
            cell.timer = self._timers.timer(
                key, lambda instant: self._forget(cell, instant), AFTER_ALL_ELSE
            )
        self.cells[key] = cell
        return cell

    def touch(self, cell: Cell, now: Instant) -> None:
        """Something of this key came."""
        if now > cell.touched:
            cell.touched = now
        self.dirty.add(cell.key)
        if cell.timer is not None:
            cell.timer.set(cell.touched + self._forget_after)

    def resume(self, start: Instant) -> None:
        """After downtime, which nobody observed: silence of a key counts from here."""
        for cell in self.cells.values():
            if cell.timer is not None:
                cell.timer.set(max(cell.touched, start) + self._forget_after)

    def _make_room(self) -> None:
        self.guard.sync()
        oldest = sorted(self.cells.values(), key=lambda cell: cell.touched)
        for cell in oldest[: MOST_KEYS // 100]:
            self._counts["keys_evicted"] += 1
            self._drop(cell, cell.touched, "too many keys")

    def _forget(self, cell: Cell, instant: Instant) -> bool:
        words = f"nothing of this key for {format_duration(self._forget_after)}: forgotten"
        self._drop(cell, instant, words)
        self._counts["keys_forgotten"] += 1
        return True

    def _drop(self, cell: Cell, instant: Instant, words: str) -> None:
        self.guard.leaving(cell.key)
        if cell.levels is not None:
            cell.levels.forget(instant, words)
        cell.stop()
        self.cells.pop(cell.key, None)
        self.dirty.add(cell.key)
