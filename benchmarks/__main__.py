"""Runs the benchmarks, prints their tables and draws the comparison.

`python -m benchmarks` runs all but the soak (`make bench`); `python -m benchmarks rules --rounds 3`
one of them, and `--help` after its name says what it takes.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

BENCHMARKS = (
    "forecast",
    "rules",
    "broker",
    "durability",
    "latency",
    "memory",
    "alerts",
    "cadence",
    "history",
    "archive",
    "images",
    "drawing",
)
LONG_BENCHMARKS = ("soak",)


def main() -> None:
    """One by its name, with its options; without a name all, each in a process of its own."""
    if len(sys.argv) > 1:
        name, *options = sys.argv[1:]
        if name not in BENCHMARKS + LONG_BENCHMARKS:
            raise SystemExit(
                f"no benchmark {name!r}; there are {', '.join(BENCHMARKS + LONG_BENCHMARKS)}"
            )
        import_module(f"benchmarks.{name}").main(options)
        return
    failed = []
    for name in BENCHMARKS:
        if subprocess.run([sys.executable, "-m", "benchmarks", name], check=False).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed or missed their targets: {', '.join(failed)}")


if __name__ == "__main__":
    main()
