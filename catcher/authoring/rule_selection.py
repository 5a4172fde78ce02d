"""Selects rules by name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from catcher.model.errors import CatcherError


def validate_rule_names(
    names: Sequence[str], known_rules: Collection[str], broken_rules: Collection[str] = ()
) -> Sequence[str]:
    """Returns the names, each once. Raises CatcherError, with a suggestion, for an unknown one.
    `broken_rules` are rules that exist but cannot run.
    """
    for name in names:
        if name in broken_rules and name not in known_rules:
            raise CatcherError(f"the rule {name!r} is broken", "`catcher check` says where and why")
        if name not in known_rules:
            matches = difflib.get_close_matches(name, [*known_rules, *broken_rules], 1)
            hint = (
                f"did you mean {matches[0]!r}?"
                if matches
                else "each rule's name stands after rule: in rules/"
            )
            raise CatcherError(f"there is no rule {name!r}", hint)
    return list(dict.fromkeys(names))
