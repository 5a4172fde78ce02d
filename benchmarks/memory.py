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

from benchmarks import reporting
from benchmarks.embedded_engine import SOURCE, BatchSource, open_engine_on
from benchmarks.workloads import KEY_COUNT, MEAN, START, TOPIC
from catcher.evaluation import Admission, RuleEvaluator, SourceClock
from catcher.model.event import Event
from catcher.model.rule import Expression, Rule, TriggerSpec
from catcher.model.time import SECOND

EVENTS = 10_000_000
WARMUP_EVENTS = 1_000_000
MAX_GROWTH = 20.0
BATCH = 1_000
CONDITIONS = {"gust": "speed > 16", "wind": 'mean(speed, "1m") > 14'}
RULES = "---\n".join(
    f"rule: {name}\ntrigger: {{telemetry: {TOPIC}, by: salIndex, when: '{when}'}}\n"
    for name, when in CONDITIONS.items()
)


class MemorySampler:
    """Looks at the resident size as events pass, each half a million."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, float]] = []
        self.event_count = 0

    def sample_batches(self, batches: Iterator[list[Event]]) -> Iterator[list[Event]]:
        """The same batches."""
        for batch in batches:
            yield batch
            self.event_count += len(batch)
            if self.event_count % (WARMUP_EVENTS // 2) == 0:
                self.sizes.append((self.event_count, resident_memory()))

    @property
    def growth(self) -> float:
        """MB from the first million to the end."""
        first = next(
            size
            for event_count, size in self.sizes
            if event_count >= min(WARMUP_EVENTS, self.event_count)
        )
        return self.sizes[-1][1] - first


def resident_memory() -> float:
    """This process's memory now, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    size = next(line for line in lines if line.startswith("VmRSS:"))
    return int(size.split()[1]) / 1024


def generate_batches(count: int) -> Iterator[list[Event]]:
    """A thousand samples a second, one of each key."""
    gauss = random.Random(1).gauss
    speeds = [MEAN] * KEY_COUNT
    for start in range(0, count, BATCH):
        batch = []
        for index in range(start, min(start + BATCH, count)):
            key = index % KEY_COUNT
            speeds[key] += 0.02 * (MEAN - speeds[key]) + gauss(0, 0.3)
            fields = {"salIndex": key, "speed": speeds[key]}
            batch.append(Event(TOPIC, START + index * SECOND // KEY_COUNT, fields, SOURCE))
        yield batch


def measure_evaluator(count: int) -> MemorySampler:
    """Decisions are counted and forgotten."""
    rules = [
        Rule(
            name,
            TriggerSpec("telemetry", TOPIC, when=Expression(condition), by=Expression("salIndex")),
        )
        for name, condition in CONDITIONS.items()
    ]
    admission, evaluator, sampler = (
        Admission({SOURCE: SourceClock()}),
        RuleEvaluator(rules),
        MemorySampler(),
    )
    for batch in sampler.sample_batches(generate_batches(count)):
        now = batch[-1].time
        evaluator.process_events(admission.admit_events(SOURCE, batch, now))
        admission.release_ready_events(now)
        evaluator.advance_watermarks(admission.get_watermarks(now))
    return sampler


def measure_engine(count: int) -> MemorySampler:
    """With all that the engine keeps."""
    sampler = MemorySampler()

    async def run_engine() -> None:
        source = BatchSource(sampler.sample_batches(generate_batches(count)))
        with tempfile.TemporaryDirectory() as folder:
            async with open_engine_on(source, RULES, Path(folder)) as engine:
                await engine.run()

    asyncio.run(run_engine())
    return sampler


MODES: dict[str, Callable[[int], MemorySampler]] = {
    "network": measure_evaluator,
    "engine": measure_engine,
}


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the sizes and keeps them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--engine", action="store_true", help="the whole engine as well")
    options = parser.parse_args(list(arguments))
    machine = reporting.describe_machine()
    rows = [_measure_in_process("network", options.events)]
    rows += [_measure_in_process("engine", options.events)] if options.engine else []
    table = [
        [row["way"], f"{row['events']:,}", f"{row['warm']:.1f}", f"{row['end']:.1f}",
         f"{row['growth']:+.1f}", f"{row['rate']:,.0f}"]
        for row in rows
    ]  # fmt: skip
    reporting.print_table("Memory, by over 1,000 keys", machine, _HEADINGS, table)
    reporting.write_results("memory", machine, rows)
    if any(row["growth"] > MAX_GROWTH for row in rows):
        raise SystemExit(f"memory grew by more than {MAX_GROWTH} MB")


_HEADINGS = (
    "through", "events", "MB after the first million", "MB at the end", "growth",
    "events a second",
)  # fmt: skip


def _measure_in_process(mode: str, events: int) -> dict[str, Any]:
    """In a process of its own, so that one does not count the other's memory."""
    command = [sys.executable, "-m", "benchmarks.memory", mode, str(events)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    warm, end, growth, rate = map(float, process.stdout.split())
    return {
        "way": mode, "events": events, "warm": warm, "end": end, "growth": growth, "rate": rate
    }  # fmt: skip


def _print_measurement(mode: str, events: int) -> None:
    start = time.process_time()
    sampler = MODES[mode](events)
    rate = events / (time.process_time() - start)
    for event_count, size in sampler.sizes:
        print(f"{event_count:>12,} events: {size:7.1f} MB", file=sys.stderr, flush=True)
    end = sampler.sizes[-1][1]
    print(end - sampler.growth, end, sampler.growth, rate)


if __name__ == "__main__":
    _print_measurement(sys.argv[1], int(sys.argv[2]))
