"""Backtests rules on recorded events: what would they have done?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from catcher.authoring.rule_selection import validate_rule_names
from catcher.authoring.virtual_engine import OpenVirtualEngine, select_with_dependencies
from catcher.model.event import Event
from catcher.model.rule import Rule
from catcher.model.time import format_instant

Row = dict[str, Any]
PROGRESS_INTERVAL = 5000


class BacktestSummary:
    """Counts how often each rule fired, ran and changed its alert, and the lines left out."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self.rejected_count = 0

    def count_row(self, row: Mapping[str, Any]) -> None:
        """Counts one row of a backtest."""
        counts = self._counts.setdefault(row["rule"], Counter())
        if row["kind"] == "alert":
            counts[f"{row['severity']} {row['state']}"] += 1
        else:
            counts[f"{row['kind']} {row['state']}" if row["kind"] == "run" else "firings"] += 1

    def format_summary(self) -> str:
        """Formats a line per rule."""
        lines = [
            f"{rule}: " + ", ".join(f"{count} {label}" for label, count in counts.items())
            for rule, counts in sorted(self._counts.items())
        ]
        lines = lines or ["nothing fired"]
        return "\n".join([*lines, *([self.format_rejected_count()] if self.rejected_count else [])])

    def format_rejected_count(self) -> str:
        """Formats how many lines of the recording were left out."""
        is_single = self.rejected_count == 1
        return (
            "one line was left out" if is_single else f"{self.rejected_count} lines were left out"
        )


async def backtest_rules(
    rules: Mapping[str, Rule],
    names: Sequence[str],
    events: Iterable[Event],
    open_virtual_engine: OpenVirtualEngine,
    on_row: Callable[[Row], None],
    on_progress: Callable[[str], None],
) -> None:
    """Plays events through the named rules (all if none is named) and reports their rows.
    Rules whose results they need run too, without being reported. Raises CatcherError if a name is
    unknown.
    """
    rule_ids = validate_rule_names(names, rules) or list(rules)
    async with open_virtual_engine(select_with_dependencies(rules, rule_ids)) as virtual_engine:
        virtual_engine.subscribe_rows(on_row, rule_ids)
        await virtual_engine.play_events(_iter_with_progress(events, on_progress))


def _iter_with_progress(
    events: Iterable[Event], on_progress: Callable[[str], None]
) -> Iterator[Event]:
    for index, event in enumerate(events):
        if index % PROGRESS_INTERVAL == 0:
            on_progress(f"{index} events, {format_instant(event.time)[:19]}")
        yield event
