"""The past played through rules: what would they have done?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from catcher.authoring.choosing import choose
from catcher.authoring.rehearsal import OpenRehearsal, closure
from catcher.model.event import Event
from catcher.model.rule import Rule
from catcher.model.time import format_instant

Row = dict[str, Any]
EVERY = 5000


class Tally:
    """How often each rule fired, ran and changed its alert; how many lines were left out."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self.rejected = 0

    def count(self, row: Mapping[str, Any]) -> None:
        """Counts one row of a backtest."""
        counts = self._counts.setdefault(row["rule"], Counter())
        if row["kind"] == "alert":
            counts[f"{row['severity']} {row['state']}"] += 1
        else:
            counts[f"{row['kind']} {row['state']}" if row["kind"] == "run" else "firings"] += 1

    def words(self) -> str:
        """A line a rule."""
        lines = [
            f"{rule}: " + ", ".join(f"{count} {what}" for what, count in counts.items())
            for rule, counts in sorted(self._counts.items())
        ]
        lines = lines or ["nothing fired"]
        return "\n".join([*lines, *([self.rejection()] if self.rejected else [])])

    def rejection(self) -> str:
        """How many lines of the recording were left out."""
        one = self.rejected == 1
        return "one line was left out" if one else f"{self.rejected} lines were left out"


async def backtest(
    rules: Mapping[str, Rule],
    names: Sequence[str],
    events: Iterable[Event],
    open_rehearsal: OpenRehearsal,
    tell: Callable[[Row], None],
    progress: Callable[[str], None],
) -> None:
    """Plays events through the named rules (all where none is named) and tells their rows.

    Rules whose results they need run too, and are not told. CatcherError where a name is unknown.
    """
    chosen = choose(names, rules) or list(rules)
    async with open_rehearsal(closure(rules, chosen)) as rehearsal:
        rehearsal.listen(tell, chosen)
        await rehearsal.play(_counted(events, progress))


def _counted(events: Iterable[Event], progress: Callable[[str], None]) -> Iterator[Event]:
    for number, event in enumerate(events):
        if number % EVERY == 0:
            progress(f"{number} events, {format_instant(event.time)[:19]}")
        yield event
