"""What a benchmark found: medians, the machine, a table, and a small JSON file to draw from."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MAX_IDLE_LOAD = 0.5
"""A load average from which on other work has disturbed the figures."""
Row = dict[str, Any]


def describe_machine() -> Row:
    """Where and when this runs."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "time": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": os.cpu_count(),
        "processor": model or platform.processor(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def median(samples: Iterable[float]) -> float:
    """The median; 0 where there is nothing."""
    values = list(samples)
    return statistics.median(values) if values else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent are not above (nearest rank); 0 of none."""
    ordered = sorted(values)
    index = max(0, -int(-len(ordered) * percent // 100) - 1)
    return ordered[index] if ordered else 0.0


def write_results(name: str, machine: Row, rows: Sequence[Row]) -> None:
    """Keeps the rows beside the machine they come from."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine, "rows": rows}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def read_results(name: str) -> list[Row]:
    """The rows of the last run; none where it has not run."""
    path = RESULTS / f"{name}.json"
    rows: list[Row] = json.loads(path.read_text())["rows"] if path.is_file() else []
    return rows


def print_table(
    title: str, machine: Row, headings: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Prints a table in Markdown, to be read in a terminal and pasted into the README."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    print(f"\n### {title}\n")
    print(_format_row(headings, widths))
    print(f"| {' | '.join('-' * width for width in widths)} |")
    for line in lines:
        print(_format_row(line, widths))
    print(f"\n{format_machine(machine)}")


def _format_row(values: Sequence[str], widths: Sequence[int]) -> str:
    padded = [value.ljust(width) for value, width in zip(values, widths, strict=True)]
    return f"| {' | '.join(padded)} |"


def format_machine(machine: Row) -> str:
    """The machine in a sentence; a warning where it had other things to do."""
    text = (
        f"{machine['time'][:10]}, {machine['cores']} cores ({machine['processor']}), "
        f"Python {machine['python']}, load average {machine['load']} before"
    )
    is_busy = machine["load"] > MAX_IDLE_LOAD
    return text + ("; NOT IDLE, so not to be relied on" if is_busy else "")
