"""The partitions of one rule: the triggers, levels and latest decisions of each key."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from catcher.evaluation.levels import AlertLevels
from catcher.evaluation.shared.observer import NULL_OBSERVER, StateObserver
from catcher.evaluation.timers import Timer, Timers
from catcher.evaluation.triggers import Trigger
from catcher.expressions.stateful_functions import FunctionState
from catcher.model.event import Event
from catcher.model.time import Instant, Span, format_duration

MAX_DECISIONS = 10


class DecisionRecord(NamedTuple):
    """A decision, for `explain`; its reason may be formatted lazily."""

    time: Instant
    kind: str
    reason: str | Callable[[], str]
    per: str = ""

    @property
    def reason_text(self) -> str:
        """The reason as text."""
        return self.reason if isinstance(self.reason, str) else self.reason()


class Partition:
    """The state of a rule for one `by` value."""

    __slots__ = (
        "backfilled_until",
        "cleared_at",
        "decisions",
        "expiry_timer",
        "has_shared_slots",
        "key",
        "last_activity",
        "last_result",
        "latest_event",
        "level_slots",
        "levels",
        "triggers",
    )  # fmt: skip

    def __init__(self, key: str) -> None:
        self.key = key
        self.triggers: list[Trigger] = []
        self.levels: AlertLevels | None = None
        self.level_slots: list[FunctionState] = []
        self.has_shared_slots = False
        """Whether a group fills the slots, which other rules share."""
        self.expiry_timer: Timer | None = None
        self.latest_event: Event | None = None
        self.last_activity: Instant = 0
        self.last_result: Instant = 0
        self.cleared_at: Instant = 0
        self.backfilled_until: Instant = 0
        self.decisions: deque[DecisionRecord] = deque(maxlen=MAX_DECISIONS)

    def iter_function_states(self) -> Iterator[FunctionState]:
        """Yields the states of all functions over time."""
        for trigger in self.triggers:
            yield from trigger.slots
        yield from self.level_slots

    def stop_timers(self) -> None:
        """Stops its timers."""
        if self.expiry_timer is not None:
            self.expiry_timer.set_due(None)
        for trigger in self.triggers:
            trigger.stop_timer()

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {
            "machines": [trigger.save() for trigger in self.triggers],
            "levels": self.levels.save() if self.levels else [],
            "level_slots": [slot.save() for slot in self.level_slots],
            "touched": self.last_activity,
            "judged": self.last_result,
            "calmed": self.cleared_at,
            "forget": self.expiry_timer.due_at if self.expiry_timer else None,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state, which includes history up to then."""
        for trigger, saved in zip(self.triggers, state["machines"], strict=True):
            trigger.load(saved)
        for slot, saved in zip(self.level_slots, state["level_slots"], strict=True):
            slot.load(saved)
        if self.levels is not None:
            self.levels.load(state["levels"])
        self.last_activity = self.backfilled_until = int(state["touched"])
        self.last_result, self.cleared_at = int(state["judged"]), int(state["calmed"])
        if self.expiry_timer is not None:
            self.expiry_timer.set_due(state["forget"])


# The keys of one rule: created when first seen, removed when inactive, bounded in number.


MAX_KEYS = 100_000
EXPIRY_TIMER_RANK = 2
"""The rank of the timer that removes a key: others at the same instant come before."""


class PartitionTable:
    """The partitions of a rule by key. `initialize` completes a new one.

    `changed_keys` names those that changed.
    """

    def __init__(
        self, timers: Timers, forget_after: Span, counts: dict[str, int],
        initialize: Callable[[Partition], None],
    ) -> None:  # fmt: skip
        self.by_key: dict[str, Partition] = {}
        self.changed_keys: set[str] = set()
        self.observer: StateObserver = NULL_OBSERVER
        self._timers = timers
        self._forget_after = forget_after
        self._counts = counts
        self._initialize = initialize

    def get_or_create(self, key: str) -> Partition:
        """Returns the partition of a key, creating it if needed."""
        return self.by_key.get(key) or self._create_partition(key)

    def _create_partition(self, key: str) -> Partition:
        if len(self.by_key) >= MAX_KEYS:
            self._evict_oldest()
        partition = Partition(key)
        self._initialize(partition)
        if self._forget_after:
            partition.expiry_timer = self._timers.create_timer(
                key, lambda instant: self._expire_partition(partition, instant), EXPIRY_TIMER_RANK
            )
        self.by_key[key] = partition
        return partition

    def record_activity(self, partition: Partition, now: Instant) -> None:
        """Records input of this key."""
        if now > partition.last_activity:
            partition.last_activity = now
        self.changed_keys.add(partition.key)
        if partition.expiry_timer is not None:
            partition.expiry_timer.set_due(partition.last_activity + self._forget_after)

    def restart_expiry_timers(self, start: Instant) -> None:
        """Counts silence of a key from here, after downtime, which was not observed."""
        for partition in self.by_key.values():
            if partition.expiry_timer is not None:
                partition.expiry_timer.set_due(
                    max(partition.last_activity, start) + self._forget_after
                )

    def _evict_oldest(self) -> None:
        self.observer.flush_all_counts()
        oldest = sorted(self.by_key.values(), key=lambda partition: partition.last_activity)
        for partition in oldest[: MAX_KEYS // 100]:
            self._counts["keys_evicted"] += 1
            self._remove_partition(partition, partition.last_activity, "too many keys")

    def _expire_partition(self, partition: Partition, instant: Instant) -> bool:
        reason = f"nothing of this key for {format_duration(self._forget_after)}: forgotten"
        self._remove_partition(partition, instant, reason)
        self._counts["keys_forgotten"] += 1
        return True

    def _remove_partition(self, partition: Partition, instant: Instant, reason: str) -> None:
        self.observer.on_key_removal(partition.key)
        if partition.levels is not None:
            partition.levels.end_all_alerts(instant, reason)
        partition.stop_timers()
        self.by_key.pop(partition.key, None)
        self.changed_keys.add(partition.key)
