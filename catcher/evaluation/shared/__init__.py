"""Rules that share a topic, `where` and `by` are evaluated together.

Start with `group_evaluator.py`; `threshold_index.py` finds the rules that a value concerns.
"""
