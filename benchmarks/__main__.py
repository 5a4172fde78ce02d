"""Runs the benchmarks, prints their tables and draws the comparison.

python -m benchmarks                      all but the soak (`make bench`)
python -m benchmarks rules --rounds 3     one of them; --help says what it takes
"""

from __future__ import annotations

import sys

from benchmarks import broker, drawing, durability, latency, memory, rules, soak

ALL = {
    "rules": rules.main,
    "broker": broker.main,
    "durability": durability.main,
    "latency": latency.main,
    "memory": memory.main,
    "drawing": drawing.main,
}
LONG = {"soak": soak.main}


def main() -> None:
    """One by its name, with its options; without a name all, one after the other."""
    known = {**ALL, **LONG}
    if len(sys.argv) > 1:
        if sys.argv[1] not in known:
            raise SystemExit(f"no benchmark {sys.argv[1]!r}; there are {', '.join(known)}")
        known[sys.argv[1]](sys.argv[2:])
        return
    failures = []
    for name, run in ALL.items():
        try:
            run(())
        except SystemExit as failure:
            if not isinstance(failure.code, str):
                raise
            failures.append(f"{name}: {failure.code}")
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
