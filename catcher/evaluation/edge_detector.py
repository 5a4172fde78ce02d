"""Hold timers (`for` and `clear_for`) and edge detection, exact to the sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from catcher.model.time import Instant, Span


class HoldTimer:
    """How long a condition has been true without a break, since its first true sample.

    It completes at the instant `start + duration` if at least one more true sample came by then and
    no silence before it is longer than `max_gap`; else at the next sample if that is true.
    """

    __slots__ = ("duration", "is_confirmed", "last_true", "max_gap", "start")

    def __init__(self, duration: Span, max_gap: Span | None) -> None:
        self.duration = duration
        self.max_gap = max_gap
        self.start: Instant | None = None
        self.last_true: Instant = 0
        self.is_confirmed = False

    @property
    def due_at(self) -> Instant | None:
        """The instant at which it would complete; None while nothing holds."""
        return None if self.start is None else self.start + self.duration

    def record_true_sample(self, now: Instant) -> bool:
        """Records a true sample; True if the hold completes with it (its instant has passed)."""
        if self.start is None or self._has_gap(now):
            self.start, self.last_true, self.is_confirmed = now, now, False
            return False
        self.last_true = now
        if now > self.start + self.duration:
            return True
        self.is_confirmed = True
        return False

    def extend_true_until(self, now: Instant) -> None:
        """Records true samples up to now, none after a silence, none past its instant."""
        if self.start is not None:
            self.last_true, self.is_confirmed = now, True

    def record_true_without_timer(self, now: Instant) -> bool:
        """Records a true sample where time advances only with samples; True if held long enough."""
        if self.start is None or self._has_gap(now):
            self.start = now
        self.last_true = now
        return now - self.start >= self.duration

    def reset(self) -> None:
        """Resets it, after a false sample, or when what it held for has ended."""
        self.start = None
        self.is_confirmed = False

    def on_timer(self, instant: Instant) -> bool:
        """Processes its due instant; True if the hold completes."""
        if self.start is None:
            return False
        if self._has_gap(instant):
            self.reset()
            return False
        return self.is_confirmed

    def _has_gap(self, now: Instant) -> bool:
        return self.max_gap is not None and now - self.last_true > self.max_gap

    def restart_gap_timers(self, resumed_at: Instant) -> None:
        """Counts silence from here, after downtime, which was not observed."""
        if self.start is not None:
            self.last_true = max(self.last_true, resumed_at)
            self.is_confirmed = self.is_confirmed and self.start + self.duration >= resumed_at

    def elapsed_time(self, now: Instant) -> Span:
        """Returns how long it has held."""
        return 0 if self.start is None else min(now - self.start, self.duration)

    def save(self) -> list[Any]:
        """Returns the state as JSON values."""
        return [self.start, self.last_true, self.is_confirmed]

    def load(self, state: Any) -> None:
        """Restores a saved state."""
        self.start, self.last_true, self.is_confirmed = state


ClearKind = Literal["false", "armed", "recovered"]
"""How a trigger cleared: its `when` became false, it is armed again, or that after a gap."""


class EdgeDetector:
    """The state of an edge: it fires when true while armed, and arms again when clear."""

    __slots__ = ("_running_hold", "clear_hold", "fires_on_recovery", "had_gap", "hold", "is_armed")

    def __init__(
        self, hold: HoldTimer | None, clear_hold: HoldTimer | None, fires_on_recovery: bool
    ) -> None:
        self.hold = hold
        self.clear_hold = clear_hold
        self.fires_on_recovery = fires_on_recovery
        self.is_armed = True
        self.had_gap = False
        self._running_hold: HoldTimer | None = None

    def process_sample(self, now: Instant, when: bool | None, clear: bool | None) -> str:
        """Processes the truths at a sample; returns `fire`, `arm`, `recover` or nothing.

        The caller reports a firing with `mark_fired`. What fires while it was not armed has
        recovered, too.
        """
        had_gap, self.had_gap = self.had_gap, when is None
        self._running_hold = None
        if clear is True:
            return self._process_clear(now)
        if clear is False and self.clear_hold is not None:
            self.clear_hold.reset()
        if when is False and self.hold is not None:
            self.hold.reset()
        if when is not True:
            return ""
        has_recovered = had_gap and self.fires_on_recovery and not self.is_armed
        if has_recovered:
            self.rearm()
        if self.is_armed and (self.hold is None or self._advance_hold(self.hold, now)):
            return "fire"
        return "recover" if has_recovered else ""

    def _advance_hold(self, hold: HoldTimer, now: Instant) -> bool:
        self._running_hold = hold
        return hold.record_true_sample(now)

    def apply_unchanged_samples(self, now: Instant) -> None:
        """Processes samples up to now with the truths of the last, which changed nothing."""
        if self._running_hold is not None:
            self._running_hold.extend_true_until(now)

    def _process_clear(self, now: Instant) -> str:
        if self.hold is not None:
            self.hold.reset()
        if self.is_armed:
            return ""
        if self.clear_hold is not None and not self._advance_hold(self.clear_hold, now):
            return ""
        self.rearm()
        return "arm"

    def rearm(self) -> None:
        """Arms it again."""
        self.is_armed = True
        if self.clear_hold is not None:
            self.clear_hold.reset()

    def mark_fired(self) -> None:
        """Records that it has fired, which disarms it."""
        self.is_armed = False
        for hold in (self.hold, self.clear_hold):
            if hold is not None:
                hold.reset()

    @property
    def due_at(self) -> Instant | None:
        """The due instant of the running hold."""
        hold = self.hold if self.is_armed else self.clear_hold
        return None if hold is None else hold.due_at

    def on_timer(self, instant: Instant) -> str:
        """Processes a due instant; returns `fire`, `arm` or nothing."""
        hold = self.hold if self.is_armed else self.clear_hold
        if hold is None or not hold.on_timer(instant):
            return ""
        if self.is_armed:
            return "fire"
        self.rearm()
        return "arm"

    def restart_gap_timers(self, resumed_at: Instant) -> None:
        """Resumes after downtime."""
        for hold in (self.hold, self.clear_hold):
            if hold is not None:
                hold.restart_gap_timers(resumed_at)

    def save(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return {
            "armed": self.is_armed,
            "gap": self.had_gap,
            "hold": self.hold.save() if self.hold else None,
            "clear_hold": self.clear_hold.save() if self.clear_hold else None,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        self.is_armed, self.had_gap = bool(state["armed"]), bool(state["gap"])
        if self.hold is not None and state["hold"]:
            self.hold.load(state["hold"])
        if self.clear_hold is not None and state["clear_hold"]:
            self.clear_hold.load(state["clear_hold"])
