"""The alerts of rules that are gone, or that mean something else now, end."""

from __future__ import annotations

from catcher.model.alert import LevelChange, Severity
from catcher.model.commit import TriggerState
from catcher.model.time import Instant
from catcher.watching.watch import Watch


def outdated(state: TriggerState) -> list[LevelChange]:
    """The end of what the levels of a rule said before it was changed."""
    saved = state.state.get("cell") or {}
    return [
        LevelChange(
            state.rule, state.key, standing["per"], Severity.NONE, int(standing["fed"]),
            "the rule was changed",
        )
        for standing in saved.get("levels", ())
        if standing["said"] > Severity.NONE or standing["unknown"]
    ]  # fmt: skip


def ended(watch: Watch, now: Instant, edited: bool) -> list[LevelChange]:
    """The end of all alerts of a rule that is gone, or means something else now."""
    words = "the rule was changed" if edited else "the rule is gone"
    return [
        LevelChange(watch.rule.id, cell.key, standing.per, Severity.NONE, now, words)
        for cell in watch.keys.cells.values()
        if cell.levels is not None
        for standing in cell.levels.standings.values()
        if standing.said is not Severity.NONE or standing.unknown
    ]
