"""In process: Catcher's rules beside other engines and a function written by hand.

    python -m benchmarks rules [--rounds 5] [--only thresholds,by]

Every contestant is a process of its own and gets the same samples in turn, round after round;
the medians count. A rate is in events per second of processor time (of all threads), which on an
idle machine is the wall's. All must find the same firings, to the instant.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence

from benchmarks import contest, installing, records
from benchmarks.records import Row
from benchmarks.workloads import ALL, Workload

CATCHER = "catcher"
HAND = "a function by hand"
CHAINS = ("bytewax, a chain a rule", "reactivex, a chain a rule", "streamz, a chain a rule")
STEPS = ("bytewax, one step", "reactivex, one step", "streamz, one step")
PROGRAM: dict[str, dict[str, int]] = {
    "thresholds": {
        CATCHER: 200_000, "catcher, from dicts": 200_000, HAND: 200_000, CHAINS[0]: 200_000,
        CHAINS[1]: 200_000, CHAINS[2]: 40_000, "durable_rules": 5_000, STEPS[0]: 200_000,
        STEPS[1]: 200_000, STEPS[2]: 200_000,
    },
    "chatter": {
        CATCHER: 200_000, HAND: 200_000, CHAINS[0]: 200_000, CHAINS[1]: 200_000,
        STEPS[0]: 200_000,
    },
    "many": {
        CATCHER: 200_000, HAND: 200_000, CHAINS[1]: 100, CHAINS[2]: 50, STEPS[0]: 4_000,
        STEPS[1]: 4_000,
    },
    "dense": {CATCHER: 20_000, HAND: 20_000, STEPS[0]: 2_000},
    "windows": {
        CATCHER: 200_000, HAND: 200_000, "streamz, its windows": 7_000,
        "reactivex, its windows": 6_100, "bytewax, its windows": 6_100, STEPS[0]: 200_000,
        STEPS[1]: 200_000,
    },
    "by": {
        CATCHER: 200_000, HAND: 200_000, CHAINS[0]: 50_000, CHAINS[1]: 20_000, CHAINS[2]: 40_000,
        "durable_rules": 10_000, STEPS[0]: 200_000, STEPS[1]: 200_000, STEPS[2]: 100_000,
    },
    "holds": {CATCHER: 200_000, HAND: 200_000, STEPS[0]: 200_000, STEPS[1]: 200_000},
}  # fmt: skip
"""Who runs what on how many events: as many as are done in a few seconds."""
ONCE = frozenset(("reactivex, its windows", "bytewax, its windows"))
"""These take more than half a minute to fill a window, which does not count, and run once."""
PATIENCE = 600


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the tables and keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks rules")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(PROGRAM), help="workloads, with commas")
    options = parser.parse_args(list(arguments))
    missing, begun, rows = installing.install(), records.machine(), list[Row]()
    for name in options.only.split(","):
        found = compare(ALL[name], PROGRAM[name], options.rounds, missing)
        records.show(ALL[name].about, begun, _HEADINGS, [_cells(row) for row in found])
        rows += found
    kept = [row for row in records.read("rules") if row["workload"] not in options.only.split(",")]
    records.write("rules", begun, [*kept, *rows])
    wrong = [row["contestant"] for row in rows if row["runs"] and not row["agrees"]]
    if wrong:
        raise SystemExit(f"other firings than by hand: {', '.join(wrong)}")


def compare(
    workload: Workload, program: dict[str, int], rounds: int, missing: dict[str, str]
) -> list[Row]:
    """One row a contestant, Catcher first."""
    runs: dict[str, list[Row]] = {name: [] for name in program}
    for turn in range(rounds):
        for name, count in program.items():
            if _library(name) in missing or (turn and name in ONCE):
                continue
            try:
                runs[name].append(_race(workload, name, count))
            except RuntimeError as error:
                missing = {**missing, _library(name): str(error)}
    rows = [_row(workload, name, program[name], found) for name, found in runs.items()]
    ours = rows[0]["rate"]
    for row in rows:
        row["ratio"] = ours / row["rate"] if row["rate"] else 0.0
        row["problem"] = missing.get(_library(row["contestant"]), "")
    return rows


def _library(contestant: str) -> str:
    return contestant.split(",")[0]


def _race(workload: Workload, name: str, count: int) -> Row:
    command = [sys.executable, "-m", "benchmarks.contest", workload.name, name, str(count)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=installing.environment(), timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no word").splitlines()[-1])
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def _row(workload: Workload, name: str, count: int, runs: list[Row]) -> Row:
    row: Row = {"workload": workload.name, "contestant": name, "rate": 0.0, "runs": len(runs)}
    if runs:
        expected = contest.run(HAND, workload, count)
        row |= {
            "events": runs[0]["events"],
            "rate": records.median(one["events"] / one["processor"] for one in runs),
            "wall_rate": records.median(one["events"] / one["wall"] for one in runs),
            "fired": runs[0]["fired"],
            "agrees": all(one["checksum"] == expected["checksum"] for one in runs),
        }
    return row


_HEADINGS = (
    "contestant", "events", "events a second", "Catcher to it", "firings", "the same"
)  # fmt: skip


def _cells(row: Row) -> list[str]:
    if not row["runs"]:
        return [row["contestant"], "", "did not run", "", "", row["problem"]]
    same = "yes" if row["agrees"] else "NO"
    ratio = f"{row['ratio']:.2f} times" if row["ratio"] < 10 else f"{row['ratio']:,.0f} times"
    return [
        row["contestant"], f"{row['events']:,}", f"{row['rate']:,.0f}", ratio,
        f"{row['fired']:,}", same,
    ]  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
