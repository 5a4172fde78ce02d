"""Where the signals of one key stand, and who has to be asked when they move."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from catcher.model.time import Instant
from catcher.watching.company import Company
from catcher.watching.frames import Frame
from catcher.watching.running import Running, Sure
from catcher.watching.sharing import Pool
from catcher.watching.signals import FURTHEST, Home, Signal
from catcher.watching.stretches import Stretch, moves
from catcher.watching.sums import Number
from catcher.watching.tree import Node
from catcher.watching.values import scalar
from catcher.watching.windows import Window


class Fence:
    """Where one signal of one key stands: between two limits, or at a value of its own."""

    __slots__ = ("_signal", "high", "low", "previous")

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self.previous: Any = None
        self.low, self.high = FURTHEST, -FURTHEST

    @abstractmethod
    def moved(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Whom to ask about an event; its sample is in the windows already."""

    def move(self, value: Any) -> Sequence[int]:
        """Takes in a known scalar or None; those whose truths may be others now."""
        before, limits = self.previous, self._signal.limits
        self.previous = value
        if not _is_number(value):
            self.low, self.high = FURTHEST, -FURTHEST
            return self._signal.all() if before is not value and before != value else ()
        left, right = bisect_left(limits, value), bisect_right(limits, value)
        self.low = limits[left - 1] if left else -FURTHEST
        self.high = limits[right] if right < len(limits) else FURTHEST
        if left != right:
            self.low = self.high = value
        if not _is_number(before):
            return self._signal.all()
        if before <= value:
            return self._signal.owners[bisect_left(limits, before) : right]
        return self._signal.owners[left : bisect_right(limits, before)]


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


class FieldFence(Fence):
    """A field of the event itself."""

    __slots__ = ("_name",)

    def __init__(self, signal: Signal) -> None:
        super().__init__(signal)
        self._name = signal.name

    def places(self, stretch: Stretch) -> list[int] | None:
        """Where in a stretch it moves past a limit or onto one; None: look at each event."""
        steps = self._signal.steps
        if steps is None or not _is_number(self.previous):
            return None
        values = stretch.numbers(self._name, self.previous)
        if values is None:
            return None
        calm = self.low < float(values.min()) and float(values.max()) < self.high
        return [] if calm else moves(values, steps)

    def moved(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Nobody, after one comparison, where the value lies between the same two limits."""
        value = fields.get(self._name)
        kind = type(value)
        if (kind is float or kind is int) and self.low < value < self.high:  # type: ignore[operator]
            return ()
        return self.move(scalar(value))


class FigureFence(Fence):
    """A figure of a window, which all rules share."""

    __slots__ = ("_figure", "_quantile", "_ready", "_window")

    def __init__(self, signal: Signal, window: Window, figure: str, quantile: float) -> None:
        super().__init__(signal)
        self._window, self._figure, self._quantile = window, figure, quantile
        self._ready: Instant | None = None

    def known(self, now: Instant) -> bool:
        """Whether the figure is known at an event whose sample is in the window already."""
        if self._ready is None:
            self._ready = self._window.ready()
        return self._window.known and self._ready is not None and now >= self._ready

    def moved(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Whom to ask about an event."""
        value = self._window.value(self._figure, now, self._quantile)
        if value is not None and self.low < value < self.high:
            return ()
        return self.move(value)


class ExtremeFence(FigureFence):
    """The least or the greatest sample, which is at hand."""

    __slots__ = ("_extremes",)

    def __init__(
        self, signal: Signal, window: Window, figure: str, extremes: Sequence[tuple[int, Number]]
    ) -> None:
        super().__init__(signal, window, figure, 0.0)
        self._extremes = extremes

    def moved(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Nobody, where it lies between the same two limits."""
        if self.known(now) and self.low < self._extremes[0][1] < self.high:
            return ()
        return super().moved(fields, now)


class SumFence(FigureFence):
    """A mean or the like: worked out exactly only where it may be near a limit."""

    __slots__ = ("_running", "_sure", "_until")

    def __init__(
        self, signal: Signal, window: Window, figure: str, running: Running, sure: Sure
    ) -> None:
        super().__init__(signal, window, figure, 0.0)
        self._running, self._sure = running, sure
        self._until = 0

    def moved(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Nobody, for as long as the sums cannot have come to a limit."""
        if self._running.operations < self._until and self._window.known:
            return ()
        if self.known(now):
            self._until = self._sure(self.low, self.high)
            if self._until:
                return ()
        self._until = 0
        return super().moved(fields, now)


def _figure_fence(signal: Signal, window: Window, node: Node) -> Fence:
    extremes = {"min_over": window.least, "max_over": window.greatest}.get(node.name)
    if extremes is not None and window.shape.packed is None:
        return ExtremeFence(signal, window, node.name, extremes)
    running, sure = window.running, window.sure(node.name)
    if running is not None and sure is not None:
        return SumFence(signal, window, node.name, running, sure)
    return FigureFence(signal, window, node.name, node.value.quantile)


class ValueFence(Fence):
    """Anything else: an expression, or the truth of a part that compares with no number."""

    __slots__ = ("_frame", "_run")

    def __init__(self, signal: Signal, home: Home, frame: Frame) -> None:
        super().__init__(signal)
        self._run, self._frame = home.run, frame

    def moved(self, fields: Mapping[str, Any], now: Instant) -> Sequence[int]:
        """Whom to ask about an event."""
        self._frame.now = now
        value = self._run(fields, self._frame)
        if (kind := type(value)) is float or kind is int:
            if self.low < value < self.high:
                return ()
        elif value is self.previous:
            return ()
        return self.move(value)


def fences(company: Company, pool: Pool | None) -> list[Fence]:
    """A fence for every signal of a company."""
    found = (_fence(company, signal, pool) for signal in company.signals)
    return [one for one in found if one is not None]


def _fence(company: Company, signal: Signal, pool: Pool | None) -> Fence | None:
    """None where only strangers look at it, who are asked anyway."""
    if signal.name and not signal.truth:
        return FieldFence(signal)
    for home in signal.homes:
        member = company.members[home.member]
        slots = [] if pool is None else pool.slots(member, home.levels)
        if slots is None:
            continue
        if home.node.kind == "over" and not signal.truth:
            plan = member.levels.plan if home.levels and member.levels else member.branch.plan
            slot = slots[plan.slot(home.node)]
            if isinstance(slot, Window):
                return _figure_fence(signal, slot, home.node)
        return ValueFence(signal, home, Frame(0, list(slots)))
    return None
