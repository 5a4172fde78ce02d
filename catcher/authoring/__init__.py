"""What the author of a rule needs before it runs: tests, and the past played through it."""

from catcher.authoring.backtest import Tally, backtest
from catcher.authoring.cases import Case, run_cases
from catcher.authoring.choosing import choose
from catcher.authoring.rehearsal import OpenRehearsal, Rehearsal, VirtualClock, closure

__all__ = [
    "Case",
    "OpenRehearsal",
    "Rehearsal",
    "Tally",
    "VirtualClock",
    "backtest",
    "choose",
    "closure",
    "run_cases",
]
