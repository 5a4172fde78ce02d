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

from benchmarks import hand, records
from benchmarks.records import Row
from benchmarks.workloads import ALL, LEVELS, Sample
from catcher.app.running import Running
from catcher.model.health import Health
from catcher.model.time import SECOND
from tests.servers import mosquitto

TOPIC = "bench/airFlow"
BARE = "bare aiomqtt loop, QoS 0"
BROKER = "max_inflight_messages 1000\n"
PATIENCE = 600.0
WORKLOAD = ALL["thresholds"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One contestant: what it is, at which QoS, with how many rules."""

    kind: str
    qos: int
    rules: int = 0


ENTRIES = {
    BARE: Entry("bare", 0),
    "catcher run, 10 rules, QoS 0": Entry("catcher", 0, 10),
    "catcher run, 100 rules, QoS 0": Entry("catcher", 0, 100),
    "bare aiomqtt loop, QoS 1": Entry("bare", 1),
    "catcher run, 10 rules, QoS 1": Entry("catcher", 1, 10),
    "catcher run, 100 rules, QoS 1": Entry("catcher", 1, 100),
}


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the table and keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks broker")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=100_000)
    options = parser.parse_args(list(arguments))
    begun = records.machine()
    rows = compare(ENTRIES, options.messages, options.rounds)
    records.show(
        f"{options.messages:,} JSON messages from mosquitto", begun, _HEADINGS,
        [_cells(row) for row in rows],
    )  # fmt: skip
    records.write("broker", begun, rows)


def compare(entries: dict[str, Entry], messages: int, rounds: int) -> list[Row]:
    """One row a contestant; the first is what the others are measured by."""
    runs: dict[str, list[Row]] = {name: [] for name in entries}
    samples = WORKLOAD.samples(messages)
    with tempfile.TemporaryDirectory() as name:
        lines = Path(name, "lines")
        lines.write_text("".join(map(line, samples)))
        with mosquitto(Path(name, "broker"), BROKER) as server:
            for _ in range(rounds):
                for title, entry in entries.items():
                    runs[title].append(race(entry, server.port, lines, messages))
    rows = [_row(title, entries[title], found, messages) for title, found in runs.items()]
    for row in rows:
        row["ratio"] = row["rate"] / rows[0]["rate"]
        row["processor_ratio"] = row["processor_rate"] / rows[0]["processor_rate"]
    expected = fired_of(samples)
    wrong = [row["contestant"] for row in rows if row["rules"] and row["fired"] != expected]
    if wrong:
        raise SystemExit(f"{', '.join(wrong)}: not {expected} firings")
    return rows


def fired_of(samples: Sequence[Sample]) -> int:
    """How many firings the first ten rules have to make; the others never fire."""
    told = hand.judge(WORKLOAD)
    return sum(len(told(sample)) for sample in samples)


def line(sample: Sample) -> str:
    """A sample as it is published."""
    stamp = round(sample["time"] / SECOND, 3)
    fields = {"private_sndStamp": stamp, "salIndex": 301, "speed": sample["speed"]}
    return json.dumps({**fields, "direction": sample["time"] // SECOND % 360}) + "\n"


def race(entry: Entry, port: int, lines: Path, messages: int) -> Row:
    """One contestant, from the first publish to its having all messages."""
    which = [entry.kind, str(port), str(entry.qos), str(messages), str(entry.rules)]
    command = [sys.executable, "-m", "benchmarks.broker", *which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as contestant:
        assert contestant.stdout is not None
        if contestant.stdout.readline() != "ready\n":
            raise RuntimeError(f"{entry} did not begin")
        with publishing(port, TOPIC, entry.qos, lines) as begin:
            begun = begin()
            answer = contestant.stdout.readline()
            wall = time.perf_counter() - begun
        contestant.wait(PATIENCE)
    if not answer:
        raise RuntimeError(f"{entry} did not end")
    return {**json.loads(answer), "wall": wall}


@contextmanager
def publishing(
    port: int, topic: str, qos: int, lines: Path, *pace: str
) -> Iterator[Callable[[], float]]:
    """A publisher that is ready; what it yields has it begin, and returns that instant."""
    command = [sys.executable, "-m", "benchmarks.publisher"]
    which = [str(port), topic, str(qos), str(lines), *pace]
    with subprocess.Popen(
        [*command, *which], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        if sender.stdout.readline() != "ready\n":
            raise RuntimeError("the publisher did not begin")

        def begin() -> float:
            assert sender.stdin is not None
            begun = time.perf_counter()
            sender.stdin.write("\n")
            sender.stdin.flush()
            return begun

        yield begin
        if sender.wait(PATIENCE):
            raise RuntimeError("the publisher failed")


def _row(title: str, entry: Entry, runs: list[Row], messages: int) -> Row:
    return {
        "contestant": title,
        "qos": entry.qos,
        "rules": entry.rules,
        "rate": records.median(messages / one["wall"] for one in runs),
        "processor_rate": records.median(messages / one["processor"] for one in runs),
        "fired": runs[0]["fired"],
    }


_HEADINGS = (
    "contestant", "messages a second", "to the bare loop", "a second of its own processor time",
    "to the bare loop", "firings",
)  # fmt: skip


def _cells(row: Row) -> list[str]:
    return [
        row["contestant"], f"{row['rate']:,.0f}", f"{row['ratio']:.2f}",
        f"{row['processor_rate']:,.0f}", f"{row['processor_ratio']:.2f}", f"{row['fired']:,}",
    ]  # fmt: skip


# -- the contestants, each in a process of its own ------------------------------------------------


class Tally:
    """What a contestant has seen; its processor time counts from its being ready."""

    def __init__(self) -> None:
        self.seen = self.fired = 0
        print("ready", flush=True)
        self._begun = time.process_time()

    def say(self) -> None:
        """The answer: all is there."""
        row = {"processor": time.process_time() - self._begun, "fired": self.fired}
        print(json.dumps(row), flush=True)


async def bare(port: int, qos: int, messages: int, rules: int) -> None:
    """What anybody would write with aiomqtt and msgspec."""
    import aiomqtt
    import msgspec

    decode = msgspec.json.Decoder().decode
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(TOPIC, qos)
        tally = Tally()
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            decode(message.payload)
            tally.seen += 1
            if tally.seen == messages:
                tally.say()
                break


async def catcher(port: int, qos: int, messages: int, rules: int) -> None:
    """The whole engine as `catcher run` opens it."""
    from catcher.app import open_engine

    with tempfile.TemporaryDirectory() as name:
        site = Path(name)
        write_site(site, port, rules, qos)
        async with open_engine(site, site / "data", 0, lambda line: None) as running:
            await until_connected(running)
            tally, everything = Tally(), asyncio.Event()

            def count(events: tuple[object, ...]) -> None:
                tally.seen += len(events)
                if tally.seen >= messages:
                    everything.set()

            def fire(firing: object) -> None:
                tally.fired += 1

            running.live.events.subscribe(count)
            running.live.firings.subscribe(fire)
            await everything.wait()
            await running.engine.books.kept()
            tally.say()
            running.stop()
            await running.until_end()


async def until_connected(running: Running) -> None:
    """Returns when the source hears the broker."""

    def connected(healths: Sequence[Health]) -> bool:
        return any(one.name == "bench" and one.state == "ok" for one in healths)

    while not connected(running.health()):
        await asyncio.sleep(0.02)


def write_site(site: Path, port: int, rules: int, qos: int) -> None:
    """A site of threshold rules with edges on one topic."""
    (site / "rules").mkdir()
    (site / "catcher.yaml").write_text(
        f"sources:\n  bench:\n    mqtt:\n      host: 127.0.0.1\n      port: {port}\n"
        f"      qos: {qos}\n      time: private_sndStamp\n"
        '      topics: {"bench/+": "bench.{1}"}\n    clock: stream\n'
    )
    limits = [*LEVELS, *(100.0 + number for number in range(rules))][:rules]
    documents = [
        f"rule: r{number}\ntrigger: {{telemetry: bench.airFlow, when: speed > {limit}}}\n"
        for number, limit in enumerate(limits)
    ]
    (site / "rules" / "rules.yaml").write_text("---\n".join(documents))


if __name__ == "__main__":
    which, *numbers = sys.argv[1:]
    asyncio.run({"bare": bare, "catcher": catcher}[which](*map(int, numbers)))
