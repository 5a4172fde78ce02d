"""Whether memory stays where it is: ten million events, `by` over a thousand keys.

    python -m benchmarks memory [--events 10000000] [--engine]

The resident size after the first million events, when every key has come and every window is
full, against the size at the end. Through admission and network; with `--engine` through the
whole engine, its ledger and its history too.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.engine_room import SOURCE, Batches, engine_on
from benchmarks.workloads import KEYS, MEAN, START, TOPIC
from catcher.model.event import Event
from catcher.model.rule import Expr, Rule, Trigger
from catcher.model.time import SECOND
from catcher.watching import Admission, Network, SourceClock

EVENTS = 10_000_000
WARM = 1_000_000
LIMIT = 20.0
BATCH = 1_000
CONDITIONS = {"gust": "speed > 16", "wind": 'mean(speed, "1m") > 14'}
RULES = "---\n".join(
    f"rule: {name}\ntrigger: {{telemetry: {TOPIC}, by: salIndex, when: '{when}'}}\n"
    for name, when in CONDITIONS.items()
)


class Witness:
    """Looks at the resident size as events pass, each half a million."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, float]] = []
        self.seen = 0

    def pass_on(self, batches: Iterator[list[Event]]) -> Iterator[list[Event]]:
        """The same batches."""
        for batch in batches:
            yield batch
            self.seen += len(batch)
            if self.seen % (WARM // 2) == 0:
                self.sizes.append((self.seen, resident()))

    @property
    def growth(self) -> float:
        """MB from the first million to the end."""
        first = next(size for seen, size in self.sizes if seen >= min(WARM, self.seen))
        return self.sizes[-1][1] - first


def resident() -> float:
    """This process's memory now, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    size = next(line for line in lines if line.startswith("VmRSS:"))
    return int(size.split()[1]) / 1024


def batches(count: int) -> Iterator[list[Event]]:
    """A thousand samples a second, one of each key."""
    draw = random.Random(1).gauss
    speeds = [MEAN] * KEYS
    for start in range(0, count, BATCH):
        made = []
        for index in range(start, min(start + BATCH, count)):
            key = index % KEYS
            speeds[key] += 0.02 * (MEAN - speeds[key]) + draw(0, 0.3)
            fields = {"salIndex": key, "speed": speeds[key]}
            made.append(Event(TOPIC, START + index * SECOND // KEYS, fields, SOURCE))
        yield made


def through_network(count: int) -> Witness:
    """Decisions are counted and forgotten."""
    rules = [
        Rule(name, Trigger("telemetry", TOPIC, when=Expr(when), by=Expr("salIndex")))
        for name, when in CONDITIONS.items()
    ]
    admission, network, witness = Admission({SOURCE: SourceClock()}), Network(rules), Witness()
    for batch in witness.pass_on(batches(count)):
        now = batch[-1].time
        network.feed(admission.admit(SOURCE, batch, now))
        admission.tick(now)
        network.advance(admission.watermarks(now))
    return witness


def through_engine(count: int) -> Witness:
    """With all that the engine keeps."""
    witness = Witness()

    async def run() -> None:
        source = Batches(witness.pass_on(batches(count)))
        with tempfile.TemporaryDirectory() as folder:
            async with engine_on(source, RULES, Path(folder)) as engine:
                await engine.run()

    asyncio.run(run())
    return witness


WAYS: dict[str, Callable[[int], Witness]] = {"network": through_network, "engine": through_engine}


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the sizes and keeps them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--engine", action="store_true", help="the whole engine as well")
    options = parser.parse_args(list(arguments))
    begun = records.machine()
    rows = [_row("network", options.events)]
    rows += [_row("engine", options.events)] if options.engine else []
    cells = [
        [row["way"], f"{row['events']:,}", f"{row['warm']:.1f}", f"{row['end']:.1f}",
         f"{row['growth']:+.1f}", f"{row['rate']:,.0f}"]
        for row in rows
    ]  # fmt: skip
    records.show("Memory, by over 1,000 keys", begun, _HEADINGS, cells)
    records.write("memory", begun, rows)
    if any(row["growth"] > LIMIT for row in rows):
        raise SystemExit(f"memory grew by more than {LIMIT} MB")


_HEADINGS = (
    "through", "events", "MB after the first million", "MB at the end", "growth",
    "events a second",
)  # fmt: skip


def _row(way: str, events: int) -> dict[str, Any]:
    """In a process of its own, so that one does not count the other's memory."""
    command = [sys.executable, "-m", "benchmarks.memory", way, str(events)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    warm, end, growth, rate = map(float, done.stdout.split())
    return {
        "way": way, "events": events, "warm": warm, "end": end, "growth": growth, "rate": rate
    }  # fmt: skip


def _witness(way: str, events: int) -> None:
    begun = time.process_time()
    witness = WAYS[way](events)
    rate = events / (time.process_time() - begun)
    for seen, size in witness.sizes:
        print(f"{seen:>12,} events: {size:7.1f} MB", file=sys.stderr, flush=True)
    end = witness.sizes[-1][1]
    print(end - witness.growth, end, witness.growth, rate)


if __name__ == "__main__":
    _witness(sys.argv[1], int(sys.argv[2]))
