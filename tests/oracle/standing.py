"""One alert, worked through all that it hears of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, LevelSpec, Rule
from catcher.model.time import MINUTE
from tests.oracle.functions import Unknown
from tests.oracle.holds import silence
from tests.oracle.moments import Moment
from tests.oracle.oracle import truths
from tests.oracle.truth import calls_over_time, truth
from tests.oracle.watched import Pauses

LASTING_KINDS = ("event", "sequence", "result", "http", "schedule", "every")


class Happening(Protocol):
    """Something that an alert hears of; `levels` says what there is."""

    @property
    def time(self) -> int: ...
    @property
    def what(self) -> str: ...
    @property
    def moment(self) -> Moment | None: ...
    @property
    def order(self) -> tuple[int, float, int]: ...


@dataclass
class _Level:
    """One severity of one alert: what it has heard since it was last reset.

    Results are sparse by nature: between them no silence breaks a hold but the one after which
    they expire (without that, `stale_after` is None).
    """

    spec: LevelSpec
    stale_after: int | None
    pauses: Pauses
    heard: list[tuple[int, bool | Unknown, bool | Unknown]] = field(default_factory=list)
    active: bool = False
    last_true: int = 0

    def drop(self) -> None:
        self.active = False
        self.heard.clear()

    def hear(self, moment: Moment) -> None:
        if self.spec.when is None:
            return
        [(holds, clears, _)] = truths(self.spec.when, self.spec.clear, [moment])
        self.heard.append((moment.time, holds, clears))
        if holds is True:
            self.last_true = moment.time
        if not self.active and self._holds(1, self.spec.hold):
            self.active = True
            self.heard.clear()
        elif self.active and self._holds(2, self.spec.clear_hold):
            self.active = False
            self.heard.clear()

    def hear_late(self, moment: Moment) -> None:
        """It raises what looks at nothing but this event; it clears nothing."""
        spec = self.spec
        if spec.when is None or spec.hold is not None or calls_over_time(spec.when.text):
            return
        [(holds, _, _)] = truths(spec.when, spec.clear, [moment])
        if holds is True:
            self.active, self.last_true = True, max(self.last_true, moment.time)

    def _holds(self, which: int, hold: int | None) -> bool:
        """Whether a truth has now been heard, without a known break, for as long as asked."""
        if self.heard[-1][which] is not True:
            return False
        first = self.heard[-1][0]
        for time, *values in reversed(self.heard):
            value = values[which - 1]
            if value is False or (value is True and self._too_long(time, first)):
                break
            if value is True:
                first = time
        return self.heard[-1][0] - first >= (hold or 0)

    def _too_long(self, since: int, until: int) -> bool:
        return self.stale_after is not None and silence(since, until, self.pauses) > (
            self.stale_after
        )


class Standing:
    """The levels of one alert, worked through its happenings in order."""

    def __init__(self, rule: Rule, spec: AlertSpec, pauses: Pauses) -> None:
        stale_after = spec.expires if rule.job else rule.trigger.stale_after
        self.levels = {
            severity: _Level(spec.levels[severity], stale_after, pauses)
            for severity in sorted(spec.levels, reverse=True)
        }
        self.lasts = spec.lasts
        if self.lasts is None and rule.trigger.kind in LASTING_KINDS:
            self.lasts = 10 * MINUTE
        self.expires = spec.expires
        self.failing = spec.failed
        self.pauses = pauses
        self.last_feed = 0
        self.failed: int | None = None
        self.unknown = False

    def changes(self, story: Sequence[Happening], end: int) -> Iterator[tuple[int, Severity, bool]]:
        """What is said of it: instant, severity, and whether it cannot be judged."""
        said = (Severity.NONE, False)
        for time in self._instants(story, end):
            if (self.severity, self.unknown) != said:
                said = (self.severity, self.unknown)
                yield time, *said

    def _instants(self, story: Sequence[Happening], end: int) -> Iterator[int]:
        """Works through the story; yields the time after each event and after each end."""
        for (reached, _), together in groupby(story, key=lambda each: each.order[:2]):
            yield from self._ends(reached - 1)
            for happening in together:
                self._hear(happening)
            yield happening.time
        yield from self._ends(end)

    def _ends(self, until: int) -> Iterator[int]:
        """What drops by itself up to an instant, one instant after the other."""
        while (due := self._due()) and min(due) <= until:
            self._drop_at(min(due))
            yield min(due)

    def _due(self) -> list[int]:
        active = [level for level in self.levels.values() if level.active]
        due: list[int] = []
        if self.lasts is not None:
            due += [level.last_true + self.lasts for level in active]
            due += [self.failed + self.lasts] if self.failed is not None else []
            due += [self.last_feed + self.lasts] if self.unknown and not due else []
        if self.expires is not None:
            due += [self._expiry(self.last_feed)] if active or self.unknown else []
            due += [self._expiry(self.failed)] if self.failed is not None else []
        return due

    def _expiry(self, since: int) -> int:
        """Downtime is unobserved: that no result came then says nothing."""
        assert self.expires is not None
        due = since + self.expires
        for stop, again in self.pauses:
            if since < again and stop < due:
                due = again + self.expires
        return due

    def _drop_at(self, instant: int) -> None:
        if self.expires is not None and self._expiry(self.last_feed) <= instant:
            self._drop_levels()
        if self.failed is not None:
            over = self.lasts is not None and self.failed + self.lasts <= instant
            if over or (self.expires is not None and self._expiry(self.failed) <= instant):
                self.failed = None
        if self.lasts is not None:
            for level in self.levels.values():
                if level.active and level.last_true + self.lasts <= instant:
                    level.drop()
            if self.severity is Severity.NONE:
                self.unknown = False

    def _drop_levels(self) -> None:
        self.unknown = False
        for level in self.levels.values():
            level.drop()

    def _hear(self, happening: Happening) -> None:
        match happening.what, happening.moment:
            case "feed", Moment() as moment:
                self._feed(moment)
            case "late", Moment() as moment:
                for level in self.levels.values():
                    level.hear_late(moment)
            case "failed", _:
                self.failed = happening.time if self.failing is not None else None
            case "firing", _:
                for level in self.levels.values():
                    if level.spec.when is None:
                        level.active, level.last_true = True, happening.time
            case "recovered", _:
                for level in self.levels.values():
                    if level.spec.when is None:
                        level.drop()
            case ("armed" | "false" | "forgotten") as what, _:
                self.failed, self.unknown = None, False
                for level in self.levels.values():
                    if what != "false" or level.spec.when is not None:
                        level.drop()

    def _feed(self, moment: Moment) -> None:
        if self.expires is not None and moment.time > self._expiry(self.last_feed):
            self._drop_levels()
        self.last_feed, self.failed = moment.time, None
        for level in self.levels.values():
            level.hear(moment)
        self.unknown = self._cannot_be_judged(moment)

    def _cannot_be_judged(self, moment: Moment) -> bool:
        """From the most severe level down, the first whose `when` is not false decides."""
        for level in self.levels.values():
            if level.spec.when is None:
                if level.active:
                    return False
                continue
            alone = truth(level.spec.when.text, moment)
            if alone is not False:
                return isinstance(alone, Unknown)
        return False

    @property
    def severity(self) -> Severity:
        """The highest level that holds."""
        held = [severity for severity, level in self.levels.items() if level.active]
        if self.failed is not None and self.failing is not None:
            held.append(self.failing)
        return max(held, default=Severity.NONE)
