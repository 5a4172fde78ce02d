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

from benchmarks import contestant_process, peer_installer, reporting
from benchmarks.reporting import Row
from benchmarks.workloads import ALL, Workload

CATCHER = "catcher"
HANDWRITTEN = "a function by hand"
CHAINS = ("bytewax, a chain a rule", "reactivex, a chain a rule", "streamz, a chain a rule")
STEPS = ("bytewax, one step", "reactivex, one step", "streamz, one step")
EVENT_COUNTS: dict[str, dict[str, int]] = {
    "thresholds": {
        CATCHER: 200_000,
        "catcher, from dicts": 200_000,
        HANDWRITTEN: 200_000,
        CHAINS[0]: 200_000,
        CHAINS[1]: 200_000,
        CHAINS[2]: 40_000,
        "durable_rules": 5_000,
        STEPS[0]: 200_000,
        STEPS[1]: 200_000,
        STEPS[2]: 200_000,
    },
    "chatter": {
        CATCHER: 200_000,
        HANDWRITTEN: 200_000,
        CHAINS[0]: 200_000,
        CHAINS[1]: 200_000,
        STEPS[0]: 200_000,
    },
    "many": {
        CATCHER: 200_000,
        HANDWRITTEN: 200_000,
        CHAINS[1]: 100,
        CHAINS[2]: 50,
        STEPS[0]: 4_000,
        STEPS[1]: 4_000,
    },
    "dense": {CATCHER: 20_000, HANDWRITTEN: 20_000, STEPS[0]: 2_000},
    "windows": {
        CATCHER: 200_000,
        HANDWRITTEN: 200_000,
        "streamz, its windows": 7_000,
        "reactivex, its windows": 6_100,
        "bytewax, its windows": 6_100,
        STEPS[0]: 200_000,
        STEPS[1]: 200_000,
    },
    "by": {
        CATCHER: 200_000,
        HANDWRITTEN: 200_000,
        CHAINS[0]: 50_000,
        CHAINS[1]: 20_000,
        CHAINS[2]: 40_000,
        "durable_rules": 10_000,
        STEPS[0]: 200_000,
        STEPS[1]: 200_000,
        STEPS[2]: 100_000,
    },
    "holds": {CATCHER: 200_000, HANDWRITTEN: 200_000, STEPS[0]: 200_000, STEPS[1]: 200_000},
}
"""Who runs what on how many events: as many as are done in a few seconds."""
RUN_ONCE = frozenset(("reactivex, its windows", "bytewax, its windows"))
"""These take more than half a minute to fill a window, which does not count, and run once."""
TIMEOUT = 600


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the tables and keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks rules")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(EVENT_COUNTS), help="workloads, with commas")
    options = parser.parse_args(list(arguments))
    missing, machine, rows = (
        peer_installer.install_packages(),
        reporting.describe_machine(),
        list[Row](),
    )
    for name in options.only.split(","):
        workload_rows = compare_contestants(ALL[name], EVENT_COUNTS[name], options.rounds, missing)
        reporting.print_table(
            ALL[name].description, machine, _HEADINGS, [_format_cells(row) for row in workload_rows]
        )
        rows += workload_rows
    other_rows = [
        row
        for row in reporting.read_results("rules")
        if row["workload"] not in options.only.split(",")
    ]
    reporting.write_results("rules", machine, [*other_rows, *rows])
    mismatches = [row["contestant"] for row in rows if row["runs"] and not row["agrees"]]
    if mismatches:
        raise SystemExit(f"other firings than by hand: {', '.join(mismatches)}")


def compare_contestants(
    workload: Workload, event_counts: dict[str, int], rounds: int, missing: dict[str, str]
) -> list[Row]:
    """One row a contestant, Catcher first."""
    runs_by_name: dict[str, list[Row]] = {name: [] for name in event_counts}
    for round_index in range(rounds):
        for name, count in event_counts.items():
            if _library_name(name) in missing or (round_index and name in RUN_ONCE):
                continue
            try:
                runs_by_name[name].append(_run_contestant(workload, name, count))
            except RuntimeError as error:
                missing = {**missing, _library_name(name): str(error)}
    rows = [
        _summarize_runs(workload, name, event_counts[name], runs)
        for name, runs in runs_by_name.items()
    ]
    catcher_rate = rows[0]["rate"]
    for row in rows:
        row["ratio"] = catcher_rate / row["rate"] if row["rate"] else 0.0
        row["problem"] = missing.get(_library_name(row["contestant"]), "")
    return rows


def _library_name(contestant: str) -> str:
    return contestant.split(",")[0]


def _run_contestant(workload: Workload, name: str, count: int) -> Row:
    command = [
        sys.executable,
        "-m",
        "benchmarks.contestant_process",
        workload.name,
        name,
        str(count),
    ]
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=peer_installer.build_environment(),
        timeout=TIMEOUT,
        check=False,
    )
    if process.returncode:
        raise RuntimeError((process.stderr.strip() or "no word").splitlines()[-1])
    row: Row = json.loads(process.stdout.splitlines()[-1])
    return row


def _summarize_runs(workload: Workload, name: str, count: int, runs: list[Row]) -> Row:
    row: Row = {"workload": workload.name, "contestant": name, "rate": 0.0, "runs": len(runs)}
    if runs:
        expected = contestant_process.run_contestant(HANDWRITTEN, workload, count)
        row |= {
            "events": runs[0]["events"],
            "rate": reporting.median(run["events"] / run["processor"] for run in runs),
            "wall_rate": reporting.median(run["events"] / run["wall"] for run in runs),
            "fired": runs[0]["fired"],
            "agrees": all(run["checksum"] == expected["checksum"] for run in runs),
        }
    return row


_HEADINGS = (
    "contestant", "events", "events a second", "Catcher to it", "firings", "the same"
)  # fmt: skip


def _format_cells(row: Row) -> list[str]:
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
