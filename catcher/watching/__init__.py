"""Watching: events become firings and level changes."""

from catcher.watching.admission import Admission
from catcher.watching.checking import check_rule, meaning
from catcher.watching.compiling import Compiler
from catcher.watching.door import SourceClock
from catcher.watching.errors import ExpressionError
from catcher.watching.explaining import Explanation
from catcher.watching.network import Network

__all__ = [
    "Admission",
    "Compiler",
    "Explanation",
    "ExpressionError",
    "Network",
    "SourceClock",
    "check_rule",
    "meaning",
]
