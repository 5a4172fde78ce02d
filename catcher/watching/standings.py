"""One alert of one key: which of its levels hold, and what was last said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec
from catcher.model.time import MINUTE, Instant, Span
from catcher.watching.blueprint import LevelPlan
from catcher.watching.holds import Hold
from catcher.watching.timers import Timer

LASTS = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class Laws:
    """What governs the levels of one rule: its levels, the worst first, and its spans."""

    rule: str
    levels: tuple[LevelPlan, ...]
    single: bool
    expires: Span | None
    lasts: Span | None
    stale: Span | None
    failed: Severity | None

    def over(self, time: Instant, horizon: Instant) -> bool:
        """Whether what rises at a time has lasted its while before the horizon."""
        return self.lasts is not None and time + self.lasts < horizon

    def machines(self) -> list[Level]:
        """Fresh machines, one a level."""
        return [
            Level(
                Hold(plan.spec.hold or 0, self.stale),
                Hold(plan.spec.clear_hold or 0, self.stale),
            )
            for plan in self.levels
        ]


def laws(
    rule: str, alert: AlertSpec, levels: tuple[LevelPlan, ...], job: bool, momentary: bool,
    stale: Span,
) -> Laws:  # fmt: skip
    """The laws of a rule; a `momentary` trigger has no end of its own, so its levels have one."""
    lasts = alert.lasts if alert.lasts is not None else (LASTS if momentary else None)
    silence = alert.expires if job else stale
    single = alert.per is None
    return Laws(rule, levels, single, alert.expires, lasts, silence, alert.failed)


class Level:
    """Whether one level of one alert holds."""

    __slots__ = ("_going_on", "_true", "clearing", "held", "latest", "rising")

    def __init__(self, rising: Hold, clearing: Hold) -> None:
        self.rising = rising
        self.clearing = clearing
        self.held = False
        self.latest: Instant = 0
        self._true = False
        self._going_on: Hold | None = None

    def sample(self, now: Instant, when: bool | None, clear: bool | None) -> None:
        """Takes the truths at a feeding event."""
        self._true, self._going_on = when is True and clear is not True, None
        if clear is True:
            self.rising.break_off()
            if self.held:
                self._going_on = self.clearing
                if self.clearing.reached(now):
                    self.drop()
            return
        if clear is False:
            self.clearing.break_off()
        if when is True:
            self.latest = now
            if not self.held:
                self._going_on = self.rising
                if self.rising.reached(now):
                    self.raise_at(now)
        elif when is False:
            self.rising.break_off()

    def again(self, now: Instant) -> None:
        """Feeding events came up to now with the truths of the last, which changed nothing."""
        if self._true:
            self.latest = now
        if self._going_on is not None and self._going_on.start is not None:
            self._going_on.last = now

    @property
    def until(self) -> Instant | None:
        """The instant from which the same truths change something."""
        return None if self._going_on is None else self._going_on.due

    def raise_at(self, now: Instant) -> None:
        """It holds, and was true now."""
        self.held = True
        self.latest = max(self.latest, now)
        self.rising.break_off()
        self.clearing.break_off()

    def drop(self) -> None:
        """It holds no longer."""
        self.held = False
        self.rising.break_off()
        self.clearing.break_off()

    def resume(self, start: Instant) -> None:
        """After downtime, which nobody observed: silence counts from here."""
        self.rising.resume(start)
        self.clearing.resume(start)

    @property
    def idle(self) -> bool:
        """Whether it is as if it were new."""
        return not self.held and self.rising.start is None

    def save(self) -> list[Any]:
        """The state as JSON values."""
        return [self.held, self.latest, self.rising.save(), self.clearing.save()]

    def load(self, state: Any) -> None:
        """Takes a saved state back."""
        self.held, self.latest = bool(state[0]), int(state[1])
        self.rising.load(state[2])
        self.clearing.load(state[3])


class Standing:
    """One alert of one key: its levels and what was last said of it."""

    __slots__ = ("failed", "fed", "levels", "per", "resumed", "said", "timer", "unknown")

    def __init__(self, per: str, levels: list[Level]) -> None:
        self.per = per
        self.levels = levels
        self.said = Severity.NONE
        self.unknown = False
        self.fed: Instant = 0
        self.failed: Instant | None = None
        self.resumed: Instant = 0
        self.timer: Timer | None = None

    @property
    def alive(self) -> bool:
        """Whether a level holds, or cannot be judged."""
        return self.unknown or any(level.held for level in self.levels)

    def drop_levels(self) -> None:
        """No level holds any longer."""
        for level in self.levels:
            level.drop()

    def drop_all(self) -> None:
        """Nothing holds any longer."""
        self.failed = None
        self.drop_levels()

    def resume(self, start: Instant) -> None:
        """After downtime, which nobody observed: silence counts from here."""
        self.resumed = start
        for level in self.levels:
            level.resume(start)

    def idle(self) -> bool:
        """Whether nothing would be lost with it."""
        quiet = self.said is Severity.NONE and not self.unknown and self.failed is None
        return quiet and all(level.idle for level in self.levels)

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "per": self.per,
            "levels": [level.save() for level in self.levels],
            "said": int(self.said),
            "unknown": self.unknown,
            "fed": self.fed,
            "failed": self.failed,
            "resumed": self.resumed,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        for level, saved in zip(self.levels, state["levels"], strict=True):
            level.load(saved)
        self.said, self.unknown = Severity(state["said"]), bool(state["unknown"])
        self.fed, self.failed = int(state["fed"]), state["failed"]
        self.resumed = int(state.get("resumed", 0))
