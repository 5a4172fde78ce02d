"""Who is on shift, and which sinks that person has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from catcher.model.alert_operations import Shift
from catcher.model.errors import CatcherError
from catcher.model.time import Instant

ON_SHIFT = "on-shift"
"""The name in routes that stands for the sinks of the person on shift."""


class OnCallRota:
    """The people of a site with their sinks, and the current shift."""

    def __init__(
        self, sinks_by_person: Mapping[str, tuple[str, ...]], shift: Shift | None = None
    ) -> None:
        self._sinks_by_person = dict(sinks_by_person)
        self.shift = shift

    def replace_people(self, sinks_by_person: Mapping[str, tuple[str, ...]]) -> None:
        """Replaces the people; the shift continues."""
        self._sinks_by_person = dict(sinks_by_person)

    @property
    def sinks(self) -> tuple[str, ...]:
        """The sinks of the person on shift; those of everybody while that person is unknown."""
        if self.shift is not None and self.shift.who in self._sinks_by_person:
            return self._sinks_by_person[self.shift.who]
        return tuple(
            dict.fromkeys(
                sink for person_sinks in self._sinks_by_person.values() for sink in person_sinks
            )
        )

    def expand_on_shift_sinks(self, sinks: Iterable[str]) -> tuple[str, ...]:
        """Returns the sinks with `on-shift` expanded, each once."""
        expanded: dict[str, None] = {}
        for sink in sinks:
            expanded.update(dict.fromkeys(self.sinks or (sink,) if sink == ON_SHIFT else (sink,)))
        return tuple(expanded)

    def start_shift(self, person: str, actor: str, comment: str, now: Instant) -> Shift:
        """Starts a new shift; CatcherError if the person is not in the routes."""
        if not person.strip():
            raise CatcherError("nobody is named", "say who takes over: --to NAME")
        if self._sinks_by_person and person not in self._sinks_by_person:
            names = ", ".join(sorted(self._sinks_by_person)[:20])
            raise CatcherError(
                f"{person[:80]!r} is not among the people of alerts/routes.yaml",
                f"there are {names}; `on-shift` in a route could not reach anybody else",
            )
        self.shift = Shift(person, now, actor, comment)
        return self.shift
