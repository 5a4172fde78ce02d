"""The parts of a route: what it matches, when, and to whom it hands on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from catcher.alerting.matching import Match, SeverityTest, SunWindow
from catcher.alerting.noise import Flapping, Flood, Noise, Rate
from catcher.alerting.windows import Window, parse_window
from catcher.site.nodes import Branch, Items, Scalar
from catcher.site.reader import Table

HAND_ON = "write it like {after: 5m, to: [console]}"
TO = "write it like to: [console]"
_NOISE = "write it like noise: {flood: {above: 10, below: 5, within: 10m}}"
Parsed = TypeVar("Parsed")


def read_match(table: Table, key: str) -> Match | None:
    """What an alert must be."""
    below = table.table(key, hint="write it like match: {owner: tma, severity: '>= serious'}")
    if below is None:
        return None
    severity = parsed(below, "severity", SeverityTest.parse)
    unknown = below.flag("unknown", True)
    match = Match(
        rule=below.texts("rule"),
        severity=severity[0] if severity else None,
        owner=below.texts("owner"),
        tags=below.texts("tags"),
        labels=below.labels("labels"),
        time=windows(below, "time"),
        unknown=unknown if below.has("unknown") else None,
        place=below.place,
    )
    below.done()
    return match


def windows(table: Table, key: str) -> tuple[Window, ...]:
    """Stretches of time: hours, `day`, `night`, `sun < -12`."""
    return parsed(table, key, parse_window)


def by_the_sun(found: tuple[Window, ...]) -> bool:
    """Whether one of them asks where the sun stands."""
    return any(isinstance(one, SunWindow) for one in found)


def parsed(table: Table, key: str, parse: Callable[[str], Parsed]) -> tuple[Parsed, ...]:
    """The texts of a key, each parsed; what cannot be is a problem."""
    made = []
    for text in table.texts(key):
        try:
            made.append(parse(text))
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            table.report.error(table.place_of(key), message, hint)
    return tuple(made)


def read_rate(table: Table) -> Rate | None:
    """`rate: 30 per 1m` of a sink."""
    made = parsed(table, "rate", Rate.parse)
    return made[0] if made else None


def hand_ons(table: Table, key: str) -> list[Table]:
    """The steps of an escalation: one mapping, or a list of them."""
    if isinstance(table.raw(key), Items):
        return table.tables(key, f"`{key}`")
    below = table.table(key, hint=HAND_ON)
    return [below] if below is not None else []


def read_noise(table: Table) -> Noise:
    """When an alert flaps and when alerts are a flood; `off` switches one off."""
    below = table.table("noise", hint=_NOISE)
    if below is None:
        return Noise()
    noise = Noise(_flapping(below), _flood(below))
    below.done()
    return noise


def _flapping(table: Table) -> Flapping | None:
    found = _bounds(table, "flapping")
    if not isinstance(found, Table):
        return Flapping() if found else None
    usual = Flapping()
    law = Flapping(
        swings=found.integer("swings", 2, 50) or usual.swings,
        within=found.duration("within") or usual.within,
        calm=found.duration("calm") or usual.calm,
    )
    found.done()
    return law


def _flood(table: Table) -> Flood | None:
    found = _bounds(table, "flood")
    if not isinstance(found, Table):
        return Flood() if found else None
    usual = Flood()
    above = found.integer("above", 1, 10_000) or usual.above
    below = found.integer("below", 1, 10_000) or min(usual.below, above)
    within = found.duration("within") or usual.within
    found.done()
    if below > above:
        message = "a flood cannot end while it would begin anew"
        found.report.error(found.place_of("below"), message, "`below` is at most `above`")
        below = above
    return Flood(above, below, within)


def _bounds(table: Table, key: str) -> Table | bool:
    """The table of a bound; False where it is `off`, True where nothing is said."""
    node = table.raw(key)
    if node is None:
        return True
    if isinstance(node, Branch):
        return table.table(key) or True
    if isinstance(node, Scalar) and node.text == "off":
        return False
    hint = f"write {key}: off, or a mapping"
    table.report.error(node.place, f"`{key}` takes a mapping or off", hint)
    return True
