"""Levels as small triggers: which severity each alert of one key stands at, and why.

Time passes here only at what feeds the levels, but for `expires` and `lasts`, which are timers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from catcher.model.alert import LevelChange, Severity
from catcher.model.time import Instant, Span, format_duration
from catcher.watching.blueprint import LevelPlan
from catcher.watching.fields import Fields
from catcher.watching.frames import Frame
from catcher.watching.holds import Ease
from catcher.watching.standings import Laws, Standing
from catcher.watching.timers import Timer

MOST_STANDINGS = 10_000


@dataclass(frozen=True, slots=True)
class Sight:
    """What a level sees at one moment: the event in hand, the state, where it came from."""

    time: Instant
    fields: Fields
    frame: Frame
    values: Callable[[], dict[str, Any]]
    run: str = ""
    firing: str = ""


Say = Callable[[LevelChange], None]


class LevelBook:
    """All alerts of one key of one rule."""

    __slots__ = ("_timer", "counts", "key", "laws", "say", "standings")

    def __init__(
        self, laws: Laws, key: str, say: Say, timer: Callable[[LevelBook, Standing], Timer],
        counts: dict[str, int],
    ) -> None:  # fmt: skip
        self.laws = laws
        self.key = key
        self.say = say
        self.standings: dict[str, Standing] = {}
        self.counts = counts
        self._timer = timer

    def standing(self, per: str) -> Standing:
        """The alert of one `per` value, new if need be."""
        if per not in self.standings:
            if len(self.standings) >= MOST_STANDINGS:
                self._make_room()
            self.standings[per] = Standing(per, self.laws.machines())
            self.standings[per].timer = self._timer(self, self.standings[per])
        return self.standings[per]

    def _make_room(self) -> None:
        oldest = min(self.standings.values(), key=lambda one: one.fed)
        self.counts["alerts_dropped"] += 1
        self._drop(oldest, oldest.fed, "too many alerts of this rule stood at once")

    # -- what feeds them --------------------------------------------------------------------

    def feed(self, per: str, sight: Sight) -> None:
        """An event or a result that the levels see, in order of time."""
        standing = self.standing(per)
        standing.fed, standing.failed = sight.time, None
        unknown: LevelPlan | None = None
        judged = False
        before = [level.held for level in standing.levels]
        for plan, level in zip(self.laws.levels, standing.levels, strict=True):
            if plan.when is None:
                judged = judged or level.held
                continue
            when = plan.when.truth(sight.fields, sight.frame)
            level.sample(sight.time, when, self._clear(plan, when, sight))
            if not judged and when is None:
                unknown, judged = plan, True
            judged = judged or when is True
        self._tell(standing, sight, unknown, before)

    def _clear(self, plan: LevelPlan, when: bool | None, sight: Sight) -> bool | None:
        if plan.clear is None:
            return None if when is None else not when
        cleared: bool | None = plan.clear.truth(sight.fields, sight.frame)
        return cleared

    def again(self, now: Instant) -> None:
        """Events fed the only alert up to now with the truths of the last; nothing changed."""
        standing = self.standing("")
        standing.fed = now
        for level in standing.levels:
            level.again(now)
        if standing.timer is not None:
            standing.timer.set(self.due(standing))

    def until(self) -> Instant | None:
        """The instant from which the same truths change something."""
        return min(
            (
                level.until
                for standing in self.standings.values()
                for level in standing.levels
                if level.until is not None
            ),
            default=None,
        )

    def feed_late(self, per: str, sight: Sight) -> None:
        """A late event: it raises what it makes true at once, and changes nothing else."""
        standing = self.standing(per)
        before = [level.held for level in standing.levels]
        for plan, level in zip(self.laws.levels, standing.levels, strict=True):
            simple = plan.when is not None and not plan.when.node.stateful and not plan.spec.hold
            if simple and plan.when and plan.when.truth(sight.fields, sight.frame) is True:
                level.raise_at(sight.time)
        self._tell(standing, sight, None, before, keep_unknown=True)

    def fire(self, per: str, sight: Sight, reason: str) -> None:
        """A firing: the levels that are `always` hold from here."""
        standing = self.standing(per)
        standing.fed = max(standing.fed, sight.time)
        for plan, level in zip(self.laws.levels, standing.levels, strict=True):
            if plan.when is None:
                level.raise_at(sight.time)
        self._settle(standing, sight, reason, standing.unknown)

    def fail(self, per: str, sight: Sight, reason: str) -> None:
        """The job failed for good."""
        standing = self.standing(per)
        standing.failed = sight.time
        self._settle(standing, sight, reason, standing.unknown)

    def calm(self, reason: str, sight: Sight, ease: Ease) -> None:
        """The trigger is no longer true; what is `always` holds until it is armed again."""
        recovered = ease == "recovered"
        for standing in list(self.standings.values()):
            standing.failed = standing.failed if recovered else None
            for plan, level in zip(self.laws.levels, standing.levels, strict=True):
                if ease == "armed" or recovered == (plan.when is None):
                    level.drop()
            self._settle(standing, sight, reason, recovered and standing.unknown)

    # -- what ends them ---------------------------------------------------------------------

    def due(self, standing: Standing) -> Instant | None:
        """When the first of its levels ends by itself."""
        lasts, ends = self.laws.lasts, list[Instant]()
        if lasts is not None:
            ends += [level.latest + lasts for level in standing.levels if level.held]
            if standing.failed is not None:
                ends.append(standing.failed + lasts)
            if standing.unknown and not ends:
                ends.append(standing.fed + lasts)
        if self.laws.expires is not None and standing.alive:
            ends.append(self._expiry(standing, standing.fed))
        if self.laws.expires is not None and standing.failed is not None:
            ends.append(self._expiry(standing, standing.failed))
        return min(ends, default=None)

    def _expiry(self, standing: Standing, since: Instant) -> Instant:
        """When a result, or a failure, has been the last one for too long."""
        return max(since, standing.resumed) + (self.laws.expires or 0)

    def falls_due(self, standing: Standing, instant: Instant, sight: Sight) -> None:
        """The instant has come: what has lasted long enough ends."""
        reason = self._expire(standing, instant)
        unknown = standing.unknown and not reason
        if self.laws.lasts is not None:
            reason = self._outlast(standing, instant, self.laws.lasts) or reason
            held = any(level.held for level in standing.levels) or standing.failed is not None
            unknown = unknown and held
        self._settle(standing, sight, reason, unknown)

    def _expire(self, standing: Standing, instant: Instant) -> str:
        """Ends what has had no fresh result for too long; the words for it, if it was alive."""
        expires = self.laws.expires
        if expires is None:
            return ""
        failed = standing.failed is not None and self._expiry(standing, standing.failed) <= instant
        stale = standing.alive and self._expiry(standing, standing.fed) <= instant
        if failed:
            standing.failed = None
        if stale:
            standing.drop_levels()
        if not failed and not stale:
            return ""
        return f"no fresh result for {format_duration(expires)}: no longer evaluated"

    def _outlast(self, standing: Standing, instant: Instant, lasts: Span) -> str:
        """Ends what has lasted long enough; the words for it, if there was anything."""
        over = [one for one in standing.levels if one.held and one.latest + lasts <= instant]
        failed = standing.failed is not None and standing.failed + lasts <= instant
        for level in over:
            level.drop()
        if failed:
            standing.failed = None
        if not over and not failed and not standing.unknown:
            return ""
        return f"not true again for {format_duration(lasts)}"

    def resume(self, start: Instant) -> None:
        """After downtime, which nobody observed."""
        for standing in self.standings.values():
            standing.resume(start)
            if standing.timer is not None:
                standing.timer.set(self.due(standing))

    def forget(self, now: Instant, reason: str) -> None:
        """The key is forgotten: all its alerts end."""
        for standing in list(self.standings.values()):
            self._drop(standing, now, reason)

    def _drop(self, standing: Standing, now: Instant, reason: str) -> None:
        standing.drop_all()
        self._settle(standing, Sight(now, {}, Frame(), dict), reason, False)
        self._remove(standing)

    def _remove(self, standing: Standing) -> None:
        if standing.timer is not None:
            standing.timer.set(None)
        self.standings.pop(standing.per, None)

    # -- what is said -----------------------------------------------------------------------

    def severity(self, standing: Standing) -> Severity:
        """The highest level that holds."""
        held = [
            plan.severity
            for plan, level in zip(self.laws.levels, standing.levels, strict=True)
            if level.held
        ]
        if standing.failed is not None and self.laws.failed is not None:
            held.append(self.laws.failed)
        return max(held, default=Severity.NONE)

    def _tell(
        self, standing: Standing, sight: Sight, unknown: LevelPlan | None, before: list[bool],
        keep_unknown: bool = False,
    ) -> None:  # fmt: skip
        now_unknown = standing.unknown if keep_unknown else unknown is not None
        same = self.severity(standing) is standing.said and now_unknown is standing.unknown
        reason = self._reason(standing, sight, unknown, before) if not same else ""
        self._settle(standing, sight, reason, now_unknown)

    def _reason(
        self, standing: Standing, sight: Sight, unknown: LevelPlan | None, before: list[bool]
    ) -> str:
        severity = self.severity(standing)
        for plan, level, was in zip(self.laws.levels, standing.levels, before, strict=True):
            if plan.when is None or level.held is was:
                continue
            if plan.severity in (severity, standing.said):
                return self._sentence(plan, level.held, sight)
        if unknown is not None and unknown.when is not None:
            missing = unknown.when.missing(sight.fields, sight.frame)
            return f"{unknown.when.node.text} is unknown: {missing}"
        judging = next((plan for plan in self.laws.levels if plan.when is not None), None)
        if judging is None or judging.when is None:
            return "known again"
        return judging.when.reason(sight.fields, sight.frame)

    def _sentence(self, plan: LevelPlan, held: bool, sight: Sight) -> str:
        condition = plan.when if held or plan.clear is None else plan.clear
        words = "" if condition is None else condition.reason(sight.fields, sight.frame)
        span = plan.spec.hold if held else plan.spec.clear_hold
        held_for = f" held {format_duration(span)}" if span else ""
        return f"{words}{held_for}" if held else f"cleared: {words}{held_for}"

    def _settle(self, standing: Standing, sight: Sight, reason: str, unknown: bool) -> None:
        """Says what changed, if anything did, and keeps or forgets the standing."""
        severity = self.severity(standing)
        if severity is not standing.said or unknown is not standing.unknown:
            standing.said, standing.unknown = severity, unknown
            self.counts["level_changes"] += 1
            self.say(
                LevelChange(
                    self.laws.rule, self.key, standing.per, severity, sight.time, reason,
                    sight.values(), unknown, sight.run, sight.firing,
                )
            )  # fmt: skip
        if not self.laws.single and standing.idle():
            self._remove(standing)
        elif standing.timer is not None:
            standing.timer.set(self.due(standing))

    # -- saving -----------------------------------------------------------------------------

    def save(self) -> list[dict[str, Any]]:
        """The state as JSON values."""
        return [standing.save() for standing in self.standings.values()]

    def load(self, state: list[Mapping[str, Any]]) -> None:
        """Takes a saved state back."""
        for saved in state:
            standing = self.standing(saved["per"])
            standing.load(saved)
            if standing.timer is not None:
                standing.timer.set(self.due(standing))
