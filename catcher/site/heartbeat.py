"""The sections `heartbeat:` and `announce:` of `catcher.yaml`: the ways out, and how often."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from catcher.model.problem import Place
from catcher.model.time import MINUTE, SECOND, Span
from catcher.site.adapters import ANNOUNCEMENTS, HEARTBEATS, Adapters, Kinds, fit
from catcher.site.binding import Section
from catcher.site.nodes import Branch, Report, lost, quoted
from catcher.site.reader import Table
from catcher.site.words import closest

EVERY = 10 * SECOND
SHORTEST, LONGEST = SECOND, 10 * MINUTE
_DECLARE = "declare one: sinks: {love: {love: {url: …}}}"
_HINT = "write it like heartbeat: {every: 10s, mqtt: {host: broker.example}}"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How often a heartbeat leaves the engine, and the ways that it takes, by their kind."""

    every: Span = EVERY
    ways: tuple[Section, ...] = ()
    place: Place = field(default=Place(), compare=False)

    def values(self) -> dict[str, Any]:
        """What it says, to see whether it was edited."""
        return {"every": self.every, **{way.kind: way.values() for way in self.ways}}


def read_heartbeat(table: Table, adapters: Adapters) -> Heartbeat:
    """The section as far as it is good; without one, no heartbeat leaves."""
    below = table.table("heartbeat", hint=_HINT)
    if below is None:
        return Heartbeat()
    every = below.duration("every") or EVERY
    if not SHORTEST <= every <= LONGEST:
        message = "a heartbeat comes every second at most, and every 10 minutes at least"
        below.report.error(below.place_of("every"), message, "write it like every: 10s")
        every = EVERY
    ways = read_ways(below, replace(HEARTBEATS, classes=adapters))
    below.done()
    return Heartbeat(every, ways, below.place)


def read_announcements(table: Table, adapters: Adapters) -> tuple[Section, ...]:
    """The section `announce:`: who else hears of each result, and by which ways."""
    below = table.table("announce", hint="write it like announce: {mqtt: {host: broker.example}}")
    if below is None:
        return ()
    ways = read_ways(below, replace(ANNOUNCEMENTS, classes=adapters))
    below.done()
    return ways


def read_ways(below: Table, kinds: Kinds) -> tuple[Section, ...]:
    """The kinds that a table names, one at least, as far as their settings are good."""
    ways: list[Section] = []
    for kind in kinds.here:
        node = below.raw(kind)
        if node is None or lost(node):
            continue
        section = below.table(kind, hint=f"write it like {kind}: {{key: value}}")
        if section is not None:
            way = Section(kind, below.key_place(kind), section.node, kind)
            ways += [made] if (made := fit(way, kinds, below.report)) else []
    if not any(map(below.has, kinds.here)):
        message = f"{below.what} does not say where to"
        below.report.error(below.place, message, f"add one of {', '.join(kinds.here)}")
    return tuple(ways)


def check_sink(heartbeat: Heartbeat, loves: Collection[str] | None, report: Report) -> None:
    """Reports a heartbeat that goes through a sink which is not LOVE, or not there.

    `loves` are the names of the sinks to LOVE; None where the routes cannot be read.
    """
    for way in heartbeat.ways:
        entry = way.node.entries.get("sink") if isinstance(way.node, Branch) else None
        name = str(way.values().get("sink", ""))
        if way.kind != "love" or entry is None or loves is None or name in loves:
            continue
        best = closest(name, sorted(loves))
        hint = f"did you mean {quoted(best)}?" if best else _DECLARE
        message = f"there is no sink to LOVE named {quoted(name)} in alerts/routes.yaml"
        report.error(entry.node.place, message, hint)
