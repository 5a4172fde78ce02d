"""One key of one rule: its machines, its levels, and its latest decisions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from catcher.model.event import Event
from catcher.model.time import Instant
from catcher.watching.levels import LevelBook
from catcher.watching.machines import Machine
from catcher.watching.memories import Slot
from catcher.watching.timers import Timer

REMEMBERED = 10


class Note(NamedTuple):
    """A decision, for `explain`; its words may be put together when they are looked at."""

    time: Instant
    what: str
    words: str | Callable[[], str]
    per: str = ""

    @property
    def text(self) -> str:
        """Why."""
        return self.words if isinstance(self.words, str) else self.words()


class Cell:
    """All that a rule keeps apart per `by` value."""

    __slots__ = (
        "calmed", "judged", "key", "latest", "level_slots", "levels", "machines", "notes",
        "primed", "shared", "timer", "touched",
    )  # fmt: skip

    def __init__(self, key: str) -> None:
        self.key = key
        self.machines: list[Machine] = []
        self.levels: LevelBook | None = None
        self.level_slots: list[Slot] = []
        self.shared = False
        """Whether a front fills the slots, which other rules share."""
        self.timer: Timer | None = None
        self.latest: Event | None = None
        self.touched: Instant = 0
        self.judged: Instant = 0
        self.calmed: Instant = 0
        self.primed: Instant = 0
        self.notes: deque[Note] = deque(maxlen=REMEMBERED)

    def slots(self) -> Iterator[Slot]:
        """Everything that looks back in time."""
        for machine in self.machines:
            yield from machine.slots
        yield from self.level_slots

    def stop(self) -> None:
        """Stops its timers."""
        if self.timer is not None:
            self.timer.set(None)
        for machine in self.machines:
            machine.stop()

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "machines": [machine.save() for machine in self.machines],
            "levels": self.levels.save() if self.levels else [],
            "level_slots": [slot.save() for slot in self.level_slots],
            "touched": self.touched,
            "judged": self.judged,
            "calmed": self.calmed,
            "forget": self.timer.due if self.timer else None,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back; history up to then is in it."""
        for machine, saved in zip(self.machines, state["machines"], strict=True):
            machine.load(saved)
        for slot, saved in zip(self.level_slots, state["level_slots"], strict=True):
            slot.load(saved)
        if self.levels is not None:
            self.levels.load(state["levels"])
        self.touched = self.primed = int(state["touched"])
        self.judged, self.calmed = int(state["judged"]), int(state["calmed"])
        if self.timer is not None:
            self.timer.set(state["forget"])
