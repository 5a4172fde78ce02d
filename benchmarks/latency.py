"""How long an event takes to become a firing, at 1,000 events a second.

    python -m benchmarks latency [--seconds 20]

One event in 23 makes a rule fire. Two instants are measured from the sending of that event: the
*decision*, when the network has decided to fire, and *kept*, when the firing has been committed
to the ledger and is told. In process, an event's sending is the instant at which it was due, so
that an engine that falls behind cannot hide it; through mosquitto a publisher of its own process
stamps each message as it leaves. `reorder` is 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.broker import BROKER, TOPIC, publishing, until_connected, write_site
from benchmarks.engine_room import SOURCE, Waiting, engine_on
from benchmarks.publisher import MARK
from benchmarks.records import Row
from catcher.engine import Engine
from catcher.model.event import Event
from catcher.model.run import Firing
from catcher.model.time import SECOND
from catcher.streams import Streams
from tests.servers import mosquitto

PER_SECOND = 1_000
EVERY = 23
WARM = 2
RULE = f"rule: gust\ntrigger: {{telemetry: {TOPIC.replace('/', '.')}, when: speed > 10}}\n"
WAYS = ("in process", "mosquitto, QoS 0", "mosquitto, QoS 1")


class Stamps:
    """When firings were decided and told, in seconds from the sending of their events."""

    def __init__(self, engine: Engine, live: Streams, clock: Callable[[], int]) -> None:
        self.decided: list[float] = []
        self.kept: list[float] = []
        self._clock = clock
        network: Any = engine.parts.network
        feed = network.feed

        def stamped(events: Any) -> Any:
            decisions = feed(events)
            for one in decisions:
                self._stamp(self.decided, one)
            return decisions

        network.feed = stamped
        live.firings.subscribe(lambda firing: self._stamp(self.kept, firing))

    def _stamp(self, stamps: list[float], firing: Firing) -> None:
        if firing.event is not None:
            stamps.append((self._clock() - firing.event.fields["sent"]) / SECOND)

    def row(self, way: str, warm: int) -> Row:
        """The percentiles, in seconds; the first seconds are left out."""
        decided, kept = self.decided[warm:], self.kept[warm:]
        return {"way": way, "firings": len(decided)} | {
            f"{name}_{percent}": records.percentile(values, percent)
            for name, values in (("decided", decided), ("kept", kept))
            for percent in (50, 99, 100)
        }


def _speed(number: int) -> float:
    return 15.0 if number % EVERY == 0 else 5.0


async def in_process(seconds: int) -> Row:
    """A thread keeps the pace and hands events to the loop."""
    source, count = Waiting(), seconds * PER_SECOND
    with tempfile.TemporaryDirectory() as folder:
        async with engine_on(source, RULE, Path(folder, "site")) as engine:
            stamps = Stamps(engine, engine.parts.streams, time.perf_counter_ns)
            running = asyncio.create_task(engine.run())
            await engine.opened.wait()
            loop = asyncio.get_running_loop()
            pacer = threading.Thread(target=_pace, args=(source, loop, count))
            pacer.start()
            await running
            pacer.join()
    return stamps.row(WAYS[0], WARM * PER_SECOND // EVERY)


def _pace(source: Waiting, loop: asyncio.AbstractEventLoop, count: int) -> None:
    begun, first = time.perf_counter_ns(), time.time_ns()
    for number in range(count):
        after = number * SECOND // PER_SECOND
        wait = (begun + after - time.perf_counter_ns()) / SECOND
        if wait > 0:
            time.sleep(wait)
        fields = {"speed": _speed(number), "sent": begun + after}
        event = Event(TOPIC.replace("/", "."), first + after, fields, SOURCE)
        loop.call_soon_threadsafe(source.put, event)
    loop.call_soon_threadsafe(source.end)


async def through_mosquitto(seconds: int, qos: int) -> Row:
    """The whole of `catcher run`; the publisher paces and stamps."""
    from catcher.app import open_engine

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = folder / "lines"
        count = seconds * PER_SECOND
        lines.write_text("".join(_line(number) for number in range(count)))
        with mosquitto(folder / "broker", BROKER) as server:
            site = folder / "site"
            site.mkdir()
            write_site(site, server.port, 0, qos)
            (site / "rules" / "rules.yaml").write_text(RULE)
            async with open_engine(site, folder / "data", 0, lambda line: None) as running:
                await until_connected(running)
                stamps = Stamps(running.engine, running.live, time.time_ns)
                with publishing(server.port, TOPIC, qos, lines, str(PER_SECOND)) as begin:
                    begin()
                    expected = -(-count // EVERY)
                    while len(stamps.kept) < expected:
                        await asyncio.sleep(0.1)
                running.stop()
                await running.until_end()
    return stamps.row(WAYS[1 + qos], WARM * PER_SECOND // EVERY)


def _line(number: int) -> str:
    stamp = 1_700_000_000 + number / PER_SECOND
    mark = MARK.decode()
    head = f'{{"private_sndStamp": {stamp:.3f}, "speed": {_speed(number)}'
    return f'{head}, "sent": {mark}}}\n'


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the percentiles and keeps them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks latency")
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args(list(arguments))
    begun, rows = records.machine(), list[Row]()
    for number, _ in enumerate(WAYS):
        command = [sys.executable, "-m", "benchmarks.latency", str(number), str(options.seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    cells = [
        [row["way"], f"{row['firings']:,}"]
        + [
            f"{row[f'{name}_{percent}'] * 1e3:.2f}"
            for name in ("decided", "kept")
            for percent in (50, 99, 100)
        ]
        for row in rows
    ]
    records.show("From event to firing at 1,000 events a second, ms", begun, _HEADINGS, cells)
    records.write("latency", begun, rows)


_HEADINGS = (
    "events come", "firings", "decided p50", "p99", "most", "kept p50", "p99", "most"
)  # fmt: skip


async def _measure(number: int, seconds: int) -> Row:
    return await (in_process(seconds) if number == 0 else through_mosquitto(seconds, number - 1))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(int(sys.argv[1]), int(sys.argv[2])))))
