"""At which severity each alert of a rule must stand, and since when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, LevelSpec, Rule
from catcher.model.time import MINUTE
from tests.oracle import oracle
from tests.oracle.functions import Unknown
from tests.oracle.oracle import Watched, fired, text, truths
from tests.oracle.truth import Feed, Moment, Sample, calls_over_time

LASTING_KINDS = ("event", "sequence", "result", "http")
Metrics = Callable[[str, int], Mapping[str, Any]]
"""What the job of a rule finds: fields of its result, by key and instant of the firing."""


class Changed(NamedTuple):
    """A level change, as far as the meanings determine it."""

    rule: str
    key: str
    per: str
    severity: Severity
    time: int


@dataclass(frozen=True)
class Happening:
    """Something that levels of one key hear of.

    `what`: `feed` (an event or a result that they judge), `firing`, `armed`, `false` (the
    trigger's own `when` turned false), `late` (an event that came when its stream had already
    reached the instant `reached`).
    """

    time: int
    position: float
    what: str
    moment: Moment | None = None
    reached: int = 0

    @property
    def order(self) -> tuple[int, float, int]:
        kinds = ("armed", "false", "firing", "late", "feed")
        return max(self.time, self.reached), self.position, kinds.index(self.what)


def level_changes(rule: Rule, watched: Watched, metrics: Metrics | None = None) -> list[Changed]:
    """Every change of severity of every alert of a rule, in order of time."""
    assert rule.alert is not None
    found: list[Changed] = []
    for key, happenings in _by_key(rule, watched, metrics).items():
        for per, story in _by_per(rule, rule.alert, happenings).items():
            standing = _Standing(rule, rule.alert)
            for time, severity in standing.changes(story, watched.end):
                found.append(Changed(rule.id, key, per, severity, time))
    return sorted(found, key=lambda each: (each.time, each.key, each.per))


def _by_key(rule: Rule, watched: Watched, metrics: Metrics | None) -> dict[str, list[Happening]]:
    stories: dict[str, list[Happening]] = {}
    for key, happening in _trigger_story(rule, watched):
        stories.setdefault(key, []).append(happening)
    if metrics is not None:
        for key, happening in _results(rule, watched, metrics):
            stories.setdefault(key, []).append(happening)
    return {key: sorted(story, key=lambda each: each.order) for key, story in stories.items()}


def _trigger_story(rule: Rule, watched: Watched) -> Iterator[tuple[str, Happening]]:
    trigger = rule.trigger
    if trigger.kind == "absent":
        for _, time in fired(rule, trigger, watched):
            yield "", Happening(time, float("inf"), "firing")
        for position, item, late in oracle.in_time(oracle.topics(trigger), watched.admitted):
            if not late:
                yield "", Happening(item.event.time, position, "armed")
        return
    if trigger.kind == "sequence":
        for key, time in fired(rule, trigger, watched):
            yield key, Happening(time, 0, "firing")
        return
    if oracle.plain(trigger):
        for place, key, time, _ in oracle.fired_at_samples(rule, trigger, watched):
            yield key, Happening(time, place, "firing")
    seen = oracle.seen_by(rule, trigger, watched)
    if oracle.plain(trigger) and trigger.kind != "result" and rule.job is None:
        for key, moment in seen.late:
            place = int(moment.sample.position)
            reached = max(
                i.event.time
                for _, i, late in oracle.in_time({trigger.topic}, watched.admitted[:place])
                if not late
            )
            yield key, Happening(moment.time, place, "late", moment, reached)
    for key, moments in seen.timely.items():
        for moment in moments:
            when_and_where = moment.time, moment.sample.position
            if rule.job is None:
                yield key, Happening(*when_and_where, "feed", moment)
            if rule.job and trigger.when:
                [when] = truths(trigger.when, trigger.clear, [moment])
                if when.alone is False or (when.alone is True and when.clears is True):
                    yield key, Happening(*when_and_where, "false", moment)
        if trigger.when is not None and trigger.every is None:
            for crossing in oracle.crossed(trigger, moments, watched.end):
                moment = moments[crossing.place]
                what = "firing" if crossing.fires else "armed"
                yield key, Happening(crossing.time, moment.sample.position, what, moment)


def _results(rule: Rule, watched: Watched, metrics: Metrics) -> Iterator[tuple[str, Happening]]:
    reads = oracle.reads_of(rule, watched.admitted)
    feeds: dict[str, Feed] = {}
    causes = [
        (time, place if sample.time == time else _last_place(watched, time), key)
        for place, key, time, sample in oracle.fired_at_samples(rule, rule.trigger, watched)
    ]
    for time, place, key in sorted(causes):
        feed = feeds.setdefault(key, Feed(rule, [], reads))
        position = place + 0.5
        sample = Sample(position, time, metrics(key, time))
        feed.samples.append(sample)
        yield key, Happening(time, position, "feed", Moment(feed, sample))


def _last_place(watched: Watched, time: int) -> float:
    """The place of the last event up to an instant: a timer's result follows it."""
    return max(p for p, item in enumerate(watched.admitted) if item.event.time <= time)


def _by_per(
    rule: Rule, spec: AlertSpec, happenings: Sequence[Happening]
) -> dict[str, list[Happening]]:
    """The happenings that each alert of a key hears of: its own feeds, and all the rest."""
    pers: dict[int, str] = {}
    for place, happening in enumerate(happenings):
        if happening.what in ("feed", "late") and happening.moment is not None:
            value = text(spec.per, happening.moment.sample.fields, rule)
            if value is not None:
                pers[place] = value
    names = dict.fromkeys(pers.values()) if spec.per else {"": None}
    return {
        name: [
            happening
            for place, happening in enumerate(happenings)
            if happening.what not in ("feed", "late") or pers.get(place) == name
        ]
        for name in names
    }


@dataclass
class _Level:
    """One severity of one alert: what it has heard since it was last reset.

    Results are sparse by nature: between them no silence breaks a hold (`stale_after` None).
    """

    spec: LevelSpec
    stale_after: int | None
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
            if value is False or (value is True and self._too_long(first - time)):
                break
            if value is True:
                first = time
        return self.heard[-1][0] - first >= (hold or 0)

    def _too_long(self, silence: int) -> bool:
        return self.stale_after is not None and silence > self.stale_after


class _Standing:
    """The levels of one alert, worked through its happenings in order."""

    def __init__(self, rule: Rule, spec: AlertSpec) -> None:
        stale_after = None if rule.job else rule.trigger.stale_after
        self.levels = {
            severity: _Level(level, stale_after) for severity, level in spec.levels.items()
        }
        self.lasts = spec.lasts
        if self.lasts is None and rule.trigger.kind in LASTING_KINDS:
            self.lasts = 10 * MINUTE
        self.expires = spec.expires
        self.last_feed = 0

    def changes(self, story: Sequence[Happening], end: int) -> Iterator[tuple[int, Severity]]:
        standing = Severity.NONE
        for time in self._instants(story, end):
            if self.severity != standing:
                standing = self.severity
                yield time, standing

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
        due = [level.last_true + self.lasts for level in active if self.lasts is not None]
        if active and self.expires is not None:
            due.append(self.last_feed + self.expires)
        return due

    def _drop_at(self, instant: int) -> None:
        for level in self.levels.values():
            over = self.lasts is not None and level.last_true + self.lasts <= instant
            stale = self.expires is not None and self.last_feed + self.expires <= instant
            if stale or (level.active and over):
                level.drop()

    def _hear(self, happening: Happening) -> None:
        if happening.what == "feed":
            if self.expires is not None and happening.time > self.last_feed + self.expires:
                self._drop_at(happening.time - 1)
            self.last_feed = happening.time
        for level in self.levels.values():
            always = level.spec.when is None
            if happening.what == "feed" and happening.moment is not None:
                level.hear(happening.moment)
            elif happening.what == "late" and happening.moment is not None:
                level.hear_late(happening.moment)
            elif happening.what == "armed" or (happening.what == "false" and not always):
                level.drop()
            elif happening.what == "firing" and always:
                level.active, level.last_true = True, happening.time

    @property
    def severity(self) -> Severity:
        return max((s for s, level in self.levels.items() if level.active), default=Severity.NONE)
