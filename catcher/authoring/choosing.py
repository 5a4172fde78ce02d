"""Which rules were meant by name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from catcher.model.problem import CatcherError


def choose(
    names: Sequence[str], known: Collection[str], broken: Collection[str] = ()
) -> Sequence[str]:
    """The names, each once, if all are known; CatcherError says which is not, and what was meant.

    `broken` are rules that are there and cannot run.
    """
    for name in names:
        if name in broken and name not in known:
            raise CatcherError(f"the rule {name!r} is broken", "`catcher check` says where and why")
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *broken], 1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "each rule's name stands after rule: in rules/"
            )
            raise CatcherError(f"there is no rule {name!r}", hint)
    return list(dict.fromkeys(names))
