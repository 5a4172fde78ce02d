"""What an engine takes up where another left it, however that one ended.

Saved state wins, the history fills what no state has, and events that were acknowledged but that
no state knows of come in again from the inbox, in their order. Downtime is unobserved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from catcher.model.alert import LevelChange, Notice
from catcher.model.commit import TriggerState
from catcher.model.event import Admitted, Arrived
from catcher.model.health import Update
from catcher.model.run import Firing, Run
from catcher.model.time import Instant
from catcher.priming import prime
from catcher.steps import Decided, Parts

AT_ONCE = 5_000
"""How many events of the inbox are taken up at a time."""

See = Callable[[Sequence[Admitted], Decided, Instant], None]
Weigh = Callable[[Iterable[Firing | LevelChange], Decided, Instant], None]
Keep = Callable[[Decided, set[str]], None]


@dataclass(frozen=True)
class Story:
    """How the engine takes things in; what it makes of them goes into a `Decided`.

    `keep` is told, too, from which sources some of it came by the inbox.
    """

    see: See
    weigh: Weigh
    keep: Keep


async def resume(parts: Parts, story: Story) -> None:
    """Restores the triggers, takes up the rest of the inbox, and lets time go on from now."""
    decided, now = Decided(), parts.clock()
    saved = await parts.ledger.states()
    states = [one for one in saved if one.rule not in parts.elsewhere]
    decided.forgotten.extend(_gone(parts, states))
    story.weigh(parts.network.restore(states), decided, now)
    left = await _left(parts)
    away = await prime(parts.network, parts.history, _first_of_each(left))
    if away:
        words = f"windows begin empty, since the history is away: {away}"
        parts.streams.publish(Update("problem", now, words))
    for arrived in left:
        event, received = arrived
        story.see(parts.admission.admit(event.source, [event], received), decided, received)
    parts.admission.recall(*await parts.ledger.marks())
    known = [source.name for source in parts.sources]
    on_wall_time = [name for name in known if parts.admission.on_wall_time(name)]
    alive = await parts.ledger.alive()
    if on_wall_time and 0 < alive <= now:
        # What fell due while somebody still watched is decided as of then, not lost to downtime.
        seen = {name: alive if name in on_wall_time else 0 for name in known}
        story.weigh(parts.network.advance(seen), decided, now)
    parts.network.resume(now, on_wall_time, everywhere=on_wall_time == known)
    story.keep(decided, {event.source for event, _ in left})


async def left_over(parts: Parts) -> tuple[list[Run], list[Notice]]:
    """The runs and notices that engines before this one left, of the rules that it carries."""
    runs, notices = await parts.ledger.unfinished(), await parts.ledger.undelivered()
    return (
        [run for run in runs if run.rule not in parts.elsewhere],
        [one for one in notices if one.alert.rule not in parts.elsewhere],
    )


def again(left: Sequence[Run]) -> list[Run]:
    """Runs that were left, to be carried out now; a whole brings its parts along."""
    whole = {run.id for run in left}
    return [replace(run, state="pending") for run in left if run.parent not in whole]


async def _left(parts: Parts) -> list[Arrived]:
    """What is in the inbox and in no state, in its order."""
    left: list[Arrived] = []
    place = 0
    while rows := await parts.ledger.uncovered(place, AT_ONCE):
        place = rows[-1][0]
        left += (arrived for _, arrived in rows)
    return left


def _first_of_each(left: Sequence[Arrived]) -> dict[str, Instant]:
    """From when on the inbox, not the history, has what came of each topic."""
    first: dict[str, Instant] = {}
    for event, _ in left:
        first[event.topic] = min(event.time, first.get(event.topic, event.time))
    return first


def _gone(parts: Parts, states: Sequence[TriggerState]) -> Iterator[str]:
    """Rules that are no more, with states: if one comes back, it begins anew."""
    for rule in sorted({state.rule for state in states}):
        if rule not in parts.rules and rule not in parts.alerting.broken:
            yield rule
