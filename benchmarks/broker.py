"""From a real mosquitto to the rules: messages a second, beside a bare aiomqtt loop.

    python -m benchmarks broker [--rounds 5] [--messages 100000]

Every contestant is a process of its own that subscribes and says when it has all messages. The
publisher sends the same lines to each, in turn; the medians count. The bare loop decodes each
payload and does nothing else. Catcher's rules are thresholds with edges; of one message in a
hundred one fires. Catcher is done when all firings are in the ledger and, at QoS 1, when all
messages are in the inbox and acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import handwritten_rules, reporting
from benchmarks.reporting import Row
from benchmarks.workloads import ALL, THRESHOLDS, Sample
from catcher.app.engine_handle import EngineHandle
from catcher.model.health import Health
from catcher.model.time import SECOND
from tests.servers import run_mosquitto

TOPIC = "bench/airFlow"
BARE_LOOP = "bare aiomqtt loop, QoS 0"
BROKER_CONFIG = "max_inflight_messages 1000\n"
TIMEOUT = 600.0
WORKLOAD = ALL["thresholds"]


@dataclass(frozen=True, slots=True)
class ContestantSpec:
    """One contestant: what it is, at which QoS, with how many rules."""

    kind: str
    qos: int
    rules: int = 0


ENTRIES = {
    BARE_LOOP: ContestantSpec("bare", 0),
    "catcher run, 10 rules, QoS 0": ContestantSpec("catcher", 0, 10),
    "catcher run, 100 rules, QoS 0": ContestantSpec("catcher", 0, 100),
    "bare aiomqtt loop, QoS 1": ContestantSpec("bare", 1),
    "catcher run, 10 rules, QoS 1": ContestantSpec("catcher", 1, 10),
    "catcher run, 100 rules, QoS 1": ContestantSpec("catcher", 1, 100),
}


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the table and keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks broker")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args(list(arguments))
    machine = reporting.describe_machine()
    rows = compare_contestants(ENTRIES, options.messages, options.rounds)
    reporting.print_table(
        f"{options.messages:,} JSON messages from mosquitto", machine, _HEADINGS,
        [_format_cells(row) for row in rows],
    )  # fmt: skip
    reporting.write_results("broker", machine, rows)


def compare_contestants(
    entries: dict[str, ContestantSpec], messages: int, rounds: int
) -> list[Row]:
    """One row a contestant; the first is what the others are measured by."""
    results: dict[str, list[Row]] = {folder: [] for folder in entries}
    samples = WORKLOAD.generate_samples(messages)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, "lines")
        lines.write_text("".join(map(format_line, samples)))
        with run_mosquitto(Path(folder, "broker"), BROKER_CONFIG) as server:
            for _ in range(rounds):
                for name, entry in entries.items():
                    results[name].append(run_contestant(entry, server.port, lines, messages))
    rows = [_summarize_runs(name, entries[name], runs, messages) for name, runs in results.items()]
    for row in rows:
        row["ratio"] = row["rate"] / rows[0]["rate"]
        row["processor_ratio"] = row["processor_rate"] / rows[0]["processor_rate"]
    expected = count_firings(samples)
    mismatches = [row["contestant"] for row in rows if row["rules"] and row["fired"] != expected]
    if mismatches:
        raise SystemExit(f"{', '.join(mismatches)}: not {expected} firings")
    return rows


def count_firings(samples: Sequence[Sample]) -> int:
    """How many firings the first ten rules have to make; the others never fire."""
    evaluate = handwritten_rules.create_evaluator(WORKLOAD)
    return sum(len(evaluate(sample)) for sample in samples)


def format_line(sample: Sample) -> str:
    """A sample as it is published."""
    stamp = round(sample["time"] / SECOND, 3)
    fields = {"private_sndStamp": stamp, "salIndex": 301, "speed": sample["speed"]}
    return json.dumps({**fields, "direction": sample["time"] // SECOND % 360}) + "\n"


def run_contestant(entry: ContestantSpec, port: int, lines: Path, messages: int) -> Row:
    """One contestant, from the first publish to its having all messages."""
    arguments = [entry.kind, str(port), str(entry.qos), str(messages), str(entry.rules)]
    command = [sys.executable, "-m", "benchmarks.broker", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as contestant:
        assert contestant.stdout is not None
        if contestant.stdout.readline() != "ready\n":
            raise RuntimeError(f"{entry} did not begin")
        with open_publisher(port, TOPIC, entry.qos, lines) as start_publishing:
            start = start_publishing()
            result_line = contestant.stdout.readline()
            wall = time.perf_counter() - start
        contestant.wait(TIMEOUT)
    if not result_line:
        raise RuntimeError(f"{entry} did not end")
    return {**json.loads(result_line), "wall": wall}


@contextmanager
def open_publisher(
    port: int, topic: str, qos: int, lines: Path, *rate: str
) -> Iterator[Callable[[], float]]:
    """A publisher that is ready; what it yields has it begin, and returns that instant."""
    command = [sys.executable, "-m", "benchmarks.publisher"]
    arguments = [str(port), topic, str(qos), str(lines), *rate]
    with subprocess.Popen(
        [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the publisher did not begin")

        def start_publishing() -> float:
            assert process.stdin is not None
            start = time.perf_counter()
            process.stdin.write("\n")
            process.stdin.flush()
            return start

        yield start_publishing
        if process.wait(TIMEOUT):
            raise RuntimeError("the publisher failed")


def _summarize_runs(name: str, entry: ContestantSpec, runs: list[Row], messages: int) -> Row:
    return {
        "contestant": name,
        "qos": entry.qos,
        "rules": entry.rules,
        "rate": reporting.median(messages / run["wall"] for run in runs),
        "processor_rate": reporting.median(messages / run["processor"] for run in runs),
        "fired": runs[0]["fired"],
    }


_HEADINGS = (
    "contestant", "messages a second", "to the bare loop", "a second of its own processor time",
    "to the bare loop", "firings",
)  # fmt: skip


def _format_cells(row: Row) -> list[str]:
    return [
        row["contestant"], f"{row['rate']:,.0f}", f"{row['ratio']:.2f}",
        f"{row['processor_rate']:,.0f}", f"{row['processor_ratio']:.2f}", f"{row['fired']:,}",
    ]  # fmt: skip


# -- the contestants, each in a process of its own ------------------------------------------------


class MessageCounter:
    """What a contestant has seen; its processor time counts from its being ready."""

    def __init__(self) -> None:
        self.message_count = self.firing_count = 0
        print("ready", flush=True)
        self._start = time.process_time()

    def print_result(self) -> None:
        """The answer: all is there."""
        row = {"processor": time.process_time() - self._start, "fired": self.firing_count}
        print(json.dumps(row), flush=True)


async def run_bare_loop(port: int, qos: int, messages: int, rules: int) -> None:
    """What anybody would write with aiomqtt and msgspec."""
    import aiomqtt
    import msgspec

    decode = msgspec.json.Decoder().decode
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(TOPIC, qos)
        counter = MessageCounter()
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            decode(message.payload)
            counter.message_count += 1
            if counter.message_count == messages:
                counter.print_result()
                break


async def run_catcher(port: int, qos: int, messages: int, rules: int) -> None:
    """The whole engine as `catcher run` opens it."""
    from catcher.app import open_engine

    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        write_site(site, port, rules, qos)
        async with open_engine(site, site / "data", 0, lambda _: None) as running:
            await wait_until_connected(running)
            counter, all_received = MessageCounter(), asyncio.Event()

            def count_events(events: tuple[object, ...]) -> None:
                counter.message_count += len(events)
                if counter.message_count >= messages:
                    all_received.set()

            def count_firing(firing: object) -> None:
                counter.firing_count += 1

            running.event_bus.events.subscribe(count_events)
            running.event_bus.firings.subscribe(count_firing)
            await all_received.wait()
            await running.engine.committer.wait_until_idle()
            counter.print_result()
            running.stop()
            await running.wait_until_ended()


async def wait_until_connected(running: EngineHandle) -> None:
    """Returns when the source hears the broker."""

    def is_connected(statuses: Sequence[Health]) -> bool:
        return any(status.name == "bench" and status.state == "ok" for status in statuses)

    while not is_connected(running.health()):
        await asyncio.sleep(0.02)


def write_site(site: Path, port: int, rules: int, qos: int) -> None:
    """A site of threshold rules with edges on one topic."""
    (site / "rules").mkdir()
    (site / "catcher.yaml").write_text(
        f"sources:\n  bench:\n    mqtt:\n      host: 127.0.0.1\n      port: {port}\n"
        f"      qos: {qos}\n      time: private_sndStamp\n"
        '      topics: {"bench/+": "bench.{1}"}\n    clock: stream\n'
    )
    thresholds = [*THRESHOLDS, *(100.0 + number for number in range(rules))][:rules]
    documents = [
        f"rule: r{number}\ntrigger: {{telemetry: bench.airFlow, when: speed > {limit}}}\n"
        for number, limit in enumerate(thresholds)
    ]
    (site / "rules" / "rules.yaml").write_text("---\n".join(documents))


if __name__ == "__main__":
    which, *numbers = sys.argv[1:]
    asyncio.run({"bare": run_bare_loop, "catcher": run_catcher}[which](*map(int, numbers)))
