"""Runs the benchmarks and prints their tables: `make bench`, or `python -m benchmarks broker`."""

from __future__ import annotations

import sys

from benchmarks import broker

ALL = {"broker": broker.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or ALL:
        ALL[name]()
