"""The state of one alert of one key: its active levels, and what was last reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catcher.evaluation.compiled_rule import CompiledLevel
from catcher.evaluation.edge_detector import HoldTimer
from catcher.evaluation.timers import Timer
from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec
from catcher.model.time import MINUTE, Instant, Span

DEFAULT_LASTS = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class LevelPolicy:
    """The parameters of the levels of one rule: its levels, the worst first, and its spans."""

    rule: str
    levels: tuple[CompiledLevel, ...]
    is_single: bool
    expires: Span | None
    lasts: Span | None
    max_gap: Span | None
    failed_severity: Severity | None

    def has_expired(self, time: Instant, as_of: Instant) -> bool:
        """True if what rises at `time` has lasted its span before `as_of`."""
        return self.lasts is not None and time + self.lasts < as_of

    def create_level_machines(self) -> list[LevelMachine]:
        """Returns fresh state machines, one per level."""
        return [
            LevelMachine(
                HoldTimer(compiled.spec.hold or 0, self.max_gap),
                HoldTimer(compiled.spec.clear_hold or 0, self.max_gap),
            )
            for compiled in self.levels
        ]


def build_level_policy(
    rule: str,
    alert: AlertSpec,
    levels: tuple[CompiledLevel, ...],
    has_job: bool,
    is_momentary: bool,
    stale_after: Span,
) -> LevelPolicy:
    """Returns the level policy of a rule.

    An `is_momentary` trigger has no end of its own, so its levels have one.
    """
    lasts = alert.lasts if alert.lasts is not None else (DEFAULT_LASTS if is_momentary else None)
    max_gap = alert.expires if has_job else stale_after
    is_single = alert.per is None
    return LevelPolicy(rule, levels, is_single, alert.expires, lasts, max_gap, alert.failed)


class LevelMachine:
    """The state machine of one level of one alert."""

    __slots__ = (
        "_is_true",
        "_running_timer",
        "clear_timer",
        "is_active",
        "last_true",
        "raise_timer",
    )

    def __init__(self, raise_timer: HoldTimer, clear_timer: HoldTimer) -> None:
        self.raise_timer = raise_timer
        self.clear_timer = clear_timer
        self.is_active = False
        self.last_true: Instant = 0
        self._is_true = False
        self._running_timer: HoldTimer | None = None

    def process_sample(self, now: Instant, when: bool | None, clear: bool | None) -> None:
        """Processes the truths at an input event."""
        self._is_true, self._running_timer = when is True and clear is not True, None
        if clear is True:
            self.raise_timer.reset()
            if self.is_active:
                self._running_timer = self.clear_timer
                if self.clear_timer.record_true_without_timer(now):
                    self.clear()
            return
        if clear is False:
            self.clear_timer.reset()
        if when is True:
            self.last_true = now
            if not self.is_active:
                self._running_timer = self.raise_timer
                if self.raise_timer.record_true_without_timer(now):
                    self.raise_level(now)
        elif when is False:
            self.raise_timer.reset()

    def apply_unchanged_samples(self, now: Instant) -> None:
        """Processes events up to now that had the truths of the last, which changed nothing."""
        if self._is_true:
            self.last_true = now
        if self._running_timer is not None and self._running_timer.start is not None:
            self._running_timer.last_true = now

    @property
    def hold_due_at(self) -> Instant | None:
        """The instant from which the same truths change something."""
        return None if self._running_timer is None else self._running_timer.due_at

    def raise_level(self, now: Instant) -> None:
        """Raises the level, which was true now."""
        self.is_active = True
        self.last_true = max(self.last_true, now)
        self.raise_timer.reset()
        self.clear_timer.reset()

    def clear(self) -> None:
        """Clears the level."""
        self.is_active = False
        self.raise_timer.reset()
        self.clear_timer.reset()

    def restart_gap_timers(self, resumed_at: Instant) -> None:
        """Counts silence from here, after downtime, which was not observed."""
        self.raise_timer.restart_gap_timers(resumed_at)
        self.clear_timer.restart_gap_timers(resumed_at)

    @property
    def is_initial(self) -> bool:
        """True if its state is the same as a new one's."""
        return not self.is_active and self.raise_timer.start is None

    def save(self) -> list[Any]:
        """Returns the state as JSON values."""
        return [self.is_active, self.last_true, self.raise_timer.save(), self.clear_timer.save()]

    def load(self, state: Any) -> None:
        """Restores a saved state."""
        self.is_active, self.last_true = bool(state[0]), int(state[1])
        self.raise_timer.load(state[2])
        self.clear_timer.load(state[3])


class LevelState:
    """One alert of one key: its levels and what was last reported."""

    __slots__ = (
        "failed_at",
        "last_input",
        "levels",
        "per",
        "reported_severity",
        "reported_unknown",
        "resumed_at",
        "timer",
    )

    def __init__(self, per: str, levels: list[LevelMachine]) -> None:
        self.per = per
        self.levels = levels
        self.reported_severity = Severity.NONE
        self.reported_unknown = False
        self.last_input: Instant = 0
        self.failed_at: Instant | None = None
        self.resumed_at: Instant = 0
        self.timer: Timer | None = None

    @property
    def is_active(self) -> bool:
        """True if a level is active, or cannot be evaluated."""
        return self.reported_unknown or any(level.is_active for level in self.levels)

    def clear_levels(self) -> None:
        """Clears all levels."""
        for level in self.levels:
            level.clear()

    def clear_levels_and_failure(self) -> None:
        """Clears all levels and the failure."""
        self.failed_at = None
        self.clear_levels()

    def resume_after_downtime(self, start: Instant) -> None:
        """Counts silence from here, after downtime, which was not observed."""
        self.resumed_at = start
        for level in self.levels:
            level.restart_gap_timers(start)

    def is_removable(self) -> bool:
        """True if nothing would be lost with it."""
        is_quiet = (
            self.reported_severity is Severity.NONE
            and not self.reported_unknown
            and self.failed_at is None
        )
        return is_quiet and all(level.is_initial for level in self.levels)

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {
            "per": self.per,
            "levels": [level.save() for level in self.levels],
            "said": int(self.reported_severity),
            "unknown": self.reported_unknown,
            "fed": self.last_input,
            "failed": self.failed_at,
            "resumed": self.resumed_at,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        for level, saved in zip(self.levels, state["levels"], strict=True):
            level.load(saved)
        self.reported_severity, self.reported_unknown = (
            Severity(state["said"]),
            bool(state["unknown"]),
        )
        self.last_input, self.failed_at = int(state["fed"]), state["failed"]
        self.resumed_at = int(state.get("resumed", 0))
