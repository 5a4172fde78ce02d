"""Events become firings and level changes: triggers, levels, partitions, timers, checkpoints.

Start with `evaluator.py` (all rules), then `rule_runtime.py` (one rule) and `triggers.py`.
"""

from catcher.evaluation.admission import Admission
from catcher.evaluation.evaluator import RuleEvaluator
from catcher.evaluation.explain import Explanation
from catcher.evaluation.source_admission import SourceClock
from catcher.evaluation.validation import check_rule, rule_fingerprint

__all__ = [
    "Admission",
    "Explanation",
    "RuleEvaluator",
    "SourceClock",
    "check_rule",
    "rule_fingerprint",
]
