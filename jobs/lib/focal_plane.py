"""Where detectors lie on a focal plane, from names of the form `R22_S11`.

R is the raft, S the sensor in it, each followed by row and column (LSST document LCA-13501).
Guide and wavefront sensors (`R00_SG0`, `R00_SW1`) and other names lie in rows below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r"R(\d)(\d)_S(\d)(\d)")
SENSORS = 3


def places(names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Column and row of each detector, from the lower left; the outermost used are 0."""
    found: dict[str, tuple[int, int]] = {}
    others: list[str] = []
    for name in sorted(set(names)):
        match = _NAME.fullmatch(name)
        if match is None:
            others.append(name)
            continue
        raft_row, raft_column, row, column = (int(digit) for digit in match.groups())
        found[name] = raft_column * SENSORS + column, raft_row * SENSORS + row
    left = min((column for column, _ in found.values()), default=0)
    bottom = min((row for _, row in found.values()), default=0)
    across = max((column for column, _ in found.values()), default=_across(len(others))) - left + 1
    below = -(-len(others) // across)
    laid = {name: (x - left, y - bottom + below) for name, (x, y) in found.items()}
    for i, name in enumerate(others):
        laid[name] = i % across, below - 1 - i // across
    return laid


def _across(count: int) -> int:
    return max(int(count**0.5 + 0.999) - 1, 0)
