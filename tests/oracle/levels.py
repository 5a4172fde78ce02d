"""At which severity each alert of a rule must stand, and since when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from catcher.model.alert import Severity
from catcher.model.rule import AlertSpec, Rule
from tests.oracle import oracle
from tests.oracle.moments import Feed, Moment, Sample
from tests.oracle.oracle import fired, truths
from tests.oracle.standing import Standing
from tests.oracle.watched import Watched, in_time, reads_of, seen_by, text, topics

Metrics = Callable[[str, int], Mapping[str, Any] | None]
"""What the job of a rule finds, by key and instant of the firing; None where it fails."""


class Changed(NamedTuple):
    """A level change, as far as the meanings determine it."""

    rule: str
    key: str
    per: str
    severity: Severity
    unknown: bool
    time: int


@dataclass(frozen=True)
class Happening:
    """Something that levels of one key hear of.

    `what`: `feed` (an event or a result that they judge), `failed` (a job did), `firing`,
    `armed`, `recovered` (armed by a true sample after a gap: never false, so that only what is
    `always` drops), `false` (the trigger's own `when` turned false), `forgotten` (the key was),
    `late` (an event that came when its stream had already reached the instant `reached`).
    """

    time: int
    position: float
    what: str
    moment: Moment | None = None
    reached: int = 0

    @property
    def order(self) -> tuple[int, float, int]:
        kinds = ("armed", "recovered", "false", "firing", "late", "failed", "feed", "forgotten")
        return max(self.time, self.reached), self.position, kinds.index(self.what)

    @property
    def of_one_alert(self) -> bool:
        """Whether it concerns the alert that its fields name, and no other of the key."""
        return self.what in ("feed", "late", "failed")


def level_changes(rule: Rule, watched: Watched, metrics: Metrics | None = None) -> list[Changed]:
    """Every change of severity, or of knowing it, of every alert of a rule, in order of time."""
    assert rule.alert is not None
    found: list[Changed] = []
    for key, happenings in _by_key(rule, watched, metrics).items():
        for per, story in _by_per(rule, rule.alert, happenings).items():
            standing = Standing(rule, rule.alert, watched.pauses)
            for time, severity, unknown in standing.changes(story, watched.end):
                found.append(Changed(rule.id, key, per, severity, unknown, time))
    return at_last(found)


def at_last(changes: Iterable[Changed]) -> list[Changed]:
    """Of the changes of an alert at one instant the last, if it is one to what was before."""
    alerts: dict[tuple[str, str, str], list[Changed]] = {}
    for change in changes:
        story = alerts.setdefault(change[:3], [])
        if story and story[-1].time == change.time:
            story.pop()
        before = story[-1][3:5] if story else (Severity.NONE, False)
        if change[3:5] != before:
            story.append(change)
    found = [change for story in alerts.values() for change in story]
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
        yield from _silences(rule, watched)
        return
    if trigger.kind == "sequence":
        for key, time in fired(rule, trigger, watched):
            yield key, Happening(time, 0, "firing")
        yield from _forgotten(rule, watched)
        return
    if oracle.plain(trigger):
        for found in oracle.fired_at_samples(rule, trigger, watched):
            yield found.key, Happening(found.time, found.place, "firing")
        if trigger.kind != "result" and rule.job is None:
            yield from _late(rule, watched)
    refused = oracle.refused(rule, trigger, watched)
    for life in seen_by(rule, trigger, watched).lives:
        for moment in life.moments:
            when_and_where = moment.time, moment.sample.position
            if rule.job is None:
                yield life.key, Happening(*when_and_where, "feed", moment)
            if rule.job and trigger.when:
                [when] = truths(trigger.when, trigger.clear, [moment])
                if when.alone is False or (when.alone is True and when.clears is True):
                    yield life.key, Happening(*when_and_where, "false", moment)
        if trigger.when is not None and trigger.every is None:
            for crossing in oracle.crossed(trigger, life, watched, refused):
                moment = life.moments[crossing.place]
                rest = "recovered" if crossing.recovered else "armed"
                what = "firing" if crossing.fires else rest
                yield life.key, Happening(crossing.time, moment.sample.position, what, moment)
    yield from _forgotten(rule, watched)


def _silences(rule: Rule, watched: Watched) -> Iterator[tuple[str, Happening]]:
    trigger = rule.trigger
    for key, time in fired(rule, trigger, watched):
        yield key, Happening(time, float("inf"), "firing")
    for position, item, late in in_time(topics(trigger), watched.admitted):
        heard = text(trigger.by, item.event.fields, rule)
        if not late and heard is not None:
            yield heard, Happening(item.event.time, position, "armed")
    yield from _forgotten(rule, watched)


def _forgotten(rule: Rule, watched: Watched) -> Iterator[tuple[str, Happening]]:
    for life in seen_by(rule, rule.trigger, watched).lives:
        if life.forgotten:
            yield life.key, Happening(life.end, float("inf"), "forgotten")


def _late(rule: Rule, watched: Watched) -> Iterator[tuple[str, Happening]]:
    for key, moment in seen_by(rule, rule.trigger, watched).late:
        place = int(moment.sample.position)
        before = in_time(topics(rule.trigger), watched.admitted[:place])
        reached = max(item.event.time for _, item, late in before if not late)
        yield key, Happening(moment.time, place, "late", moment, reached)


def _results(rule: Rule, watched: Watched, metrics: Metrics) -> Iterator[tuple[str, Happening]]:
    feeds: dict[str, Feed] = {}
    reads = reads_of(rule, watched.admitted)
    for key, sample, found in results(rule, watched, metrics):
        feed = feeds.setdefault(key, Feed(rule, [], reads))
        moment = Moment(feed, sample)
        if found:
            feed.samples.append(sample)
        yield key, Happening(sample.time, sample.position, "feed" if found else "failed", moment)


def results(rule: Rule, watched: Watched, metrics: Metrics) -> Iterator[tuple[str, Sample, bool]]:
    """What comes of each firing's run, in their order: key, result, whether there is one.

    A result carries the fields of the event that fired, and stands before the next event.
    """
    causes = [
        (each.time, each.place if each.sample.time == each.time else _last(watched, each.time),
         each.key, each.sample.fields)
        for each in oracle.fired_at_samples(rule, rule.trigger, watched)
    ]  # fmt: skip
    for turn, (time, place, key, fields) in enumerate(sorted(causes, key=lambda one: one[:3])):
        found = metrics(key, time)
        position = place + 0.5 + turn * 1e-6
        yield key, Sample(position, time, {**fields, **(found or {})}), found is not None


def _last(watched: Watched, time: int) -> float:
    """The place of the last event up to an instant: a timer's result follows it."""
    return max(p for p, item in enumerate(watched.admitted) if item.event.time <= time)


def _by_per(
    rule: Rule, spec: AlertSpec, happenings: Sequence[Happening]
) -> dict[str, list[Happening]]:
    """The happenings that each alert of a key hears of: its own feeds, and all the rest."""
    pers: dict[int, str] = {}
    for place, happening in enumerate(happenings):
        if happening.of_one_alert and happening.moment is not None:
            value = text(spec.per, happening.moment.sample.fields, rule)
            if value is None and happening.what == "failed":
                value = ""
            if value is not None:
                pers[place] = value
    names = dict.fromkeys(pers.values()) if spec.per else {"": None}
    return {
        name: [
            happening
            for place, happening in enumerate(happenings)
            if not happening.of_one_alert or pers.get(place) == name
        ]
        for name in names
    }
