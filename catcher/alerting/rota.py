"""Who is on shift, and which sinks that person has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from catcher.model.desk import Shift
from catcher.model.problem import CatcherError
from catcher.model.time import Instant

ON_SHIFT = "on-shift"
"""The name in routes that stands for the sinks of whoever is on shift."""


class Rota:
    """The people of a site with their sinks, and the shift that goes on."""

    def __init__(self, people: Mapping[str, tuple[str, ...]], shift: Shift | None = None) -> None:
        self._people = dict(people)
        self.shift = shift

    def swap(self, people: Mapping[str, tuple[str, ...]]) -> None:
        """Other people from now on; the shift goes on."""
        self._people = dict(people)

    @property
    def sinks(self) -> tuple[str, ...]:
        """Where whoever is on shift is told. While that is nobody known, everybody is."""
        if self.shift is not None and self.shift.who in self._people:
            return self._people[self.shift.who]
        return tuple(dict.fromkeys(sink for sinks in self._people.values() for sink in sinks))

    def expand(self, sinks: Iterable[str]) -> tuple[str, ...]:
        """The sinks with `on-shift` spelt out, each once."""
        spelt: dict[str, None] = {}
        for sink in sinks:
            spelt.update(dict.fromkeys(self.sinks or (sink,) if sink == ON_SHIFT else (sink,)))
        return tuple(spelt)

    def begin(self, who: str, by: str, note: str, now: Instant) -> Shift:
        """A new shift; CatcherError where the one who comes is not known to the routes."""
        if not who.strip():
            raise CatcherError("nobody is named", "say who takes over: --to NAME")
        if self._people and who not in self._people:
            known = ", ".join(sorted(self._people)[:20])
            raise CatcherError(
                f"{who[:80]!r} is not among the people of alerts/routes.yaml",
                f"there are {known}; `on-shift` in a route could not reach anybody else",
            )
        self.shift = Shift(who, now, by, note)
        return self.shift
