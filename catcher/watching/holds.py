"""How long a truth has held: `for` and `clear_for`, to the sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from catcher.model.time import Instant, Span


class Hold:
    """An unbroken truth since its first sample.

    It completes at the instant `start + span` if at least one more true sample came by then and
    no silence before it is longer than `stale`; else at the next sample if that is true.
    """

    __slots__ = ("last", "more", "span", "stale", "start")

    def __init__(self, span: Span, stale: Span | None) -> None:
        self.span = span
        self.stale = stale
        self.start: Instant | None = None
        self.last: Instant = 0
        self.more = False

    @property
    def due(self) -> Instant | None:
        """The instant at which it would complete; None while nothing holds."""
        return None if self.start is None else self.start + self.span

    def true(self, now: Instant) -> bool:
        """A true sample; whether the hold completes with it (its instant has passed by)."""
        if self.start is None or self._silent(now):
            self.start, self.last, self.more = now, now, False
            return False
        self.last = now
        if now > self.start + self.span:
            return True
        self.more = True
        return False

    def again(self, now: Instant) -> None:
        """True samples came up to now, none after a silence, none past its instant."""
        if self.start is not None:
            self.last, self.more = now, True

    def reached(self, now: Instant) -> bool:
        """A true sample where time passes at samples only; whether it has held for long enough."""
        if self.start is None or self._silent(now):
            self.start = now
        self.last = now
        return now - self.start >= self.span

    def break_off(self) -> None:
        """A false sample, or the end of what it held for."""
        self.start = None
        self.more = False

    def falls_due(self, instant: Instant) -> bool:
        """The instant has come; whether the hold completes."""
        if self.start is None:
            return False
        if self._silent(instant):
            self.break_off()
            return False
        return self.more

    def _silent(self, now: Instant) -> bool:
        return self.stale is not None and now - self.last > self.stale

    def resume(self, start: Instant) -> None:
        """After downtime, which nobody observed: silence counts from here."""
        if self.start is not None:
            self.last = max(self.last, start)
            self.more = self.more and self.start + self.span >= start

    def held(self, now: Instant) -> Span:
        """For how long it has held."""
        return 0 if self.start is None else min(now - self.start, self.span)

    def save(self) -> list[Any]:
        """The state as JSON values."""
        return [self.start, self.last, self.more]

    def load(self, state: Any) -> None:
        """Takes a saved state back."""
        self.start, self.last, self.more = state


Ease = Literal["false", "armed", "recovered"]
"""How a trigger came to rest: its `when` turned false, it is armed again, or that after a gap."""


class Edge:
    """The arming of an edge: it fires where true while armed, and arms again where clear."""

    __slots__ = ("_going_on", "armed", "clear_hold", "gap", "hold", "recovery")

    def __init__(self, hold: Hold | None, clear_hold: Hold | None, recovery: bool) -> None:
        self.hold = hold
        self.clear_hold = clear_hold
        self.recovery = recovery
        self.armed = True
        self.gap = False
        self._going_on: Hold | None = None

    def sample(self, now: Instant, when: bool | None, clear: bool | None) -> str:
        """Takes the truths at a sample; `fire`, `arm`, `recover` or nothing.

        `fired` is told apart. What fires while it was not armed has recovered, too.
        """
        gap, self.gap = self.gap, when is None
        self._going_on = None
        if clear is True:
            return self._clear(now)
        if clear is False and self.clear_hold is not None:
            self.clear_hold.break_off()
        if when is False and self.hold is not None:
            self.hold.break_off()
        if when is not True:
            return ""
        recovered = gap and self.recovery and not self.armed
        if recovered:
            self.arm()
        if self.armed and (self.hold is None or self._goes_on(self.hold, now)):
            return "fire"
        return "recover" if recovered else ""

    def _goes_on(self, hold: Hold, now: Instant) -> bool:
        self._going_on = hold
        return hold.true(now)

    def again(self, now: Instant) -> None:
        """Samples came up to now with the truths of the last, which changed nothing."""
        if self._going_on is not None:
            self._going_on.again(now)

    def _clear(self, now: Instant) -> str:
        if self.hold is not None:
            self.hold.break_off()
        if self.armed:
            return ""
        if self.clear_hold is not None and not self._goes_on(self.clear_hold, now):
            return ""
        self.arm()
        return "arm"

    def arm(self) -> None:
        """Arms it again."""
        self.armed = True
        if self.clear_hold is not None:
            self.clear_hold.break_off()

    def fired(self) -> None:
        """It has fired, which disarms it."""
        self.armed = False
        for hold in (self.hold, self.clear_hold):
            if hold is not None:
                hold.break_off()

    @property
    def due(self) -> Instant | None:
        """The instant of the hold that is under way."""
        hold = self.hold if self.armed else self.clear_hold
        return None if hold is None else hold.due

    def falls_due(self, instant: Instant) -> str:
        """The instant has come: `fire`, `arm` or nothing."""
        hold = self.hold if self.armed else self.clear_hold
        if hold is None or not hold.falls_due(instant):
            return ""
        if self.armed:
            return "fire"
        self.arm()
        return "arm"

    def resume(self, start: Instant) -> None:
        """After downtime."""
        for hold in (self.hold, self.clear_hold):
            if hold is not None:
                hold.resume(start)

    def save(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "armed": self.armed,
            "gap": self.gap,
            "hold": self.hold.save() if self.hold else None,
            "clear_hold": self.clear_hold.save() if self.clear_hold else None,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes a saved state back."""
        self.armed, self.gap = bool(state["armed"]), bool(state["gap"])
        if self.hold is not None and state["hold"]:
            self.hold.load(state["hold"])
        if self.clear_hold is not None and state["clear_hold"]:
            self.clear_hold.load(state["clear_hold"])
