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

from benchmarks import reporting
from benchmarks.broker import BROKER_CONFIG, TOPIC, open_publisher, wait_until_connected, write_site
from benchmarks.embedded_engine import SOURCE, QueueSource, open_engine_on
from benchmarks.publisher import SEND_TIME_PLACEHOLDER
from benchmarks.reporting import Row
from catcher.engine.engine import Engine
from catcher.engine.event_bus import EventBus
from catcher.model.event import Event
from catcher.model.run import Firing
from catcher.model.time import SECOND
from tests.servers import run_mosquitto

EVENTS_PER_SECOND = 1_000
FIRING_INTERVAL = 23
WARMUP_SECONDS = 2
RULE = f"rule: gust\ntrigger: {{telemetry: {TOPIC.replace('/', '.')}, when: speed > 10}}\n"
MODES = ("in process", "mosquitto, QoS 0", "mosquitto, QoS 1")


class LatencyRecorder:
    """When firings were decided and told, in seconds from the sending of their events."""

    def __init__(self, engine: Engine, live: EventBus, clock: Callable[[], int]) -> None:
        self.decision_delays: list[float] = []
        self.committed_delays: list[float] = []
        self._clock = clock
        evaluator: Any = engine.components.evaluator
        process_events = evaluator.process_events

        def record_decisions(events: Any) -> Any:
            decisions = process_events(events)
            for decision in decisions:
                self._record_delay(self.decision_delays, decision)
            return decisions

        evaluator.process_events = record_decisions
        live.firings.subscribe(lambda firing: self._record_delay(self.committed_delays, firing))

    def _record_delay(self, delays: list[float], firing: Firing) -> None:
        if firing.event is not None:
            delays.append((self._clock() - firing.event.fields["sent"]) / SECOND)

    def summarize(self, mode: str, warmup_count: int) -> Row:
        """The percentiles, in seconds; the first seconds are left out."""
        decided, committed = (
            self.decision_delays[warmup_count:],
            self.committed_delays[warmup_count:],
        )
        return {"way": mode, "firings": len(decided)} | {
            f"{name}_{percent}": reporting.percentile(values, percent)
            for name, values in (("decided", decided), ("kept", committed))
            for percent in (50, 99, 100)
        }


def _speed_at(number: int) -> float:
    return 15.0 if number % FIRING_INTERVAL == 0 else 5.0


async def measure_in_process(seconds: int) -> Row:
    """A thread keeps the pace and hands events to the loop."""
    source, count = QueueSource(), seconds * EVENTS_PER_SECOND
    with tempfile.TemporaryDirectory() as folder:
        async with open_engine_on(source, RULE, Path(folder, "site")) as engine:
            recorder = LatencyRecorder(engine, engine.components.event_bus, time.perf_counter_ns)
            running = asyncio.create_task(engine.run())
            await engine.sources_opened.wait()
            loop = asyncio.get_running_loop()
            pacer = threading.Thread(target=_send_paced, args=(source, loop, count))
            pacer.start()
            await running
            pacer.join()
    return recorder.summarize(MODES[0], WARMUP_SECONDS * EVENTS_PER_SECOND // FIRING_INTERVAL)


def _send_paced(source: QueueSource, loop: asyncio.AbstractEventLoop, count: int) -> None:
    start, first_time = time.perf_counter_ns(), time.time_ns()
    for number in range(count):
        offset = number * SECOND // EVENTS_PER_SECOND
        delay = (start + offset - time.perf_counter_ns()) / SECOND
        if delay > 0:
            time.sleep(delay)
        fields = {"speed": _speed_at(number), "sent": start + offset}
        event = Event(TOPIC.replace("/", "."), first_time + offset, fields, SOURCE)
        loop.call_soon_threadsafe(source.put, event)
    loop.call_soon_threadsafe(source.close)


async def measure_through_mosquitto(seconds: int, qos: int) -> Row:
    """The whole of `catcher run`; the publisher paces and stamps."""
    from catcher.app import open_engine

    with tempfile.TemporaryDirectory() as temp_folder:
        folder = Path(temp_folder)
        lines = folder / "lines"
        count = seconds * EVENTS_PER_SECOND
        lines.write_text("".join(_format_line(number) for number in range(count)))
        with run_mosquitto(folder / "broker", BROKER_CONFIG) as server:
            site = folder / "site"
            site.mkdir()
            write_site(site, server.port, 0, qos)
            (site / "rules" / "rules.yaml").write_text(RULE)
            async with open_engine(site, folder / "data", 0, lambda _: None) as running:
                await wait_until_connected(running)
                recorder = LatencyRecorder(running.engine, running.event_bus, time.time_ns)
                with open_publisher(
                    server.port, TOPIC, qos, lines, str(EVENTS_PER_SECOND)
                ) as start_publishing:
                    start_publishing()
                    expected = -(-count // FIRING_INTERVAL)
                    while len(recorder.committed_delays) < expected:
                        await asyncio.sleep(0.1)
                running.stop()
                await running.wait_until_ended()
    return recorder.summarize(MODES[1 + qos], WARMUP_SECONDS * EVENTS_PER_SECOND // FIRING_INTERVAL)


def _format_line(number: int) -> str:
    timestamp = 1_700_000_000 + number / EVENTS_PER_SECOND
    placeholder = SEND_TIME_PLACEHOLDER.decode()
    head = f'{{"private_sndStamp": {timestamp:.3f}, "speed": {_speed_at(number)}'
    return f'{head}, "sent": {placeholder}}}\n'


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the percentiles and keeps them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks latency")
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args(list(arguments))
    machine, rows = reporting.describe_machine(), list[Row]()
    for number, _ in enumerate(MODES):
        command = [sys.executable, "-m", "benchmarks.latency", str(number), str(options.seconds)]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(process.stdout.splitlines()[-1]))
    table = [
        [row["way"], f"{row['firings']:,}"]
        + [
            f"{row[f'{name}_{percent}'] * 1e3:.2f}"
            for name in ("decided", "kept")
            for percent in (50, 99, 100)
        ]
        for row in rows
    ]
    reporting.print_table(
        "From event to firing at 1,000 events a second, ms", machine, _HEADINGS, table
    )
    reporting.write_results("latency", machine, rows)


_HEADINGS = (
    "events come", "firings", "decided p50", "p99", "most", "kept p50", "p99", "most"
)  # fmt: skip


async def _measure_mode(number: int, seconds: int) -> Row:
    return await (
        measure_in_process(seconds)
        if number == 0
        else measure_through_mosquitto(seconds, number - 1)
    )


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure_mode(int(sys.argv[1]), int(sys.argv[2])))))
