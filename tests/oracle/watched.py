"""The input of a rule: what was admitted, as the rule's triggers and reads see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from catcher.model.event import Admitted
from catcher.model.rule import Expr, Rule, Trigger
from tests.oracle.moments import Feed, Moment, Sample
from tests.oracle.truth import stateless

Pauses = Sequence[tuple[int, int]]
"""Downtimes: the last instant that was watched, and the one from which it went on."""


class Fired(NamedTuple):
    """A firing, as far as the meanings determine it."""

    rule: str
    key: str
    time: int


@dataclass(frozen=True)
class Watched:
    """The whole input: what was admitted, in its order, and the span of the watch."""

    admitted: Sequence[Admitted]
    start: int
    end: int
    pauses: Pauses = ()

    @classmethod
    def of(cls, admitted: Sequence[Admitted], pauses: Pauses = ()) -> Watched:
        """A recorded stream: watched from its first event to its last."""
        times = [item.event.time for item in admitted]
        return cls(admitted, times[0], max(times), pauses)

    def observed(self, instant: int) -> bool:
        """Whether anybody watched at an instant."""
        down = any(stop < instant < again for stop, again in self.pauses)
        return self.start <= instant <= self.end and not down


def topics(trigger: Trigger) -> set[str]:
    """The topics of a trigger's own stream."""
    return {trigger.topic} if trigger.topic else {step.topic for step in trigger.steps}


def in_time(names: set[str], admitted: Sequence[Admitted]) -> list[tuple[int, Admitted, bool]]:
    """The events of a stream by their place in the admitted order; the last tells a late one."""
    found: list[tuple[int, Admitted, bool]] = []
    latest = -1
    for position, item in enumerate(admitted):
        if item.event.topic in names:
            late = item.late or item.event.time < latest
            latest = max(latest, item.event.time)
            found.append((position, item, late))
    return found


def text_of(value: Any) -> str | None:
    """A `by`, `once_per` or `per` value as text; None for what names nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


def passes(where: Expr | None, fields: Mapping[str, Any], rule: Rule) -> bool:
    """Whether an event passes a `where`."""
    return where is None or stateless(where.text, fields, rule) is True


def text(expr: Expr | None, fields: Mapping[str, Any], rule: Rule) -> str | None:
    """What an expression names; the empty text without one, None where it is unknown."""
    return "" if expr is None else text_of(stateless(expr.text, fields, rule))


@dataclass
class Life:
    """One key from its first event until, `forget_after` its last one, all of it is forgotten.

    `end` is the last instant at which anything of it can happen.
    """

    key: str
    moments: list[Moment]
    end: int
    forgotten: bool = False


@dataclass
class Seen:
    """A trigger's events, each a moment, by the lives of their keys; late ones apart."""

    lives: list[Life] = field(default_factory=list)
    late: list[tuple[str, Moment]] = field(default_factory=list)


def seen_by(rule: Rule, trigger: Trigger, watched: Watched) -> Seen:
    """The events that pass `where` and have a key, as a rule sees them."""
    reads = reads_of(rule, watched.admitted)
    seen = Seen()
    latest: dict[str, Life] = {}
    for position, item, late in in_time(topics(trigger), watched.admitted):
        fields, time = item.event.fields, item.event.time
        key = text(trigger.by, fields, rule)
        if key is None or not passes(trigger.where, fields, rule):
            continue
        sample = Sample(position, time, fields)
        if late:
            seen.late.append((key, Moment(Feed(rule, [], reads), sample)))
            continue
        life = latest.get(key)
        if life is None or forgotten(trigger, life.moments[-1].time, time):
            life = latest[key] = Life(key, [], 0)
            seen.lives.append(life)
        feed = life.moments[0].feed if life.moments else Feed(rule, [], reads)
        feed.samples.append(sample)
        life.moments.append(Moment(feed, sample))
    for life in seen.lives:
        last = life.moments[-1].time
        life.forgotten = forgotten(trigger, last, watched.end + 1)
        life.end = last + (trigger.forget_after or 0) if life.forgotten else watched.end
    return seen


def forgotten(trigger: Trigger, last: int, now: int) -> bool:
    """Whether a key whose last event came at an instant has been forgotten before another."""
    return trigger.forget_after is not None and now - last > trigger.forget_after


def reads_of(rule: Rule, admitted: Sequence[Admitted]) -> dict[str, list[Sample]]:
    """What each read has seen."""
    return {
        name: [
            Sample(position, item.event.time, item.event.fields)
            for position, item, late in in_time({read.topic}, admitted)
            if not late and passes(read.where, item.event.fields, rule)
        ]
        for name, read in rule.reads.items()
    }


def at_instants(rule: Rule, instants: Sequence[int], watched: Watched) -> Iterator[Moment]:
    """Instants without an event, with what the reads knew by then."""
    feed = Feed(rule, [], reads_of(rule, watched.admitted))
    for instant in instants:
        sample = Sample(float("inf"), instant, {})
        feed.samples.append(sample)
        yield Moment(feed, sample)
