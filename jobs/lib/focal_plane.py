"""Positions of detectors on a focal plane, from names of the form `R22_S11`.
R is the raft, S the sensor in it, each followed by row and column (LSST document LCA-13501). Guide
and wavefront sensors (`R00_SG0`, `R00_SW1`) and other names are put in rows below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME_PATTERN = re.compile(r"R(\d)(\d)_S(\d)(\d)")
SENSORS_PER_RAFT = 3


def detector_positions(names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Returns column and row of each detector, from the lower left; the outermost used are 0."""
    raft_positions: dict[str, tuple[int, int]] = {}
    other_names: list[str] = []
    for name in sorted(set(names)):
        match = _NAME_PATTERN.fullmatch(name)
        if match is None:
            other_names.append(name)
            continue
        raft_row, raft_column, row, column = (int(digit) for digit in match.groups())
        raft_positions[name] = (
            raft_column * SENSORS_PER_RAFT + column,
            raft_row * SENSORS_PER_RAFT + row,
        )
    left = min((column for column, _ in raft_positions.values()), default=0)
    bottom = min((row for _, row in raft_positions.values()), default=0)
    width = (
        max((column for column, _ in raft_positions.values()), default=_row_width(len(other_names)))
        - left
        + 1
    )
    rows_below = -(-len(other_names) // width)
    positions = {
        name: (x - left, y - bottom + rows_below) for name, (x, y) in raft_positions.items()
    }
    for i, name in enumerate(other_names):
        positions[name] = i % width, rows_below - 1 - i // width
    return positions


def _row_width(count: int) -> int:
    return max(int(count**0.5 + 0.999) - 1, 0)
