"""Tools for the author of a rule: rule tests, backtest, tuning, reports, schemas.
Start with `virtual_engine.py` (an engine on recorded time), then `backtest.py` and `rule_tests.py`.
"""

from catcher.authoring.backtest import BacktestSummary, backtest_rules
from catcher.authoring.rule_selection import validate_rule_names
from catcher.authoring.rule_tests import RuleTestResult, run_tests
from catcher.authoring.virtual_engine import (
    OpenVirtualEngine,
    VirtualClock,
    VirtualEngine,
    select_with_dependencies,
)

__all__ = [
    "BacktestSummary",
    "OpenVirtualEngine",
    "RuleTestResult",
    "VirtualClock",
    "VirtualEngine",
    "backtest_rules",
    "run_tests",
    "select_with_dependencies",
    "validate_rule_names",
]
